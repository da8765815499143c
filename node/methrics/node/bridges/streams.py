"""The change since the last data point of a stream, and whether the person's yes covers it.

A point with delta temporality has the values since the point before. A cumulative point has all
values since the stream began, so the change is the difference to the point before. A change is
recorded only if the person's yes is older than its whole interval. Times are whole nanoseconds
since 1970, as in the SDK.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from methrics.node.consent.ledger_format import stamp

STREAMS_MAX = 10_000
"""Cumulative streams whose last point is kept: instruments times combinations of attributes."""

SECOND = 1_000_000_000


class Interval(NamedTuple):
    """The change from `start` to `end`, as a data point. `refused`: the reason not to use it, or
    ""."""

    start: int
    end: int
    point: Any
    refused: str = ""


class _Before(NamedTuple):
    """The last point of a cumulative stream: the stream's beginning, the time, and the sums."""

    start: int
    end: int
    sums: tuple[float, ...]
    bounds: tuple[float, ...]


class Streams:
    """The streams of one exporter. Not safe to share between threads."""

    def __init__(self) -> None:
        self._before: dict[tuple[Hashable, Hashable], _Before] = {}
        self._forked = 0

    def interval(self, stream: Hashable, point: Any, *, delta: bool) -> Interval:
        """The change that `point`, the next one of `stream` with its attributes, brings."""
        if delta:
            return Interval(point.start_time_unix_nano, point.time_unix_nano, point)
        start, end = point.start_time_unix_nano, point.time_unix_nano
        sums = _sums(point)
        if sums is None:
            return Interval(start, end, point, refused="cumulative")
        key = (stream, _attributes(point.attributes))
        before = self._before.get(key)
        if before is None and len(self._before) >= STREAMS_MAX:
            return Interval(start, end, point, refused="too-many-streams")
        now = self._before[key] = _Before(start=start, end=end, sums=sums, bounds=_bounds(point))
        if before is None or before.start != start:
            return Interval(start, end, point)
        new = tuple(one - other for one, other in zip(sums, before.sums, strict=False))
        if now.bounds != before.bounds or any(one < 0 for one in new):
            # The stream began again with the same start time: all its values are new.
            return Interval(before.end, end, point)
        return Interval(before.end, end, _with(point, new))

    def forked(self, now: int) -> None:
        """Note that this is a forked child: the parent records what began before `now`
        (seconds)."""
        self._forked = (now + 1) * SECOND

    def not_covered(self, interval: Interval, answered: str) -> str:
        """The reason not to record an interval, or "". `answered`: the time stamp of
        the person's yes."""
        # The first interval in a child ends after the fork, even if the clocks disagree.
        self._forked = min(self._forked, interval.end)
        if interval.start < self._forked:
            return "before-fork"
        # A yes in the future means only that the clock was set back.
        if stamp(interval.start // SECOND) <= answered <= stamp(interval.end // SECOND):
            return "before-consent"
        return ""


def _sums(point: Any) -> tuple[float, ...] | None:
    """The numbers of a cumulative point that only grow; None if its buckets change with time."""
    if hasattr(point, "value"):
        return (point.value,)
    return tuple(point.bucket_counts) if hasattr(point, "explicit_bounds") else None


def _bounds(point: Any) -> tuple[float, ...]:
    return tuple(getattr(point, "explicit_bounds", ()))


def _with(point: Any, new: Sequence[float]) -> Any:
    if hasattr(point, "value"):
        return replace(point, value=new[0])
    return replace(point, bucket_counts=tuple(new), count=int(sum(new)))


def _attributes(attributes: Mapping[str, object] | None) -> Hashable:
    """A key for the attributes, in which 1, 1.0 and True differ."""
    return tuple(sorted((key, repr(value)) for key, value in (attributes or {}).items()))

"""Computes the change since a stream's last data point, and whether the person's yes covers it.

A point with delta temporality contains the values since the previous point. A cumulative point
contains all values since the stream began, so the change is the difference from the previous point.
A change is recorded only if the person agreed before its interval began. Times are whole
nanoseconds since 1970, as in the SDK.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from methrics.node.consent.ledger_format import stamp

STREAMS_MAX = 10_000
"""Most cumulative streams whose last point is kept. Each combination of an instrument and its
attributes is one stream."""

SECOND = 1_000_000_000


class Interval(NamedTuple):
    """The change from `start` to `end`, as a data point. `refused`: the reason not to record the
    change, or ""."""

    start: int
    end: int
    point: Any
    refused: str = ""


class _Before(NamedTuple):
    """The last point of a cumulative stream. `start`: when the stream began; `end`: the time of the
    point."""

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
        """Returns the change from the previous point of `stream` with the same attributes to
        `point`."""
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
            # The stream began again with the same start time, so all values of the point are new.
            return Interval(before.end, end, point)
        return Interval(before.end, end, _with(point, new))

    def forked(self, now: int) -> None:
        """Notes that this process is a forked child. Its parent records the intervals that began
        before `now` (seconds)."""
        self._forked = (now + 1) * SECOND

    def not_covered(self, interval: Interval, answered: str) -> str:
        """Returns the reason not to record an interval, or "". `answered`: the time stamp of the
        person's yes."""
        # The first interval in a child ends after the fork, even if the clocks disagree.
        self._forked = min(self._forked, interval.end)
        if interval.start < self._forked:
            return "before-fork"
        # A yes later than the interval's end counts: the clock was set back after it.
        if stamp(interval.start // SECOND) <= answered <= stamp(interval.end // SECOND):
            return "before-consent"
        return ""


def _sums(point: Any) -> tuple[float, ...] | None:
    """Returns the numbers of a cumulative point that only grow; None if the bounds of its buckets
    change with time."""
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
    """Returns a key for the attributes that distinguishes 1, 1.0 and True."""
    return tuple(sorted((key, repr(value)) for key, value in (attributes or {}).items()))

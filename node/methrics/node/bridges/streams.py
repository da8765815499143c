"""What a stream of data points says is new since the last one, and whether a yes covers it.

A point with delta temporality tells what came since the one before; a cumulative one tells all
since the stream began, so what is new is the difference. Neither is recorded unless the person's
yes is older than the time it tells of. Times are whole nanoseconds since 1970, as the SDK has them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from methrics.node.consent.ledger_format import stamp

STREAMS_MAX = 10_000
"""Cumulative streams remembered: instruments times their combinations of attributes."""

SECOND = 1_000_000_000


class Interval(NamedTuple):
    """What is new from `start` to `end`, as a data point; `refused` says why it is of no use."""

    start: int
    end: int
    point: Any
    refused: str = ""


class _Before(NamedTuple):
    """What a cumulative stream said last: its beginning, the time, and its sums."""

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
        """What is new in `point`, the next one of the stream with these attributes."""
        if delta:
            return Interval(point.start_time_unix_nano, point.time_unix_nano, point)
        start, end = point.start_time_unix_nano, point.time_unix_nano
        sums = _sums(point)
        if sums is None:
            return Interval(start, end, point, "cumulative")
        key = (stream, _attributes(point.attributes))
        before = self._before.get(key)
        if before is None and len(self._before) >= STREAMS_MAX:
            return Interval(start, end, point, "too-many-streams")
        now = self._before[key] = _Before(start, end, sums, _bounds(point))
        if before is None or before.start != start:
            return Interval(start, end, point)
        new = tuple(one - other for one, other in zip(sums, before.sums, strict=False))
        if now.bounds != before.bounds or any(one < 0 for one in new):
            # It began anew without saying so: all it tells came after the last point.
            return Interval(before.end, end, point)
        return Interval(before.end, end, _with(point, new))

    def forked(self, now: int) -> None:
        """This is a child now: what began before is its parent's to record."""
        self._forked = (now + 1) * SECOND

    def not_covered(self, interval: Interval, said: str) -> str:
        """Why an interval is not to be recorded, or "". `said`: when the person said yes."""
        # The first interval in a child ends after the fork, whatever the clocks say.
        self._forked = min(self._forked, interval.end)
        if interval.start < self._forked:
            return "before-fork"
        # A yes in the future says only that the clock was set back.
        if stamp(interval.start // SECOND) <= said <= stamp(interval.end // SECOND):
            return "before-consent"
        return ""


def _sums(point: Any) -> tuple[float, ...] | None:
    """What grows in a cumulative point, None for one whose buckets change with time."""
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
    """The same for the same attributes; 1, 1.0 and True are not the same."""
    return tuple(sorted((key, repr(value)) for key, value in (attributes or {}).items()))

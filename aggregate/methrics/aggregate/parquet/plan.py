"""Decides which Parquet files of an event type and month are written next. Pure.

An open month has a few parts, each with the rows of a range of n. An export writes the new rows as
one more part, together with the last parts if these are not much larger. So the number of parts
grows with the logarithm of the rows, and so does the number of times that a row is written. A month
whose reports are over is settled: all its rows go into one part, and leave the DuckDB file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date

from methrics.aggregate.store.parts import Part, next_month
from methrics.schema.wire.limits import DAY

FANOUT = 3
"""A part with fewer than this many times the rows that follow it is written together with them."""

MARGIN = DAY
"""Seconds that a month stays open after its last report has become late."""

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Group:
    """An event type and month: its parts of the table `item`, and what changed since they were
    written."""

    type: int
    month: date
    settled: Part | None = None
    parts: Sequence[Part] = ()
    """The open parts, in order of n."""
    new: int = 0
    """Number of rows in the DuckDB file that no part has."""
    dead: Collection[int] = ()
    """The numbers of deleted rows that parts may have."""
    broken: bool = False
    """Whether the open parts are not to be used, so that all rows are written again."""
    over: bool = False
    """Whether the month may be settled."""


@dataclass(frozen=True, slots=True)
class Write:
    """A new part, with the rows of which n is from `first` to `last`."""

    first: int
    last: int
    settled: bool = False
    old: Part | None = None
    """The settled part whose rows it takes over."""
    replaced: Sequence[Part] = field(default_factory=tuple)
    """The parts of the table `item` that it replaces, `old` included."""
    moves: bool = False
    """Whether its rows leave the DuckDB file."""


def is_over(month: date, lateness: int, now: int) -> bool:
    """Whether no timely report of `month` can arrive any more, at the time `now` (Unix seconds), if
    reports are late after `lateness` seconds."""
    end = (next_month(month) - _EPOCH).days * DAY
    return end + lateness + MARGIN <= now


def plan(group: Group, watermark: int, last: int) -> list[Write]:
    """Return the parts to write: no part has a row after `watermark`, and the highest n is
    `last`."""
    old = group.settled
    floor = 0 if old is None else old.last
    if group.broken:
        return [Write(floor + 1, last, replaced=tuple(group.parts)), *_cleaned(group, old)]
    if group.over and not group.new and group.parts:
        replaced = (*([old] if old else []), *group.parts)
        return [Write(0, last, True, old, replaced, moves=True)]
    writes = [*_cleaned(group, old)]
    parts, rows = list(group.parts), group.new
    joined: list[Part] = []
    while rows and parts and parts[-1].rows < FANOUT * rows:
        joined.insert(0, parts.pop())
        rows += joined[0].rows
    writes += [
        Write(part.first, part.last, replaced=(part,))
        for part in parts
        if any(part.first <= n <= part.last for n in group.dead)
    ]
    if rows:
        first = joined[0].first if joined else watermark + 1
        writes.append(Write(first, last, replaced=tuple(joined)))
    return writes


def _cleaned(group: Group, old: Part | None) -> list[Write]:
    """Return the settled part without its deleted rows, if there are any."""
    if old is None or not any(n <= old.last for n in group.dead):
        return []
    return [Write(0, old.last, True, old, (old,))]

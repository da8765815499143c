"""Says which reports are over: kept for as long as their catalog's retention allows. Pure.

A report is kept while `day of now <= day of the report + retention_days`, in UTC days, whenever it
arrived. Its own catalog decides, also if a newer one of the same type says another number. An
erasure is kept as long as a report of its catalog and day could be: after that there is nothing
that it must keep out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.limits import DAY


@dataclass(frozen=True, slots=True)
class Held:
    """The reports of one event type, retention (days) and day (since 1970-01-01) in a data set."""

    schema: str
    type: str
    retention: int
    day: int
    reports: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What a data set has of one event type, at one time.

    Days are counted from 1970-01-01. A type has several retentions (days) if its catalogs differ.
    """

    schema: str
    type: str
    retentions: tuple[int, ...]
    reports: int
    """The reports that may be kept now."""
    oldest: int | None
    """The day of the oldest of them."""
    next: int | None
    """The first day on which one of them is over."""
    over: tuple[tuple[int, int], ...]
    """(day, reports) of those that are over, by day."""

    @property
    def gone(self) -> int:
        """The number of reports that are over."""
        return sum(reports for _, reports in self.over)


def first_kept(retention: int, now: int) -> int:
    """Return the first day (since 1970-01-01) whose reports are kept at `now` (Unix seconds)."""
    return now // DAY - retention


def is_over(time: int, retention: int, now: int) -> bool:
    """Whether a report of `time` is over at `now` (both in Unix seconds)."""
    return time // DAY < now // DAY - retention


def longest(catalog: Catalog) -> int:
    """Return the longest retention (days) of a catalog's event types: that of its erasures."""
    return max((one.retention_days for one in catalog.types.values()), default=0)


def plan(held: Iterable[Held], now: int) -> list[Kept]:
    """Say of each event type what may be kept at `now` (Unix seconds), what is over, and when the
    next reports are; by SQL schema and name."""
    types: dict[tuple[str, str], list[Held]] = {}
    for one in held:
        types.setdefault((one.schema, one.type), []).append(one)
    return [_kept(*of, types[of], now // DAY) for of in sorted(types)]


def _kept(schema: str, name: str, held: Sequence[Held], today: int) -> Kept:
    over: dict[int, int] = {}
    good = [one for one in held if today <= one.day + one.retention]
    for one in held:
        if today > one.day + one.retention:
            over[one.day] = over.get(one.day, 0) + one.reports
    return Kept(
        schema,
        name,
        tuple(sorted({one.retention for one in held})),
        sum(one.reports for one in good),
        min((one.day for one in good), default=None),
        min((one.day + one.retention + 1 for one in good), default=None),
        tuple(sorted(over.items())),
    )

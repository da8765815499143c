"""Compares two sets of reports by the digests of their days. Pure.

Two days are equal if their digests are: another set of reports with the same digest cannot be
found. Days are keyed by namespace key, because each data set names its SQL schemas by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from methrics.aggregate.store.digest import DayDigest, combine
from methrics.schema.wire.shard import WHOLE, Shard
from methrics.schema.wire.topic import short_key

AppDay = tuple[bytes, int]
"""A namespace key and a day (since 1970-01-01)."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared. `name` is what the user called it."""

    name: str
    days: Mapping[AppDay, DayDigest]
    since: str | None = None
    """When its content was written (ISO 8601, UTC), if it is a copy."""
    shard: Shard = WHOLE
    """The part of all ids that it has."""


@dataclass(frozen=True, slots=True)
class DayDifference:
    """A day of which the two have different reports. None: one has no reports of that day."""

    day: int
    a: DayDigest | None
    b: DayDigest | None
    only_a: tuple[bytes, ...] | None = None
    """Ids of reports that only one has, the first few; None if nobody has looked."""
    only_b: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """One namespace in both. `app` is its SQL schema in one of them, or else its short key. `a` and
    `b` are the number of reports and the digest of all days; None if one has no report of it."""

    key: bytes
    app: str
    days: int
    a: tuple[int, bytes] | None
    b: tuple[int, bytes] | None
    differences: tuple[DayDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether both have the same reports of this namespace."""
        return not self.differences


def side_of(
    name: str, days: Iterable[DayDigest], since: str | None = None, shard: Shard = WHOLE
) -> Side:
    """Return a side with these days; those without reports do not count."""
    return Side(name, {(one.key, one.day): one for one in days if one.count}, since, shard)


def compare(a: Side, b: Side) -> list[Compared]:
    """Compare two sides, by namespace key."""
    totals = [
        {one.key: (one.count, one.digest) for one in combine(side.days.values())} for side in (a, b)
    ]
    found: list[Compared] = []
    for key in sorted({of for of, _ in (*a.days, *b.days)}):
        days = sorted({day for of, day in (*a.days, *b.days) if of == key})
        pairs = [(day, a.days.get((key, day)), b.days.get((key, day))) for day in days]
        apps = [one.schema for _, *both in pairs for one in both if one is not None]
        app = next(filter(None, apps), short_key(key))
        differences = tuple(DayDifference(*pair) for pair in pairs if _differ(*pair[1:]))
        found.append(
            Compared(key, app, len(days), totals[0].get(key), totals[1].get(key), differences)
        )
    return found


def _differ(a: DayDigest | None, b: DayDigest | None) -> bool:
    return a is None or b is None or (a.count, a.digest) != (b.count, b.digest)

"""Keeps the digests of days in the table `digest`, so that only days that changed are computed.

The table has a row for each app and day with reports. A commit that changes a day empties the
row's digest, in its own transaction. So every snapshot of the file says which of its days are
known, and the others are computed from the same snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

from methrics.aggregate.store.digest import DayDigest, days_of
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.hot_days import HotDays

AppDay = tuple[bytes, int]
"""A namespace key and a day (since 1970-01-01)."""

_EPOCH = date(1970, 1, 1)
_DAY = "date_diff('day', DATE '1970-01-01', day)"
_ROW = "key = ? AND day = DATE '1970-01-01' + ?"


class DigestCache:
    """Maintains the table `digest`, on the writer's connection and in its transactions. `turn`: at
    least that of the cache whose place it takes, and of every snapshot that is open."""

    def __init__(self, con: Connection, turn: int = 0) -> None:
        self._con = con
        self._begun = turn
        self._clean: dict[AppDay, bool] = {}
        """the days in the table -> whether their digest is known"""
        self._touched: dict[AppDay, int] = {}
        """day -> the turn of the last commit that changed it"""
        self._cut: dict[AppDay, int] = {}
        """day -> the turn of the last commit that deleted a report of it"""
        self.hot = HotDays(lambda about: self._cut.get(about, 0))
        self.turn = turn
        """The number of commits so far that changed a day."""
        for key, day, clean in con.execute(
            f"SELECT key, {_DAY}, digest IS NOT NULL FROM digest"
        ).fetchall():
            self._clean[key, day] = clean

    def __len__(self) -> int:
        return len(self._clean)

    def touch(self, days: Iterable[AppDay], *, gone: bool = False) -> None:
        """Note that the reports of `days` change in this transaction, and whether some are
        deleted."""
        days = set(days)
        if not days:
            return
        self.turn += 1
        self._touched |= dict.fromkeys(days, self.turn)
        if gone:
            self._cut |= dict.fromkeys(days, self.turn)
        for pair in days:
            known = self._clean.get(pair)
            if known is None:
                row = f"INSERT INTO digest VALUES (?, DATE '1970-01-01' + {pair[1]}, NULL, NULL)"
                self._con.execute(row, [pair[0]])
            elif known:
                self._con.execute(f"UPDATE digest SET digest = NULL WHERE {_ROW}", [*pair])
            self._clean[pair] = False

    def keep(self, computed: Iterable[DayDigest], turn: int) -> None:
        """Write digests that were computed from a snapshot as of `turn`, except those of days that
        changed since."""
        for one in computed:
            pair = one.key, one.day
            if self._touched.get(pair, self._begun) > turn or self._clean.get(pair) is not False:
                continue
            if one.count:
                values = [one.count, one.digest, *pair]
                self._con.execute(f"UPDATE digest SET count = ?, digest = ? WHERE {_ROW}", values)
                self._clean[pair] = True
            else:
                self._con.execute(f"DELETE FROM digest WHERE {_ROW}", [*pair])
                del self._clean[pair]
            self._touched.pop(pair, None)


def fill(con: Connection, items: str) -> None:
    """Write a row without a digest for each app and day of `items` (SQL), in the caller's
    transaction, into an empty table `digest`."""
    rows = days_of(items)
    con.execute(f"INSERT INTO digest SELECT key, day, NULL, NULL FROM ({rows})")


def read(
    con: Connection, items: str, days: Collection[int] | None, hot: HotDays, turn: int
) -> tuple[list[DayDigest], list[DayDigest]]:
    """Return the digests of all days in a snapshot `con`, or only of `days`, and apart those that
    had to be computed, of which some may have a count of 0.

    `items` is SQL for all items of the snapshot, which is of `turn`.
    """
    schemas = schemas_of(con)
    known: list[DayDigest] = []
    unknown: list[tuple[bytes, str, int]] = []
    for key, day, count, digest in con.execute(
        f"SELECT key, {_DAY} AS n, count, digest FROM digest ORDER BY key, n"
    ).fetchall():
        if days is not None and day not in days:
            continue
        if digest is None:
            unknown.append((key, schemas[key], day))
        else:
            known.append(DayDigest(key, schemas[key], day, count, digest))
    computed = [hot.digest(con, items, about, turn) for about in unknown]
    found = [*known, *(one for one in computed if one.count)]
    return sorted(found, key=lambda one: (one.key, one.day)), computed


def schemas_of(con: Connection) -> dict[bytes, str]:
    """Return the SQL schema of each namespace key, that of its first catalog."""
    found = con.execute("SELECT key, first(schema ORDER BY n) FROM catalog GROUP BY key")
    return dict(found.fetchall())

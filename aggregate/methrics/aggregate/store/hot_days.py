"""Keeps the sorted ids of the days that change all the time, so that a digest costs what is new.

A digest is over all ids of a day in ascending order. To read and sort a million of them for each
new report would take more than a second at every export. So the ids of the last large days are kept
in memory, and only rows that are newer are read: their numbers are higher than those of all rows
before. A day from which rows were deleted is read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from methrics.aggregate.store.digest import DayDigest, day_digest, day_digests_of, id_bytes
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.sorted_ids import Rows, merged, sorted_rows
from methrics.schema.wire.envelope import Kind

AppDay = tuple[bytes, int]
"""A namespace key and a day (since 1970-01-01)."""

IDS_MAX = 2_000_000
"""Most ids that are kept: 64 MB. A day with more is read and sorted by DuckDB each time."""

IDS_LEAST = 5_000
"""A day with fewer ids is not kept: to read it again costs little."""

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class _Day:
    """The ids of one day in the snapshot of `turn`; `last` is the highest number of their rows."""

    turn: int
    last: int
    rows: Rows


class HotDays:
    """The ids of days of one store. `cut(day)` returns the turn of the last commit that deleted a
    report of the day; 0 without any. Any thread may call `digest`."""

    def __init__(self, cut: Callable[[AppDay], int]) -> None:
        self._cut = cut
        self._lock = threading.Lock()
        self._days: OrderedDict[AppDay, _Day] = OrderedDict()

    def __len__(self) -> int:
        """The number of ids that are kept."""
        return sum(len(one.rows) for one in self._days.values())

    def digest(
        self, con: Connection, items: str, about: tuple[bytes, str, int], turn: int
    ) -> DayDigest:
        """Compute the digest of a day, (key, SQL schema, day), in a snapshot `con` of `turn`.

        `items` is SQL for all items of the snapshot. A day without reports has the count 0.
        """
        key, schema, day = about
        known = self._take((key, day), turn)
        where, values = _where(key, day, 0 if known is None else known.last)
        sql = f"SELECT i.n, i.id FROM {items} i WHERE {where}"
        if known is None:
            sized = f"SELECT count(*) FROM {items} i WHERE {where}"
            ((count,),) = con.execute(sized, values).fetchall()
            if not IDS_LEAST <= count <= IDS_MAX:
                return day_digests_of(con, items, [about])[0]
        found = con.sql(sql, params=values).to_arrow_table()
        data = b"".join(map(id_bytes, found.column(1).chunks))
        last = int(found.column(0).to_numpy().max(initial=0))
        if known is None:
            made = _Day(turn, last, sorted_rows(data))
        else:
            made = _Day(turn, max(last, known.last), merged(known.rows, data))
        self._keep((key, day), made)
        return DayDigest(key, schema, day, *day_digest(key, day, [made.rows.tobytes()]))

    def _take(self, about: AppDay, turn: int) -> _Day | None:
        """Return what is kept of a day, if nothing was deleted from it and it is not newer."""
        with self._lock:
            known = self._days.get(about)
        usable = known is not None and self._cut(about) <= known.turn <= turn
        return known if usable else None

    def _keep(self, about: AppDay, made: _Day) -> None:
        with self._lock:
            before = self._days.get(about)
            if before is None or before.turn <= made.turn:
                self._days[about] = made
                self._days.move_to_end(about)
            while len(self) > IDS_MAX:
                self._days.popitem(last=False)


def _where(key: bytes, day: int, last: int) -> tuple[str, list[object]]:
    """Return SQL, with its values, for the reports of a day whose number is above `last`."""
    start = _EPOCH + timedelta(days=day)
    values = [last, int(Kind.REPORT), start, start + timedelta(days=1), key]
    return (
        "i.n > ? AND i.kind = ? AND i.time >= ?::DATE AND i.time < ?::DATE "
        "AND i.catalog IN (SELECT n FROM catalog WHERE key = ?)",
        values,
    )

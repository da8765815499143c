"""Applies erasures and revocations: deletes rows and keeps tombstones. An erasure may arrive before
or after its report.

An erasure names a catalog and a day, and its key and inner hash give the id of the report that it
erases. So it is checked without the report, and only the report's own key can have signed it. Its
tombstone, which contains its exact bytes, keeps the report out, whichever of the two came first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.digest_cache import AppDay
from methrics.aggregate.store.duck import Connection, moment
from methrics.aggregate.store.parts import Settled, month_of
from methrics.aggregate.store.retention import first_kept
from methrics.aggregate.store.tables import CatalogEntry, TypeTable
from methrics.schema.wire.envelope import Item, Kind
from methrics.schema.wire.items import Erasure, Report
from methrics.schema.wire.limits import DAY

_SECONDS = pa.timestamp("s")
_REPORT = int(Kind.REPORT)
_DAY_OF = "date_diff('day', DATE '1970-01-01', time::DATE)"


@dataclass(slots=True)
class Erased:
    """The result of applying a set of erasures."""

    days: Counter[AppDay] = field(default_factory=Counter)
    """namespace key and day (since 1970-01-01) -> number of deleted reports"""
    stored: int = 0
    known: int = 0
    contested: int = 0
    """Contested reports that were deleted. They are in no number."""


class Eraser:
    """Deletes reports and maintains the table `tombstone`, in the caller's transaction.

    `entries` maps the ids of the catalogs in the file to their entries. Tombstones have numbers
    above `first`.
    """

    def __init__(
        self,
        con: Connection,
        entries: Mapping[bytes, CatalogEntry],
        settled: Settled,
        first: int = 0,
    ) -> None:
        self._con = con
        self._settled = settled
        self._entries = entries
        row = con.execute("SELECT coalesce(max(n), 0), count(*) FROM tombstone").fetchone()
        last, self._size = row or (0, 0)
        self._last = max(last, first)

    def keep_out(self, reports: list[tuple[Item, Report]]) -> list[tuple[Item, Report]]:
        """Return those of `reports` that no stored erasure names."""
        if not self._size:
            return reports
        found = self._match(
            [(item.id, report.catalog, report.time // DAY) for item, report in reports],
            "SELECT DISTINCT b.i FROM incoming b JOIN tombstone t "
            "ON t.report = b.id AND t.catalog = b.catalog AND t.day = b.day",
        )
        erased = {i for (i,) in found}
        return [pair for i, pair in enumerate(reports) if i not in erased]

    def erase(
        self, erasures: list[tuple[Item, Erasure]], tables: Iterable[TypeTable], received: int
    ) -> Erased:
        """Delete the reports that `erasures` name, and store a tombstone for each new erasure."""
        known = self._match(
            [(item.id, erasure.catalog, erasure.day) for item, erasure in erasures],
            "SELECT b.i FROM incoming b JOIN tombstone t ON t.id = b.id",
        )
        stored = {i for (i,) in known}
        new = [pair for i, pair in enumerate(erasures) if i not in stored]
        done = Erased(stored=len(new), known=len(erasures) - len(new))
        if not new:
            return done
        targets = self._match(
            [(erasure.report_id(item.key), erasure.catalog, erasure.day) for item, erasure in new],
            *(
                "SELECT DISTINCT x.n FROM item x JOIN incoming b ON x.id = b.id "
                f"AND x.catalog = b.catalog AND x.time::DATE = b.day WHERE x.kind = {_REPORT} "
                f"AND x.time >= {moment(first * DAY)} AND x.time < {moment((last + 1) * DAY)}"
                for first, last in runs(erasure.day for _, erasure in new)
            ),
        )
        moved = self._settled_targets(new)
        done.contested = self._uncontest(new)
        self._bury(new, received)
        done.days = self._delete([n for (n,) in targets], tables) + moved
        return done

    def _uncontest(self, erasures: Sequence[tuple[Item, Erasure]]) -> int:
        """Delete those of the reports that `erasures` name which are contested, and the votes for
        them; return their number."""
        wanted = [(one.report_id(item.key), one.catalog, one.day) for item, one in erasures]
        with self._incoming(wanted):
            rows = self._con.execute(
                "DELETE FROM contested WHERE id IN (SELECT id FROM incoming) RETURNING id"
            ).fetchall()
        if rows:
            gone = [one for (one,) in rows]
            self._con.execute("DELETE FROM vote WHERE id IN (SELECT unnest(?))", [gone])
        return len(rows)

    def _settled_targets(self, erasures: Sequence[tuple[Item, Erasure]]) -> Counter[AppDay]:
        """Delete those of the reports that `erasures` name which are in settled months."""
        days = [erasure.day for _, erasure in erasures]
        if min(days) * DAY >= self._settled.end:
            return Counter()
        catalogs = {erasure.catalog for _, erasure in erasures}
        types = {own.table.n for one in catalogs for own in self._entries[one].types.values()}
        stored = self._settled.items({month_of(day) for day in days}, types)
        if stored is None:
            return Counter()
        first, last = moment(min(days) * DAY), moment((max(days) + 1) * DAY)
        wanted = [(one.report_id(item.key), one.catalog, one.day) for item, one in erasures]
        with self._incoming(wanted):
            return self._mark(
                f"SELECT DISTINCT x.n, x.catalog, x.type, x.time FROM {stored} x JOIN incoming b "
                "ON x.id = b.id AND x.catalog = b.catalog AND x.time::DATE = b.day "
                f"WHERE x.time >= {first} AND x.time < {last}"
            )

    def _mark(self, rows: str) -> Counter[AppDay]:
        """Delete rows of settled months: SQL for (n, catalog, type, time)."""
        found = self._con.execute(f"SELECT catalog, {_DAY_OF}, count(*) FROM ({rows}) GROUP BY ALL")
        days = self._by_key(found.fetchall())
        if days:
            month = "date_trunc('month', time)::DATE"
            self._con.execute(f"INSERT INTO dead SELECT n, type, {month} FROM ({rows})")
        return days

    def _by_key(self, found: Iterable[tuple[int, int, int]]) -> Counter[AppDay]:
        keys = {entry.n: entry.key for entry in self._entries.values()}
        days: Counter[AppDay] = Counter()
        for catalog, day, count in found:
            days[keys[catalog], day] += count
        return days

    def _bury(self, erasures: list[tuple[Item, Erasure]], received: int) -> None:
        """Write tombstones."""
        numbers = range(self._last + 1, self._last + 1 + len(erasures))
        reports = [erasure.report_id(item.key) for item, erasure in erasures]
        catalogs = [self._entries[erasure.catalog].n for _, erasure in erasures]
        columns = pa.table(
            {
                "n": pa.array(numbers, pa.int64()),
                "report": pa.array(reports, pa.binary()),
                "catalog": pa.array(catalogs, pa.int32()),
                "day": pa.array([erasure.day for _, erasure in erasures], pa.date32()),
                "received": pa.array([received] * len(erasures), _SECONDS),
                "id": pa.array([item.id for item, _ in erasures], pa.binary()),
                "raw": pa.array([item.raw for item, _ in erasures], pa.binary()),
            }
        )
        self._con.register("incoming", columns)
        self._con.execute("INSERT INTO tombstone BY NAME SELECT * FROM incoming")
        self._con.unregister("incoming")
        self._last += len(erasures)
        self._size += len(erasures)

    def revoke(self, table: TypeTable, time: int) -> Counter[AppDay]:
        """Delete the reports of one event type from `time` on.

        Returns namespace key and day -> number of deleted reports.
        """
        numbers = self._con.execute(
            f"SELECT n FROM {table.sql} WHERE time >= {moment(time)}"
        ).fetchall()
        days = self._delete([n for (n,) in numbers], [table])
        stored = self._settled.items(self._settled.months(time), {table.n}, time)
        if stored is None:
            return days
        return days + self._mark(f"SELECT n, catalog, type, time FROM {stored}")

    def expire(self, tables: Iterable[TypeTable], now: int, most: int) -> Counter[AppDay]:
        """Delete reports that are over at `now` (Unix seconds) by their retention, at most `most`.

        Returns namespace key and day -> number of deleted reports.
        """
        declared = [own for entry in self._entries.values() for own in entry.types.values()]
        if not declared:
            return Counter()
        # The shortest retention limits the scan: DuckDB skips what is later.
        end = moment(first_kept(min(own.retention for own in declared), now) * DAY)
        over = (
            "JOIN declaration d ON d.catalog = x.catalog AND d.type = x.type "
            f"WHERE x.kind = {_REPORT} AND x.time < {end} "
            f"AND x.time::DATE < DATE '1970-01-01' + ({now // DAY} - d.retention)"
        )
        numbers = self._con.execute(
            f"SELECT x.n FROM item x {over} ORDER BY x.n LIMIT {most}"
        ).fetchall()
        days = self._delete([n for (n,) in numbers], tables)
        ends: dict[int, int] = {}
        for own in declared:
            kept = first_kept(own.retention, now)
            ends[own.table.n] = max(kept, ends.get(own.table.n, kept))
        stored = self._settled.older(ends)
        if stored is None or days.total() >= most:
            return days
        rows = f"SELECT x.n, x.catalog, x.type, x.time FROM {stored} x {over} ORDER BY x.n"
        return days + self._mark(f"{rows} LIMIT {most - days.total()}")

    def buried(self) -> set[int]:
        """Return the numbers of the catalogs that have erasures."""
        if not self._size:
            return set()
        rows = self._con.execute("SELECT DISTINCT catalog FROM tombstone").fetchall()
        return {catalog for (catalog,) in rows}

    def unbury(self, oldest: Mapping[int, int]) -> int:
        """Delete the erasures of days before the `oldest` (since 1970-01-01) that is kept of their
        catalog, by its number. Returns how many were deleted."""
        gone = 0
        for catalog, day in oldest.items():
            row = self._con.execute(
                f"DELETE FROM tombstone WHERE catalog = ? AND day < DATE '1970-01-01' + {day}",
                [catalog],
            ).fetchone()
            gone += row[0] if row else 0
        self._size -= gone
        return gone

    def _delete(self, numbers: list[int], tables: Iterable[TypeTable]) -> Counter[AppDay]:
        """Delete the reports with these numbers from `item` and from `tables`.

        Returns namespace key and day -> number of deleted reports.
        """
        if not numbers:
            return Counter()
        self._con.register("doomed", pa.table({"n": pa.array(numbers, pa.int64())}))
        found = self._con.execute(
            f"SELECT catalog, {_DAY_OF}, count(*), type FROM item "
            "WHERE n IN (SELECT n FROM doomed) GROUP BY ALL"
        ).fetchall()
        types = {of for *_, of in found}
        self._con.execute(
            "INSERT INTO dead SELECT n, type, date_trunc('month', time)::DATE FROM item "
            "WHERE n IN (SELECT n FROM doomed)"
        )
        names = ["item"]
        for table in tables:
            if table.n in types:
                names += [table.sql, table.steps_sql] if table.stepped else [table.sql]
        for target in names:
            self._con.execute(f"DELETE FROM {target} WHERE n IN (SELECT n FROM doomed)")
        self._con.unregister("doomed")
        return self._by_key(row[:3] for row in found)

    def _match(
        self, wanted: Sequence[tuple[bytes, bytes, int]], *queries: str
    ) -> list[tuple[Any, ...]]:
        """Look up many (id, catalog id, day since 1970-01-01); return the rows of all `queries`.

        They read them from a temporary table `incoming(i, id, catalog, day)`: `i` is the position
        in `wanted`, and `catalog` the catalog's number in the file.
        """
        with self._incoming(wanted):
            return [row for sql in queries for row in self._con.execute(sql).fetchall()]

    @contextmanager
    def _incoming(self, wanted: Sequence[tuple[bytes, bytes, int]]) -> Iterator[None]:
        catalogs = [self._entries[catalog].n for _, catalog, _ in wanted]
        columns = {
            "i": pa.array(range(len(wanted)), pa.int32()),
            "id": pa.array([one[0] for one in wanted], pa.binary()),
            "catalog": pa.array(catalogs, pa.int32()),
            "day": pa.array([one[2] for one in wanted], pa.date32()),
        }
        self._con.register("incoming", pa.table(columns))
        yield
        self._con.unregister("incoming")


def runs(days: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last day of each run of consecutive days in `days`.

    Only these days of the table `item` are read. Otherwise two erasures, of the first day and of
    the last, would make the store read all of it.
    """
    found: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        if found and found[-1][1] == day - 1:
            found[-1] = found[-1][0], day
        else:
            found.append((day, day))
    return found

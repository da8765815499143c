"""Applies erasures and revocations: deletes rows and keeps tombstones. An erasure may arrive before
or after its report.

An erasure is signed with the report's own key and shows the report's inner hash. Key and hash give
the report's id, so an erasure is valid by itself, whether or not its report is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.duck import Connection, moment
from methrics.aggregate.store.tables import TypeTable
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import Erasure, Report, decode_erasure
from methrics.schema.wire.limits import DAY

_SECONDS = pa.timestamp("s")
_REPORT = int(Kind.REPORT)


@dataclass(slots=True)
class Erased:
    """The result of applying a set of erasures."""

    days: Counter[int] = field(default_factory=Counter)
    """day (since 1970-01-01) -> number of deleted reports"""
    stored: int = 0
    known: int = 0


class Eraser:
    """Deletes reports and maintains the table `tombstone`, in the caller's transaction."""

    def __init__(self, con: Connection) -> None:
        self._con = con
        row = con.execute("SELECT coalesce(max(n), 0), count(*) FROM tombstone").fetchone()
        self._last, self._size = row or (0, 0)

    def keep_out(self, reports: list[tuple[Item, Report]]) -> list[tuple[Item, Report]]:
        """Return those of `reports` that no erasure in the file names."""
        if not self._size:
            return reports
        found = self._match(
            [item.id for item, _ in reports],
            "SELECT b.i, t.raw FROM incoming b JOIN tombstone t ON t.report = b.id",
        )
        erased = {i for i, raw in found if _names(raw, reports[i][1])}
        return [pair for i, pair in enumerate(reports) if i not in erased]

    def erase(
        self, erasures: list[tuple[Item, Erasure]], tables: Iterable[TypeTable], received: int
    ) -> Erased:
        """Delete the reports that `erasures` name, and store a tombstone for each new erasure."""
        done = Erased()
        known = self._match(
            [item.id for item, _ in erasures],
            "SELECT b.i FROM incoming b JOIN tombstone t ON t.id = b.id",
        )
        stored = {row[0] for row in known}
        new = [pair for i, pair in enumerate(erasures) if i not in stored]
        done.known = len(erasures) - len(new)
        done.stored = len(new)
        targets = self._match(
            [erasure.report_id(item.key) for item, erasure in new],
            "SELECT b.i, x.n, c.id FROM incoming b "
            "JOIN item x ON x.id = b.id AND x.time >= b.day AND x.time < b.day + INTERVAL 1 DAY "
            f"JOIN catalog c ON c.n = x.catalog WHERE x.kind = {_REPORT}",
            [erasure.day for _, erasure in new],
        )
        doomed = [n for i, n, catalog in targets if catalog == new[i][1].catalog]
        self._bury(new, received)
        done.days = self._delete(doomed, tables)
        return done

    def _bury(self, new: list[tuple[Item, Erasure]], received: int) -> None:
        """Write tombstones."""
        columns = pa.table(
            {
                "n": pa.array(range(self._last + 1, self._last + 1 + len(new)), pa.int64()),
                "report": pa.array([one.report_id(item.key) for item, one in new], pa.binary()),
                "day": pa.array([erasure.day for _, erasure in new], pa.date32()),
                "received": pa.array([received] * len(new), _SECONDS),
                "id": pa.array([item.id for item, _ in new], pa.binary()),
                "raw": pa.array([item.raw for item, _ in new], pa.binary()),
            }
        )
        self._con.register("incoming", columns)
        self._con.execute("INSERT INTO tombstone BY NAME SELECT * FROM incoming")
        self._con.unregister("incoming")
        self._last += len(new)
        self._size += len(new)

    def revoke(self, table: TypeTable, time: int) -> Counter[int]:
        """Delete the reports of one event type from `time` on.

        Returns day -> number of deleted reports.
        """
        numbers = self._con.execute(
            f"SELECT n FROM {table.sql} WHERE time >= {moment(time)}"
        ).fetchall()
        return self._delete([n for (n,) in numbers], [table])

    def _delete(self, numbers: list[int], tables: Iterable[TypeTable]) -> Counter[int]:
        """Delete the reports with these numbers from `item` and from `tables`.

        Returns day -> number of deleted reports.
        """
        if not numbers:
            return Counter()
        self._con.register("doomed", pa.table({"n": pa.array(numbers, pa.int64())}))
        days = self._con.execute(
            "SELECT date_diff('day', DATE '1970-01-01', time::DATE), count(*) FROM item "
            "WHERE n IN (SELECT n FROM doomed) GROUP BY 1"
        ).fetchall()
        names = ["item"]
        for table in tables:
            names += [table.sql, table.steps_sql] if table.stepped else [table.sql]
        for target in names:
            self._con.execute(f"DELETE FROM {target} WHERE n IN (SELECT n FROM doomed)")
        self._con.unregister("doomed")
        return Counter(dict(days))

    def _match(
        self, ids: list[bytes], sql: str, days: list[int] | None = None
    ) -> list[tuple[Any, ...]]:
        """Look up many ids in one query, and return its rows.

        `sql` reads the ids from a temporary table `incoming(i, id, day)`: `i` is the position in
        `ids`; the column `day` exists only if `days` is given.
        """
        columns = {
            "i": pa.array(range(len(ids)), pa.int32()),
            "id": pa.array(ids, pa.binary()),
        }
        if days is not None:
            columns["day"] = pa.array(days, pa.date32())
        self._con.register("incoming", pa.table(columns))
        found = self._con.execute(sql).fetchall()
        self._con.unregister("incoming")
        return found


def _names(raw: bytes, report: Report) -> bool:
    """Whether an erasure that gives the report's id also names the report's catalog and day."""
    erasure = decode_erasure(split(raw).payload)
    return (erasure.catalog, erasure.day) == (report.catalog, report.time // DAY)

"""Applies erasures and revocations: deletes rows and keeps tombstones. An erasure may arrive before
or after its report.

An erasure is signed with the report's own key and names the report's id, catalog and time. Whether
the key is right can be checked only once the report is here. So an erasure that arrives before its
report is stored as a tombstone that is not `confirmed`. When the report arrives and the key is
right, the tombstone is confirmed and the report is never stored. If the key is wrong, the erasure
is counted as `wrong-key` and dropped. Anyone can send unconfirmed erasures, so their number is
limited.
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
from methrics.schema.wire.items import Erasure, Report, decode_erasure, decode_report

PENDING_MAX = 100_000
"""Maximum number of unconfirmed tombstones. The oldest are dropped first."""

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
        row = con.execute(
            "SELECT coalesce(max(n), 0), count(*), count(*) FILTER (NOT confirmed) FROM tombstone"
        ).fetchone()
        self._last, self._size, self._pending = row or (0, 0, 0)
        self._wrong: list[bytes] = []

    def take_wrong(self) -> list[bytes]:
        """Return the erasures since the last call that another key than their report's signed."""
        wrong, self._wrong = self._wrong, []
        return wrong

    def keep_out(self, reports: list[tuple[Item, Report]]) -> list[tuple[Item, Report]]:
        """Return those of `reports` that no valid erasure names.

        Confirms the stored erasures of `reports`, or drops those with a wrong key.
        """
        if not self._size:
            return reports
        found = self._match(
            [item.id for item, _ in reports],
            None,
            "SELECT b.i, t.n, t.confirmed, t.raw FROM incoming b JOIN tombstone t "
            "ON t.report = b.id",
        )
        erased: set[int] = set()
        right: list[int] = []
        wrong: list[int] = []
        for i, n, confirmed, raw in found:
            item, report = reports[i]
            if _allowed(split(raw), item, report):
                erased.add(i)
                if not confirmed:
                    right.append(n)
            else:
                wrong.append(n)
                self._wrong.append(raw)
        self._on("UPDATE tombstone SET confirmed = true", right)
        self._on("DELETE FROM tombstone", wrong)
        self._pending -= len(right) + len(wrong)
        self._size -= len(wrong)
        return [pair for i, pair in enumerate(reports) if i not in erased]

    def erase(
        self, erasures: list[tuple[Item, Erasure]], tables: Iterable[TypeTable], received: int
    ) -> Erased:
        """Delete the reports that `erasures` name, and store a tombstone for each new erasure."""
        done = Erased()
        known = self._match(
            [item.id for item, _ in erasures],
            None,
            "SELECT b.i FROM incoming b JOIN tombstone t ON t.id = b.id",
        )
        stored = {row[0] for row in known}
        new = [pair for i, pair in enumerate(erasures) if i not in stored]
        done.known = len(erasures) - len(new)
        targets = self._match(
            [erasure.report for _, erasure in new],
            [erasure.time for _, erasure in new],
            "SELECT b.i, x.n, x.raw FROM incoming b JOIN item x "
            f"ON x.time = b.time AND x.id = b.id AND x.kind = {_REPORT}",
        )
        doomed: list[int] = []
        confirmed: set[int] = set()
        wrong: set[int] = set()
        for i, n, raw in targets:
            target = split(raw)
            if _allowed(new[i][0], target, decode_report(target.payload)):
                doomed.append(n)
                confirmed.add(i)
            else:
                wrong.add(i)
                self._wrong.append(new[i][0].raw)
        kept = [(*pair, i in confirmed) for i, pair in enumerate(new) if i not in wrong]
        self._bury(kept, received)
        done.stored = len(kept)
        done.days = self._delete(doomed, tables)
        return done

    def _bury(self, kept: list[tuple[Item, Erasure, bool]], received: int) -> None:
        """Write tombstones; drop the oldest unconfirmed ones beyond PENDING_MAX."""
        columns = pa.table(
            {
                "n": pa.array(range(self._last + 1, self._last + 1 + len(kept)), pa.int64()),
                "report": pa.array([erasure.report for _, erasure, _ in kept], pa.binary()),
                "confirmed": pa.array([confirmed for _, _, confirmed in kept], pa.bool_()),
                "time": pa.array([erasure.time for _, erasure, _ in kept], _SECONDS),
                "received": pa.array([received] * len(kept), _SECONDS),
                "id": pa.array([item.id for item, _, _ in kept], pa.binary()),
                "raw": pa.array([item.raw for item, _, _ in kept], pa.binary()),
            }
        )
        self._con.register("incoming", columns)
        self._con.execute("INSERT INTO tombstone BY NAME SELECT * FROM incoming")
        self._con.unregister("incoming")
        self._last += len(kept)
        self._size += len(kept)
        self._pending += sum(not confirmed for _, _, confirmed in kept)
        excess = self._pending - PENDING_MAX
        if excess > 0:
            self._con.execute(
                "DELETE FROM tombstone WHERE n IN (SELECT n FROM tombstone WHERE NOT confirmed "
                f"ORDER BY n LIMIT {excess})"
            )
            self._pending -= excess
            self._size -= excess

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

    def _on(self, statement: str, numbers: list[int]) -> None:
        """Run `statement` on the tombstones with these numbers."""
        if numbers:
            self._con.execute(f"{statement} WHERE n IN (SELECT unnest(?))", [numbers])

    def _match(self, ids: list[bytes], times: list[int] | None, sql: str) -> list[tuple[Any, ...]]:
        """Look up many ids in one query, and return its rows.

        `sql` reads the ids from a temporary table `incoming(i, id, time)`: `i` is the position in
        `ids`; the column `time` exists only if `times` is given.
        """
        columns = {
            "i": pa.array(range(len(ids)), pa.int32()),
            "id": pa.array(ids, pa.binary()),
        }
        if times is not None:
            columns["time"] = pa.array(times, _SECONDS)
        self._con.register("incoming", pa.table(columns))
        found = self._con.execute(sql).fetchall()
        self._con.unregister("incoming")
        return found


def _allowed(erasure: Item, target: Item, report: Report) -> bool:
    """Whether `erasure` is signed by the report's key and names its catalog and time."""
    body = decode_erasure(erasure.payload)
    return (erasure.key, body.catalog, body.time) == (target.key, report.catalog, report.time)

"""Reads from a snapshot of the DuckDB file what an export has to know: parts, new rows, deleted
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from methrics.aggregate.parquet.plan import Group, Write, is_over
from methrics.aggregate.store.duck import Connection, moment, name, read_parquet_files
from methrics.aggregate.store.parts import ITEM, NO_TYPE, Part, month_range, read_parts

_MONTH = "date_trunc('month', time)::DATE"
_GROUPED = f"SELECT coalesce(type, {NO_TYPE}), {_MONTH}, count(*) FROM item"

Place = tuple[int, date]
"""A type and a month."""


@dataclass(frozen=True, slots=True)
class TypeName:
    """An event type in SQL: its schema and table, and whether it has a table of steps."""

    schema: str
    table: str
    stepped: bool

    @property
    def folder(self) -> str:
        """Its folder in `raw/` and `types/`."""
        return f"{self.schema}/{self.table}"


@dataclass(slots=True)
class Snapshot:
    """The state of the DuckDB file, as of one commit, and of the files beside it."""

    con: Connection
    directory: Path
    cut: int | None
    """Rows from this time on (Unix seconds) are not exported; None if all are."""
    parts: list[Part]
    types: dict[int, TypeName]
    lateness: dict[int, int]
    own: str = ""
    """The folder of a shard below the others, such as `/2-of-4`."""
    dead: dict[Place, list[int]] = field(default_factory=dict)
    watermark: int = 0
    """Every row up to this number has been exported, if there is no `cut`."""
    last: int = 0
    """The highest number of any row."""

    def groups(self, now: int, *, audit: bool) -> Iterator[Group]:
        """Yield the event types and months, as they are at the time `now` (Unix seconds).

        With `audit`, or with a `cut`, all rows of open months are counted, and whatever parts do
        not have exactly these rows are broken.
        """
        parts: dict[Place, list[Part]] = {}
        for part in self.parts:
            if part.table == ITEM and part.type is not None and part.month is not None:
                parts.setdefault((part.type, part.month), []).append(part)
        new = self._counts(f"WHERE n > {self.watermark} AND n <= {self.last}")
        there: dict[Place, int] | None = None
        if self.cut is not None:
            there, new = self._counts(f"WHERE time < {moment(self.cut)}"), {}
        elif audit:
            there = self._counts(f"WHERE n <= {self.watermark}")
        for place in sorted({*parts, *new, *self.dead, *(there or ())}):
            of, month = place
            settled = next((one for one in parts.get(place, ()) if one.settled), None)
            own = [one for one in parts.get(place, ()) if not one.settled]
            dead = self.dead.get(place, [])
            broken = there is not None and self._broken(own, dead, there.get(place, 0))
            over = of != NO_TYPE and is_over(month, self.lateness.get(of, 0), now)
            yield Group(of, month, settled, own, new.get(place, 0), dead, broken, over)

    def _counts(self, where: str) -> dict[Place, int]:
        rows = self.con.execute(f"{_GROUPED} {where} GROUP BY ALL").fetchall()
        return {(of, month): count for of, month, count in rows}

    def _broken(self, parts: list[Part], dead: Iterable[int], there: int) -> bool:
        listed = sum(part.rows for part in parts)
        gone = sum(any(part.first <= n <= part.last for part in parts) for n in dead)
        return listed - gone != there or (self.cut is not None and gone > 0)

    def queries(self, group: Group, write: Write) -> Iterator[tuple[str, str, str]]:
        """Yield (table, folder, SQL) for each file of a new part."""
        month = f"{group.month:%Y-%m}{self.own}"
        if group.type == NO_TYPE:
            where = self._where(group, write, "x.type IS NULL")
            rows = f"SELECT x.* FROM item x WHERE {where}"
            yield ITEM, f"raw/notice/{month}", f"{rows} ORDER BY x.time, x.n"
            return
        own = self.types[group.type]
        where = self._where(group, write)
        items = f"SELECT x.* FROM item x WHERE x.type = {group.type} AND {where}"
        items += self._old(write, group, ITEM)
        typed = f"SELECT x.* FROM {name(own.schema, own.table)} x WHERE {where}"
        full = f"{own.schema}.{own.table}"
        typed += self._old(write, group, full)
        yield ITEM, f"raw/{own.folder}/{month}", f"SELECT * FROM ({items}) ORDER BY time, n"
        yield full, f"types/{own.folder}/{month}", f"SELECT * FROM ({typed}) ORDER BY time, n"
        if own.stepped:
            steps = f"SELECT * FROM {name(own.schema, own.table + '_step')}"
            steps += self._old(write, group, f"{full}_step")
            yield (
                f"{full}_step",
                f"types/{own.folder}_step/{month}",
                f"SELECT s.* FROM ({steps}) s JOIN ({typed}) t USING (n) ORDER BY t.time, n, i",
            )

    def _where(self, group: Group, write: Write, also: str = "") -> str:
        first = write.first if write.old is None else write.old.last + 1
        parts = [f"x.n >= {first} AND x.n <= {write.last}", month_range(group.month), also]
        if self.cut is not None:
            parts.append(f"x.time < {moment(self.cut)}")
        return " AND ".join(part for part in parts if part)

    def _old(self, write: Write, group: Group, table: str) -> str:
        """Return SQL that adds the rows of the settled part that are not deleted."""
        if write.old is None:
            return ""
        old = [one for one in self.same(write.old, group) if one.table == table]
        if not old:
            return ""
        files = read_parquet_files([self.directory / one.name for one in old])
        return f" UNION ALL BY NAME SELECT * FROM {files} ANTI JOIN dead USING (n)"

    def same(self, part: Part, group: Group) -> list[Part]:
        """Return the parts of all tables with the rows of `part`, which is one of `group`."""
        return [
            one
            for one in self.parts
            if (one.type, one.month, one.first, one.last, one.settled)
            == (group.type, group.month, part.first, part.last, part.settled)
        ]


def take_snapshot(con: Connection, directory: Path, cut: int | None, own: str = "") -> Snapshot:
    """Read the state of the file from a snapshot of it, `con`. `own`: the folder of its shard."""
    there: set[Any] = set(
        con.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
    )
    types = {
        n: TypeName(schema, table, (schema, f"{table}_step") in there)
        for n, schema, table in con.execute('SELECT n, schema, "table" FROM type').fetchall()
    }
    lateness = dict(
        con.execute("SELECT type, max(lateness) FROM declaration GROUP BY type").fetchall()
    )
    found = Snapshot(con, directory, cut, read_parts(con), types, lateness, own)
    for n, of, month in con.execute("SELECT n, type, month FROM dead").fetchall():
        found.dead.setdefault((of, month), []).append(n)
    rows = [part.last for part in found.parts if part.table == ITEM and part.month is not None]
    found.watermark = max(rows, default=0)
    row = con.execute("SELECT coalesce(max(n), 0) FROM item").fetchone()
    found.last = max(found.watermark, row[0] if row else 0)
    return found

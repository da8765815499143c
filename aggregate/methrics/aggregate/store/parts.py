"""The Parquet files beside the file: which of them are current, and what the settled ones have.

The table `part` names each file, relative to the directory beside the file. `table` is the name of
the table that readers see, such as `item` or `example.heartbeat`. A file has the rows of one event
type and one month whose n is from `first` to `last`; announcements have the type 0. The type and
month are NULL in files of other tables. The rows of a settled part are not in the DuckDB file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.duck import Connection, moment, read_parquet_files
from methrics.aggregate.store.tables import TypeTable
from methrics.schema.errors import StoreError

ITEM = "item"
"""The table that has the exact bytes."""

NO_TYPE = 0
"""The type of a part that has announcements."""

_ITEM_COLUMNS = "n, kind, catalog, type, time, received, id, raw"
_DAY = 86_400
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the table `part`: one current Parquet file."""

    name: str
    """Path relative to the directory, with `/`."""
    table: str
    type: int | None
    month: date | None
    """The first day of the month of its rows."""
    first: int
    last: int
    rows: int
    size: int
    """Bytes."""
    sha256: bytes
    settled: bool
    written: datetime
    """In UTC, without a time zone."""


@dataclass(frozen=True, slots=True)
class Settle:
    """That the rows of an event type and month up to number `last` have moved to Parquet."""

    schema: str
    table: str
    type: int
    stepped: bool
    month: date
    last: int


@dataclass(slots=True)
class Change:
    """A change of the current files, made in one transaction."""

    added: list[Part] = field(default_factory=list)
    removed: list[Part] = field(default_factory=list)
    settled: list[Settle] = field(default_factory=list)
    buried: list[int] = field(default_factory=list)
    """The numbers in `dead` that no file has any more."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.settled or self.buried)


def directory_beside(path: Path) -> Path:
    """Return the Parquet directory beside a file, such as `metrics.parquet/` beside
    `metrics.duckdb`."""
    return path.with_suffix(".parquet") if path.suffix != ".parquet" else Path(f"{path}.d")


def read_parts(con: Connection) -> list[Part]:
    """Return the current files as of the snapshot `con`, in order of table, month and first n."""
    rows = con.execute('FROM part ORDER BY "table", month, type, first, name').fetchall()
    return [Part(*row) for row in rows]


def items_sql(
    con: Connection, path: Path, first_day: int | None = None, last_day: int | None = None
) -> str:
    """Return SQL for all items of the file `path`, as of the snapshot `con`: see
    `Store.items_sql`."""
    limits = []
    if first_day is not None:
        limits.append(f"time >= {moment(first_day * _DAY)}")
    if last_day is not None:
        limits.append(f"time < {moment((last_day + 1) * _DAY)}")
    where = f" WHERE {' AND '.join(limits)}" if limits else ""
    sql = f"SELECT {_ITEM_COLUMNS} FROM item{where}"
    names = [
        name
        for name, month in con.execute(
            'SELECT name, month FROM part WHERE settled AND "table" = ? ORDER BY name', [ITEM]
        ).fetchall()
        if (last_day is None or month <= _EPOCH + timedelta(days=last_day))
        and (first_day is None or next_month(month) > _EPOCH + timedelta(days=first_day))
    ]
    if names:
        folder = directory_beside(path)
        files = read_parquet_files([folder / name for name in names])
        sql += f" UNION ALL SELECT {_ITEM_COLUMNS} FROM {files} ANTI JOIN dead USING (n){where}"
    return f"({sql})"


def month_of(day: int) -> date:
    """Return the first day of the month of a day (since 1970-01-01)."""
    return (_EPOCH + timedelta(days=day)).replace(day=1)


def next_month(month: date) -> date:
    """Return the first day of the month after that of `month`."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def month_range(month: date) -> str:
    """Return SQL for the condition that `x.time` is in a month."""
    start, end = ((day - _EPOCH).days * _DAY for day in (month, next_month(month)))
    return f"x.time >= {moment(start)} AND x.time < {moment(end)}"


class Settled:
    """The settled months, for the writer: its commits look up rows that have left the file."""

    def __init__(self, con: Connection, path: Path) -> None:
        self._con = con
        self._folder = directory_beside(path)
        self._files: dict[tuple[int, date], Part] = {}
        """(type, month) -> its settled file of the table `item`"""
        self.last = 0
        """The highest number of any row in Parquet."""
        self.end = 0
        """Unix seconds from which on nothing is settled."""
        for part in read_parts(con):
            if part.settled and not _there(self._folder / part.name, part.size):
                raise StoreError(
                    "store-broken",
                    f"{self._folder / part.name} is missing or cut short",
                    "restore the directory from a copy",
                )
            self._note(part)

    def _note(self, part: Part) -> None:
        if part.month is None or part.table != ITEM or part.type is None:
            return
        self.last = max(self.last, part.last)
        if part.settled:
            self._files[part.type, part.month] = part
            end = (next_month(part.month) - _EPOCH).days * _DAY
            self.end = max(self.end, end)

    def change(self, change: Change) -> None:
        """Note which files are current now."""
        for part in change.removed:
            of = part.type, part.month
            if part.settled and part.table == ITEM and of[0] is not None and of[1] is not None:
                self._files.pop((of[0], of[1]), None)
        for part in change.added:
            self._note(part)

    def rows(self) -> int:
        """Return the number of rows of settled months that are not deleted."""
        row = self._con.execute(
            "SELECT coalesce(sum(p.rows), 0)::BIGINT - (SELECT count(*) FROM dead d JOIN part q "
            'ON q.settled AND q."table" = ? AND q.type = d.type AND q.month = d.month '
            'AND d.n <= q.last) FROM part p WHERE p.settled AND p."table" = ?',
            [ITEM, ITEM],
        ).fetchone()
        return row[0] if row else 0

    def items(
        self, months: Iterable[date], types: Collection[int] | None = None, since: int | None = None
    ) -> str | None:
        """Return SQL for the rows of `item` in settled months that are not deleted; None if there
        are none. Only `months`, `types` and rows from the time `since` on, if these are given."""
        wanted = set(months)
        return self._alive(
            [
                part
                for (of, month), part in self._files.items()
                if month in wanted and (types is None or of in types)
            ],
            since,
        )

    def older(self, ends: Mapping[int, int]) -> str | None:
        """Return SQL like `items` for the months of each type that begin before a day
        (since 1970-01-01)."""
        return self._alive(
            [
                part
                for (of, month), part in self._files.items()
                if of in ends and (month - _EPOCH).days < ends[of]
            ]
        )

    def _alive(self, parts: Iterable[Part], since: int | None = None) -> str | None:
        files = [self._folder / part.name for part in parts]
        if not files:
            return None
        where = "" if since is None else f" WHERE time >= {moment(since)}"
        return (
            f"(SELECT {_ITEM_COLUMNS} FROM {read_parquet_files(files)} "
            f"ANTI JOIN dead USING (n){where})"
        )

    def months(self, since: int = 0) -> set[date]:
        """Return the settled months that end after the time `since` (Unix seconds)."""
        return {
            month for _, month in self._files if (next_month(month) - _EPOCH).days * _DAY > since
        }


def apply(con: Connection, change: Change) -> int:
    """Write a change into the tables, in the caller's transaction. Rows that have moved leave the
    file; returns their number."""
    moved = 0
    for one in change.settled:
        typed = TypeTable(one.type, one.schema, one.table, "", "")
        where = f"x.n <= {one.last} AND {month_range(one.month)}"
        if one.stepped:
            numbers = f"SELECT x.n FROM {typed.sql} x WHERE {where}"
            con.execute(f"DELETE FROM {typed.steps_sql} WHERE n IN ({numbers})")
        con.execute(f"DELETE FROM {typed.sql} x WHERE {where}")
        row = con.execute(f"DELETE FROM item x WHERE x.type = {one.type} AND {where}").fetchone()
        moved += row[0] if row else 0
    if change.removed:
        names = [one.name for one in change.removed]
        con.execute("DELETE FROM part WHERE name IN (SELECT unnest(?))", [names])
    for part in change.added:
        con.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(part))
    if change.buried:
        con.register("buried", pa.table({"n": pa.array(change.buried, pa.int64())}))
        con.execute("DELETE FROM dead WHERE n IN (SELECT n FROM buried)")
        con.unregister("buried")
    return moved


def moment_of(seconds: int) -> datetime:
    """Return a time in UTC, without a time zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False

"""The Parquet files beside the file: which of them are current, and SQL to read settled rows.

The table `part` names each file, relative to the directory beside the file. `table` is the name of
the table that readers see, such as `item` or `example.heartbeat`. A file has the rows of one event
type and one month whose n is from `first` to `last`. The type and month are NULL in files of other
tables. The rows of a settled part are not in the DuckDB file any more.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from methrics.aggregate.store.duck import Connection, moment, read_parquet_files

ITEM = "item"
"""The name of the table that has the exact bytes, and the columns of that table."""

_ITEM_COLUMNS = "n, kind, catalog, type, time, received, id, raw"
_DAY = 86_400


def directory_beside(path: Path) -> Path:
    """Return the Parquet directory beside a file, such as `metrics.parquet/` beside
    `metrics.duckdb`."""
    return path.with_suffix(".parquet") if path.suffix != ".parquet" else Path(f"{path}.d")


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
    epoch = date(1970, 1, 1)
    names = [
        name
        for name, month in con.execute(
            'SELECT name, month FROM part WHERE settled AND "table" = ? ORDER BY name', [ITEM]
        ).fetchall()
        if (last_day is None or month <= epoch + timedelta(days=last_day))
        and (first_day is None or _next(month) > epoch + timedelta(days=first_day))
    ]
    if names:
        folder = directory_beside(path)
        files = read_parquet_files([folder / name for name in names])
        alive = "ANTI JOIN dead USING (n)"
        sql += f" UNION ALL SELECT {_ITEM_COLUMNS} FROM {files} {alive}{where}"
    return f"({sql})"


def _next(month: date) -> date:
    """Return the first day of the next month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)

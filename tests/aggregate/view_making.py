"""Files for the tests of views: tables of every kind of event type, filled with given rows.

The rows are not derived from signed reports: views only read columns, so a test can give exactly
the rows to count.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
from catalog_text import CLICKS, TYPE, WALK

from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.store.duck import name, open_writer
from methrics.aggregate.store.store import Batch, Store
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import judge

MONDAY = date(2026, 6, 1)
"""Also the first day of a month."""

_RELEASE = """
delay = 600
jitter = 600
"""

SOURCE = f"""
[catalog]
label = "test"
contact = "https://example.org"

[types.beat]
kind = "state"
chart = "line:os"
one_in = [1, 10]
{TYPE}
[types.beat.release]
every = [86400, 172800]
{_RELEASE}
[types.beat.fields]
version = {{ type = "version", max = [9, 19], says = "Version." }}
os = {{ type = "enum", values = ["linux", "macos"], says = "System." }}
country = {{ type = "country", says = "Country." }}
daily = {{ type = "flag", source = "first_of_day", says = "First today." }}
weekly = {{ type = "flag", source = "first_of_week", says = "First this week." }}
monthly = {{ type = "flag", source = "first_of_month", says = "First this month." }}
age = {{ type = "bucket", edges = [1, 4, 24], unit = "weeks", source = "install_age", says = "A." }}
[types.beat.fields.tool]
type = "enum"
values = ["zoom", "braille"]
randomize = {{ epsilon = 1.0 }}
says = "Tool."

[types.keep]
kind = "state"
chart = "bar:milestone"
resolution = 86400
{TYPE}
[types.keep.release]
every = [86400, 172800]
{_RELEASE}
[types.keep.fields.milestone]
type = "enum"
values = ["d0", "d1", "d7"]
source = "milestone"
says = "First day, or 1 or 7 days later."

[types.host]
kind = "state"
chart = "bar:cores"
{TYPE}
[types.host.release]
every = [86400, 172800]
{_RELEASE}
[types.host.fields.cores]
type = "bucket"
edges = [2, 4, 8]
unit = "cores"
says = "Cores."
[types.host.fields.arch]
type = "enum"
values = ["x86_64", "aarch64"]
says = "Processor."
{CLICKS}
{WALK}
[types.walk.fields.again]
type = "flag"
says = "Whether this was not the first time."
"""

STEPS = ("start", "middle", "end")

Row = dict[str, Any]


def catalog(source: str = SOURCE, previous: Catalog | None = None) -> Catalog:
    return load(sign(parse_source(source), sha256(b"views").digest(), previous))


def beats(number: int, day: date = MONDAY, **values: Any) -> list[Row]:
    """`number` rows of `beat`, without flags unless given."""
    row = {"day": day, "daily": False, "weekly": False, "monthly": False, **values}
    return [row] * number


def walks(number: int, *path: tuple[str, int], day: date = MONDAY, **values: Any) -> list[Row]:
    """`number` rows of `walk` with the steps and offset buckets of `path`."""
    return [{"day": day, "path": path, **values}] * number


def rows(number: int, day: date = MONDAY, **values: Any) -> list[Row]:
    return [{"day": day, **values}] * number


def make(
    path: Path,
    tables: dict[str, Sequence[Row]],
    catalogs: Sequence[Catalog] = (),
    **options: Any,
) -> Dataset:
    """A data set whose tables hold these rows (`day` and fields; `catalog` and `one_in` are 1 and
    `received` the day itself if not given), opened with `options`."""
    write(path, tables, catalogs or [catalog()])
    return open_dataset(path, **options)


def write(path: Path, tables: dict[str, Sequence[Row]], catalogs: Sequence[Catalog]) -> None:
    book = CatalogBook()
    with Store(path) as store:
        for one in catalogs:
            store.commit(Batch(0, [judge(one.raw, book, 0, live=False)]))
            book.add(one, given=True)
            store.make_tables(one)
        numbers = {table.type: table.n for table in store.tables()}
    con = open_writer(path)
    n = 0
    for table, given in tables.items():
        listed = [
            {"catalog": 1, "one_in": 1, **row, "n": i} for i, row in enumerate(given, start=n + 1)
        ]
        n += len(listed)
        if listed:
            _fill(con, table, numbers[table], listed)
    con.close()


def _fill(con: Any, table: str, number: int, listed: list[Row]) -> None:
    columns = list({key: None for row in listed for key in row if key not in ("path", "received")})
    cells = {column: [row.get(column) for row in listed] for column in columns}
    cells["time"] = [_midnight(row["day"]) for row in listed]
    if any("path" in row for row in listed):
        cells["reached"] = [
            sum({1 << STEPS.index(step) for step, _ in row["path"]}) for row in listed
        ]
        _put(con, f"{table}_step", _steps(listed))
    _put(con, table, cells)
    items = {
        "n": cells["n"],
        "kind": [1] * len(listed),
        "catalog": cells["catalog"],
        "type": [number] * len(listed),
        "time": cells["time"],
        "received": [_midnight(row.get("received", row["day"])) for row in listed],
    }
    _put(con, "item", items, "main")


def _steps(listed: list[Row]) -> dict[str, list[Any]]:
    flat = [
        (row["n"], row["catalog"], row["one_in"], i, step, offset, step not in before)
        for row in listed
        for i, (step, offset) in enumerate(row["path"])
        for before in [{one for one, _ in row["path"][:i]}]
    ]
    names = ("n", "catalog", "one_in", "i", "step", "offset_bucket", "first")
    return {key: [one[place] for one in flat] for place, key in enumerate(names)}


def _put(con: Any, table: str, cells: dict[str, list[Any]], schema: str = "test") -> None:
    con.register("given", pa.table(cells))
    con.execute(f"INSERT INTO {name('methrics', schema, table)} BY NAME SELECT * FROM given")
    con.unregister("given")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).replace(tzinfo=None)


def later(days: int) -> date:
    return MONDAY + timedelta(days)

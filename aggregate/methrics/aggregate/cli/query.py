"""`methrics query`: SQL over a data set, ready-made views, and its digests."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import click

from methrics.aggregate.read.dataset import FLOOR, MEMORY_LIMIT, Dataset, open_dataset
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.duck import name, saying
from methrics.schema.errors import StoreError

Row = Sequence[object]

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?")

_SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?[KMGT]i?B")

SHOWN_MAX = 1000
"""Rows shown in a table; --json and --csv give all."""

UNBOUNDED = 100_000
"""Columns of a table that goes into a file or another program: nothing wraps."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("sql", required=False)
@click.option("--json", "form", flag_value="json", help="Print a JSON object for each row.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--digest", is_flag=True, help="Print the digest of each namespace and day.")
@click.option(
    "--floor",
    type=click.IntRange(min=1),
    default=FLOOR,
    show_default=True,
    help="Views show counts in steps of this and no smaller group; 1 shows all.",
)
@click.option(
    "--known",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="CSV of totals known from elsewhere (day,field,value,installs) for coverage and bias.",
)
@click.option(
    "--memory",
    default=MEMORY_LIMIT,
    show_default=True,
    metavar="SIZE",
    help="Memory for sorting and joining; what is larger goes through temporary files.",
)
def query(
    file: Path,
    sql: str | None,
    form: str | None,
    digest: bool,
    floor: int,
    known: Path | None,
    memory: str,
) -> None:
    """Ask FILE a question: one SELECT statement, or the name of a ready-made view.

    FILE is a DuckDB file of `methrics aggregate`, running or not, or a directory of its Parquet.
    Without SQL, lists the tables and views there are. SQL can read this data set and nothing else.
    """
    if digest and sql:
        raise click.UsageError("give either SQL or --digest")
    if not _SIZE.fullmatch(memory):
        raise click.UsageError(f"--memory {memory}: give a number and a unit, such as 2GB")
    with open_dataset(file, memory_limit=memory, floor=floor, known=known) as dataset:
        if dataset.source == "parquet" and not file.is_dir():
            click.echo(f"{file} is in use: reading its Parquet of {dataset.written}", err=True)
        if digest:
            print_rows(("namespace", "day", "reports", "digest"), _digests(dataset), form)
        elif sql is None:
            print_rows(("name", "kind", "rows", "says"), _contents(dataset), form)
        else:
            _answer(dataset, sql.strip(), form)


def _answer(dataset: Dataset, sql: str, form: str | None) -> None:
    """The rows of a view, a table or a SELECT; around a view, what it means and leaves out."""
    view = dataset.find_view(sql)
    found = view or _table_named(dataset, sql)
    table = dataset.arrow(f"FROM {name(*found.split('.'))}" if found else sql)
    if view and form is None:
        click.echo(f"{view}: {dataset.views()[view]}\n")
    columns = [column.to_pylist() for column in table.columns]
    print_rows(table.column_names, zip(*columns, strict=True), form)
    if view is not None:
        # A program that reads rows would take it for one.
        click.echo(f"\n{dataset.footnote(view)}", err=form is not None)


def _table_named(dataset: Dataset, text: str) -> str | None:
    """The table that `text` names; None if it is more than a name, and so SQL.

    Raises StoreError, code query, for a name that nothing has.
    """
    if not _NAME.fullmatch(text):
        return None
    if text not in dataset.tables():
        raise StoreError(
            "query", f"no table or view is called {text}", f"see: methrics query {dataset.path}"
        )
    return text


def _digests(dataset: Dataset) -> list[Row]:
    """Each day of each namespace, and after them the whole namespace."""
    with saying(dataset.path):
        days = digests(dataset.connection)
    rows: list[Row] = [(day.schema, day.date, day.count, day.digest.hex()) for day in days]
    rows += [(all_.schema, "all", all_.count, all_.digest.hex()) for all_ in combine(days)]
    return rows


def _contents(dataset: Dataset) -> list[Row]:
    rows: list[Row] = []
    for table in dataset.tables():
        found = dataset.rows(f"SELECT count(*) FROM {name(*table.split('.'))}")
        rows.append((table, "table", found[0][0], ""))
    rows += [(view, "view", "", says) for view, says in dataset.views().items()]
    return rows


def print_rows(columns: Sequence[str], rows: Iterable[Row], form: str | None) -> None:
    """Print rows as `form` says: json, csv, or else a table."""
    if form == "json":
        for row in rows:
            click.echo(json.dumps(dict(zip(columns, map(_plain, row), strict=True))))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_plain(cell) for cell in row] for row in rows)
    else:
        _table(columns, list(rows))


def _plain(cell: object) -> object:
    """A cell as JSON has it: bytes in hex, times in ISO 8601."""
    if isinstance(cell, bytes):
        return cell.hex()
    if isinstance(cell, date | datetime):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return int(cell) if cell == int(cell) else float(cell)
    if isinstance(cell, list | tuple):
        return [_plain(one) for one in cell]
    if isinstance(cell, dict):
        return {str(key): _plain(value) for key, value in cell.items()}
    return cell if cell is None or isinstance(cell, str | int | float) else str(cell)


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float | Decimal) and not isinstance(cell, bool))


def _cell(cell: object) -> str:
    """A cell as a person reads it."""
    from rich.markup import escape

    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "" if cell is None else escape(str(_plain(cell)))


def _table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = rows[:SHOWN_MAX]
    for place, column in enumerate(columns):
        number = all(_is_number(row[place]) for row in shown)
        table.add_column(
            escape(column),
            overflow="fold",  # a digest cut short is none
            justify="right" if number and shown else "left",
        )
    for row in shown:
        table.add_row(*map(_cell, row))
    console = Console(width=None if sys.stdout.isatty() else UNBOUNDED)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
    if len(rows) > SHOWN_MAX:
        click.echo(f"… and {len(rows) - SHOWN_MAX} more rows; --json and --csv print them all")

"""`methrics query`: answers SQL, shows ready-made views, and prints digests of a data set."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from methrics.aggregate.cli.live import live_endpoint
from methrics.aggregate.cli.source import SOURCE, Data, opened
from methrics.aggregate.read.dataset import MEMORY_LIMIT, Dataset
from methrics.aggregate.read.live import open_live
from methrics.aggregate.read.totals import FLOOR
from methrics.aggregate.read.views import templates
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.duck import name, translated_errors
from methrics.node.cli.naming import near
from methrics.node.cli.tables import Row, plain_value, print_table
from methrics.schema.errors import StoreError

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?")

_SENTENCE = re.compile(r"(?<=\.) (?=[A-Z`])")
"""The space between two sentences."""

_SIZE = re.compile(r"[0-9]+(\.[0-9]+)? ?[KMGT]i?B")

SHOWN_MAX = 1000
"""Maximum number of rows in a table. --json and --csv print all rows."""


@click.command()
@SOURCE
@click.argument("sql", required=False)
@click.option("--live", is_flag=True, help="Ask the aggregator that writes FILE, not its Parquet.")
@click.option("--json", "form", flag_value="json", help="Print a JSON object for each row.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--digest", is_flag=True, help="Print the digest of each app and day.")
@click.option(
    "--floor",
    type=click.IntRange(min=1),
    default=FLOOR,
    show_default=True,
    help="Views round counts down to multiples of this, and omit smaller groups; 1 shows all.",
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
    help="Memory for sorting and joining; larger data goes through temporary files.",
)
def query(
    file: str,
    sql: str | None,
    live: bool,
    form: str | None,
    digest: bool,
    floor: int,
    known: Path | None,
    memory: str,
) -> None:
    """Ask a data set a question: one SELECT statement, or the name of a ready-made view.

    It is a DuckDB file of `methrics aggregate`, running or not, a directory of its Parquet, or the
    http(s) address of either; that of a directory ends in a slash. Of a directory at an address,
    only the files that the question needs are fetched, and kept for the next time. It can also be
    the address of a running aggregator with --http. Without SQL it lists the tables and views. SQL
    can read this data set and nothing else.
    """
    if digest and sql:
        raise click.UsageError("give either SQL or --digest")
    if not _SIZE.fullmatch(memory):
        raise click.UsageError(f"--memory {memory}: give a number and a unit, such as 2GB")
    if live and known:
        raise click.UsageError("--known needs the files, not a running aggregator")
    reading: AbstractContextManager[Data] = (
        open_live(live_endpoint(file)[0], floor=floor)
        if live
        else opened(file, "reading", floor=floor, known=known, memory_limit=memory)
    )
    with reading as dataset:
        if digest:
            if not isinstance(dataset, Dataset):
                raise click.UsageError("--digest needs the files, not a running aggregator")
            print_rows(("app", "day", "reports", "digest"), _digests(dataset), form)
        elif sql is None:
            print_rows(("name", "kind", "rows", "meaning"), _contents(dataset, form), form)
        else:
            _answer(dataset, sql.strip(), form)


def _answer(dataset: Data, sql: str, form: str | None) -> None:
    """Print the rows of a view, a table or a SELECT; for a view, also its meaning and floor."""
    view = dataset.find_view(sql)
    found = view or _table_named(dataset, sql)
    table = dataset.arrow(f"FROM {name(*found.split('.'))}" if found else sql)
    if view and form is None:
        click.echo(f"{view}: {dataset.views()[view]}\n")
    columns = [column.to_pylist() for column in table.columns]
    print_rows(table.column_names, zip(*columns, strict=True), form)
    if view is not None:
        # On standard error for programs, which would take it for a row.
        click.echo(f"\n{dataset.footnote(view)}", err=form is not None)


def _table_named(dataset: Data, text: str) -> str | None:
    """Return the table that `text` names; None if `text` is SQL and not a name.

    Raises StoreError, code query, if no table has that name.
    """
    if not _NAME.fullmatch(text):
        return None
    if text not in dataset.tables():
        see = f"see: methrics query {dataset.path}"
        if text in (template.name for template in templates()):
            raise StoreError(
                "query",
                f"no event type here has the fields that the view {text} needs",
                f"docs/analyse.md lists them; {see}",
            )
        alike = near(text, _names(dataset))
        hint = f"did you mean {' or '.join(alike)}?" if alike else see
        raise StoreError("query", f"no table or view is called {text}", hint)
    return text


def _names(dataset: Data) -> list[str]:
    """The tables and views by their full names, and the views without SQL schema and type too."""
    tables, views = dataset.tables(), dataset.views()
    short = {
        view.removeprefix(f"{table}_")
        for view in views
        for table in tables
        if view.startswith(f"{table}_")
    }
    return sorted({*tables, *views, *short})


def _digests(dataset: Dataset) -> list[Row]:
    """Return the digest of each day of each app, then the digest of all days of each app."""
    dataset.bring("item", "catalog")
    with translated_errors(dataset.path):
        days = digests(dataset.connection)
    rows: list[Row] = [(day.schema, day.date, day.count, day.digest.hex()) for day in days]
    rows += [(all_.schema, "all", all_.count, all_.digest.hex()) for all_ in combine(days)]
    return rows


def _contents(dataset: Data, form: str | None) -> list[Row]:
    """Tables and views. In a table for a person, a view has only the first sentence of its meaning;
    a query by its name prints it all."""
    rows: list[Row] = []
    for kind, one, meaning in dataset.contents():
        if kind == "table":
            rows.append((one, kind, dataset.count(one), meaning))
        else:
            rows.append((one, kind, "", meaning if form else _SENTENCE.split(meaning, 1)[0]))
    return rows


def print_rows(columns: Sequence[str], rows: Iterable[Row], form: str | None) -> None:
    """Print rows in the given form: `json`, `csv`, or a table if None."""
    if form == "json":
        for row in rows:
            click.echo(json.dumps(dict(zip(columns, map(plain_value, row), strict=True))))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([plain_value(cell) for cell in row] for row in rows)
    else:
        found = list(rows)
        print_table(columns, found[:SHOWN_MAX])
        if len(found) > SHOWN_MAX:
            click.echo(f"… and {len(found) - SHOWN_MAX} more rows; --json and --csv print them all")

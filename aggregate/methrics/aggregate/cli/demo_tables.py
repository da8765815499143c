"""Prints the results of the demo: tables with their SQL, digests, one report with its bytes."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from textwrap import dedent

import click

from methrics.aggregate.demo.job import Ran
from methrics.aggregate.demo.processes import DemoError
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import combine, digests
from methrics.node.cli.tables import print_table
from methrics.schema.wire.diagnostic import hexdump, readable
from methrics.schema.wire.envelope import split

QUERIES = (
    (
        "Installs per day (at least: only those who agreed, counted by their own machines)",
        "SELECT * FROM demo.heartbeat_dau",
    ),
    (
        "Machines (all are this one)",
        """
        SELECT os, arch, code.label AS cores, count(*) AS reports
        FROM demo.system
        JOIN type ON type.name = 'system'
        JOIN code ON code.type = type.n AND code.field = 'cores' AND code.value = system.cores
        GROUP BY ALL ORDER BY reports DESC
        """,
    ),
    (
        "Versions of the app",
        "SELECT version, count(*) AS heartbeats FROM demo.heartbeat GROUP BY ALL ORDER BY ALL",
    ),
    (
        "Sign-ins that reached each step, by design of the dialogue",
        """
        SELECT value AS design, step, interactions, percent
        FROM demo.signin_funnel WHERE field = 'variant'
        """,
    ),
)
"""Titles and SQL; the SQL is printed above its answer, so that it can be run again."""

FLOOR_SAID = (
    "Counts are exact here (floor=1), because they are small and the users are simulated.\n"
    "With the usual floor of 10, views round counts down to tens and leave out smaller groups."
)


def show(ran: Ran) -> None:
    """Print everything. Raises DemoError if the aggregators differ or a row does not verify."""
    first, second = ran.stores
    with open_dataset(first, floor=1) as one, open_dataset(second, floor=1) as two:
        click.echo(f"\n{FLOOR_SAID}")
        for title, sql in QUERIES:
            heading(title)
            sql = dedent(sql).strip()
            click.echo(indented(sql))
            table(one, sql)
        heading("One report, as anyone can read it")
        show_report(one)
        heading("The same set in both aggregators")
        show_digests(ran.stores, (one, two))
        heading("Every row verified: signature, rules, and the columns derived from the bytes")
        for path, data in zip(ran.stores, (one, two), strict=True):
            show_verified(path, data)
    heading("Open it yourself")
    click.echo(snippet(ran.stores[0]))


def heading(text: str) -> None:
    """Print the title of a part of the output."""
    click.echo(f"\n{click.style(text, bold=True)}")


def table(data: Dataset, sql: str) -> None:
    """Print the answer to `sql` as a table."""
    relation = data.sql(sql)
    print_table(relation.columns, relation.fetchall(), indent=2)


def show_report(data: Dataset) -> None:
    """Print the newest heartbeat in diagnostic notation, and its bytes."""
    sql = (
        "SELECT i.raw FROM item i JOIN demo.heartbeat h USING (n) "
        "ORDER BY i.time DESC, i.id LIMIT 1"
    )
    raw = bytes(data.rows(sql)[0][0])
    item = split(raw)
    click.echo(f"  id {item.id.hex()} ({len(raw)} bytes)\n")
    click.echo(indented(readable(item)))
    click.echo(indented(hexdump(raw)), nl=False)


def indented(text: str) -> str:
    """Indent each line by two spaces."""
    return "".join(f"  {line}".rstrip() + "\n" for line in text.splitlines())


def show_digests(paths: tuple[Path, Path], data: tuple[Dataset, Dataset]) -> None:
    """Print the digest of each aggregator: equal digests prove equal sets of reports."""
    found = [combine(digests(one.connection)) for one in data]
    for path, namespaces in zip(paths, found, strict=True):
        for one in namespaces:
            click.echo(f"  {path.name}  {one.count} reports  {one.digest.hex()}")
    if found[0] != found[1]:
        raise DemoError("demo-differs", "the aggregators do not hold the same reports")


def show_verified(path: Path, data: Dataset) -> None:
    """Print how many rows were verified. Raises DemoError if one is wrong."""
    result = verify(data)
    if not result.ok:
        raise DemoError(
            "demo-unverified", f"{path.name}: {result.wrong} rows are wrong: {result.mismatches[0]}"
        )
    click.echo(f"  {path.name}  {result.reports} reports, {result.catalogs} catalog: all right")


def snippet(path: Path) -> str:
    """Return lines of Python, and a command, that open the file, ready to run. `make demo` leaves
    the environment inactive, and then neither is found: a line says how to activate it."""
    activate = Path(sys.prefix, "bin", "activate")
    inactive = shutil.which("methrics") is None and activate.is_file()
    first = f"\n  first: source {shlex.quote(str(activate))}\n" if inactive else ""
    return (
        f"  {path}\n\n"
        "  from methrics.aggregate import open_dataset\n"
        f'  with open_dataset("{path}", floor=1) as data:\n'
        '      print(data.sql("SELECT * FROM demo.heartbeat_dau"))\n\n'
        f"  or: methrics query {path} dau --floor 1\n{first}"
    )

"""`methrics verify`: checks the signature and the columns of every stored row."""

from __future__ import annotations

import json
import os

import click

from methrics.aggregate.cli.bar import progress_bar
from methrics.aggregate.cli.source import SOURCE, opened_files
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.read.verify import verify as check
from methrics.node.cli.counted import counted

PRINTED_MAX = 20
"""Maximum number of mismatches that are printed. --json prints up to 1,000."""


@click.command()
@SOURCE
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes that check reports at the same time. [default: one for each processor]",
)
@click.pass_context
def verify(ctx: click.Context, file: str, as_json: bool, processes: int | None) -> None:
    """Check every report of a data set again.

    Exit code 1 if any row differs from what was signed. The data set is a DuckDB file of `methrics
    aggregate`, running or not, a directory of its Parquet, or the http(s) address of either, of
    which everything is fetched. The signature of each row is verified, and each column is compared
    with the signed bytes. Parquet files are compared with the list of them, and the published
    digest of each day with its reports.
    """
    at_once = processes or os.cpu_count() or 1
    with opened_files(file, "checking") as dataset:
        if as_json:
            found = check(dataset, processes=at_once)
        else:
            with progress_bar("verifying") as tell:
                found = check(dataset, tell, processes=at_once)
    (_print_json if as_json else _print_words)(found)
    if not found.ok:
        ctx.exit(1)


def _print_json(found: Verification) -> None:
    mismatches = [{"table": one.table, "n": one.n, "what": one.what} for one in found.mismatches]
    counts = {
        "records": found.records,
        "catalogs": found.catalogs,
        "reports": found.reports,
        "announcements": found.announcements,
        "erasures": found.erasures,
        "files": found.files,
    }
    answer = {"ok": found.ok, **counts, "wrong": found.wrong, "mismatches": mismatches}
    click.echo(json.dumps(answer, indent=1))


def _print_words(found: Verification) -> None:
    for one in found.mismatches[:PRINTED_MAX]:
        click.echo(str(one))
    if found.wrong > PRINTED_MAX:
        click.echo(f"… and {found.wrong - PRINTED_MAX} more")
    checked = (
        f"{counted(found.reports, 'report')}, {counted(found.catalogs, 'catalog')}, "
        f"{counted(found.records, 'record')}, "
        f"{counted(found.erasures, 'erasure')} and {counted(found.announcements, 'announcement')}"
    )
    if found.ok:
        click.echo(f"every row is what was signed: {checked}")
    else:
        mismatches = "1 mismatch" if found.wrong == 1 else f"{found.wrong:,} mismatches"
        click.echo(f"{mismatches} in {checked}")

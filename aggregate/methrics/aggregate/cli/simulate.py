"""`methrics simulate`: makes a data set of invented people, and the truth about them beside it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from methrics.aggregate.simulate.run import DATA, TRUTH, Summary, Tell
from methrics.aggregate.simulate.run import simulate as run
from methrics.aggregate.simulate.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DEFAULT = {field.name: field.default for field in fields(Settings)}


def _option(
    name: str, help_text: str, kind: type | click.IntRange = int
) -> Callable[[_Command], _Command]:
    default = _DEFAULT[name]
    flag = f"--{name.replace('_', '-')}"
    return click.option(flag, name, type=kind, default=default, show_default=True, help=help_text)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@_option("installs", "Installs of the app.", click.IntRange(min=1))
@_option("days", "Days that are simulated.", click.IntRange(min=1))
@_option("seed", "The same seed and options give the same bytes.")
@_option("opt_in", "Share of installs whose owner agrees.", float)
@_option("churn", "Share of installs that are removed within 30 days.", float)
@_option("devices", "Installs of one person, on average.", float)
@_option("skew", "Share of machines whose clock is wrong.", float)
@_option("one_in", "Report one in so many sign-ins: 1, 2, 5, 10 or 100.")
@_option("loss", "Share of bundles that never arrive.", float)
@click.option(
    "--mix/--no-mix", default=True, help="Whether reports rest in relays until the next day."
)
@_option("flooders", "Reports per day of installs that do not exist.")
@_option("forgers", "Bundles per day with something forged in them.")
@_option("replayers", "Old reports per day that are sent again.")
@_option("squatters", "Items per day of an impostor who uses the app's label.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=min(2, os.cpu_count() or 1),
    show_default=True,
    help="Processes that simulate the installs; the result does not depend on it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def simulate(directory: Path, processes: int, as_json: bool, **options: float) -> None:
    """Make a data set of invented people, and the truth about them.

    DIRECTORY gets data.duckdb, as an aggregator would write it, and truth.duckdb. Invented people
    use the example app. The recorder, publisher, keys, signatures, checks and store are the real
    ones. The truth file holds what really happened.
    """
    settings = Settings(**options)  # type: ignore[arg-type]  # the options are its fields
    with _progress(as_json) as tell:
        summary = run(directory, settings, processes=processes, tell=tell)
    if as_json:
        click.echo(json.dumps(summary.as_dict(), indent=1))
    else:
        _print_words(directory, summary)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Tell]:
    """A progress bar on standard error, with a line for each part of the work."""
    if quiet:
        yield lambda *_: None
        return
    bar = Progress(
        TextColumn("{task.description:>17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, object] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]  # rich's own id

    with bar:
        yield tell


def _print_words(directory: Path, made: Summary) -> None:
    for line in (
        f"{directory / DATA}: {made.stored} reports, {made.refused} refusals",
        f"{directory / TRUTH}: what {made.installs} installs did in {made.days} days",
        f"{made.sharing} installs share; {made.reports} of their reports left the machine",
        f"digest of the data   {made.digest}",
        f"digest of the truth  {made.truth}",
        f"{made.reports_per_cpu_s:,.0f} reports per CPU second are recorded, made and signed, "
        f"{made.total_reports_per_cpu_s:,.0f} with judging and storing; {made.wall_s:.0f} s in all",
        f"signing is {made.signing_share:.0%} of making them; libsodium alone signs "
        f"{made.raw_sign_per_cpu_s:,.0f} per CPU second: ratio {made.sign_ratio}",
    ):
        click.echo(line)

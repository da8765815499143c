"""`methrics mixpanel`: drafts a catalog from a Mixpanel export, and compares the numbers."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from methrics.aggregate.cli.query import print_rows
from methrics.aggregate.mixpanel.compare import Metric
from methrics.aggregate.mixpanel.export import count_reasons
from methrics.aggregate.mixpanel.run import How, Tell, make_comparison, make_draft
from methrics.aggregate.mixpanel.sketch import Summary
from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.group import CommandGroup
from methrics.node.clock import Clock
from methrics.schema.errors import StoreError
from methrics.schema.wire.reading import is_label

FILE = click.Path(path_type=Path, dir_okay=False)

LEFT_SHOWN = 100
"""Maximum number of lines about events and properties that were left out. The draft lists all."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(cls=CommandGroup)
def mixpanel() -> None:
    """Move an app from Mixpanel: draft a catalog, and compare the numbers.

    Both commands read a raw export, as Mixpanel's Raw Event Export API gives it: JSON Lines, plain
    or .gz. Nothing is sent anywhere. docs/mixpanel.md lists what replaces each of Mixpanel's
    statistics.
    """


def _reading(command: _Command) -> _Command:
    """Add the argument and the options that both commands share."""
    for option in (
        click.option(
            "--local-times",
            "local",
            is_flag=True,
            help="Times in the export are in --zone, not UTC (projects made before 2023).",
        ),
        click.option(
            "--zone", default="UTC", show_default=True, help="The project's time zone at Mixpanel."
        ),
        click.option(
            "--least",
            type=click.IntRange(1, 1000),
            default=10,
            show_default=True,
            help="An event or value gets a name of its own if at least so many people share it.",
        ),
        click.option(
            "--funnel",
            "funnels",
            multiple=True,
            metavar="NAME=A>B>C",
            help="Events that are the steps of one interaction, in order; repeat for more.",
        ),
        click.argument("export", type=FILE),
    ):
        command = option(command)
    return command


@mixpanel.command()
@_reading
@click.option("--output", "-o", type=FILE, help="Write the draft here, not to standard output.")
@click.option("--label", default="app", show_default=True, help="The readable part of the topic.")
def draft(
    export: Path,
    output: Path | None,
    label: str,
    funnels: tuple[str, ...],
    least: int,
    zone: str,
    local: bool,
) -> None:
    """Write a catalog draft for the events in EXPORT.

    What it leaves out is listed on standard error. The lint refuses the draft until you have
    written why each event type is needed, who owns it, and which question it answers. It holds no
    value that fewer than --least people share.
    """
    if not is_label(label):
        raise click.BadParameter("lower case letters, digits and -, at most 32", param_hint="label")
    how = _how(funnels, zone, local, least, label)
    refused: Counter[str] = Counter()
    with _progress() as tell:
        made, seen = make_draft(export, how, refused, tell)
    if output is None:
        click.echo(made.source(), nl=False)
    else:
        _write(output, made.source())
    _say(export, seen, refused)
    for one in made.left_out[:LEFT_SHOWN]:
        what = " / ".join(filter(None, (one.event or "every event", one.key)))
        click.echo(f"left out: {_plain(what)}: {one.why}", err=True)
    if len(made.left_out) > LEFT_SHOWN:
        more = len(made.left_out) - LEFT_SHOWN
        click.echo(f"left out: {more} more; the draft names all of them", err=True)
    if output is not None:
        click.echo(f"wrote {output}: {len(made.types)} event types; fill in what is empty, then:")
        click.echo(f"  methrics catalog lint {output}")


@mixpanel.command()
@_reading
@click.option("--catalog", type=FILE, help="A signed catalog; without, a draft is made.")
@click.option(
    "--people", type=click.IntRange(1), help="Compare only so many people, drawn evenly: quicker."
)
@click.option("--each", is_flag=True, help="Print each day, week and value.")
@click.option("--json", "form", flag_value="json", help="Print a JSON object for each row.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
def compare(
    export: Path,
    catalog: Path | None,
    funnels: tuple[str, ...],
    least: int,
    zone: str,
    local: bool,
    people: int | None,
    each: bool,
    form: str | None,
) -> None:
    """Compare metrics by Mixpanel's definitions and by views.

    Mixpanel's side counts EXPORT by distinct_id. For the other side each distinct_id becomes an
    install that agreed to everything: its events are recorded, reported, judged and stored by the
    real code, and the views are asked, without a floor. A difference then comes from a definition,
    which the last column names. In this comparison every install opts in and nothing is lost.
    """
    how = _how(funnels, zone, local, least, "comparison")._replace(people=people)
    with _progress() as tell:
        found = make_comparison(export, load_catalog(catalog) if catalog else None, how, tell)
    show = _each if each else _worst
    rows = [row for metric in found.metrics for row in show(metric)]
    head = ("metric", "at", "Mixpanel", "here", "difference", "equal", "why")
    print_rows(head, rows, form)
    for reason, n, meaning in count_reasons(found.refused):
        click.echo(f"not counted: {n} lines, {reason} ({meaning})", err=True)
    for reason, n in found.dropped.most_common():
        click.echo(f"not recorded: {n} events, {reason}", err=True)


Row = tuple[object, ...]


def _row(metric: Metric, label: str, equal: object) -> Row:
    left = metric.theirs.get(label, 0)
    if metric.here is None:
        return (metric.title, label, _short(left), None, None, equal, f"not here: {metric.why}")
    right = metric.here.get(label, 0)
    why = "" if left == right else metric.why
    return (metric.title, label, _short(left), _short(right), _short(right - left), equal, why)


def _each(metric: Metric) -> list[Row]:
    return [
        _row(metric, label, metric.same(label) if metric.here is not None else None)
        for label in metric.labels()
    ]


def _worst(metric: Metric) -> list[Row]:
    """Return the row with the largest difference; the last row if no row differs or if only one
    side has the metric."""
    labels = metric.labels()
    if not labels:
        return [(metric.title, "", None, None, None, "0 of 0", metric.why)]
    if metric.here is None:
        return [_row(metric, labels[-1], "")]
    same = [label for label in labels if metric.same(label)]
    others = [label for label in labels if label not in same]
    here = metric.here
    worst = max(
        others or labels[-1:], key=lambda one: abs(here.get(one, 0) - metric.theirs.get(one, 0))
    )
    return [_row(metric, worst, f"{len(same)} of {len(labels)}")]


def _short(number: float) -> float:
    return int(number) if number == int(number) else round(number, 2)


def _how(funnels: tuple[str, ...], zone: str, local: bool, least: int, label: str) -> How:
    read = {}
    for text in funnels:
        name, equals, steps = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=A>B>C", param_hint="--funnel")
        read[name.strip()] = [step.strip() for step in steps.split(">")]
    try:
        known = ZoneInfo(zone)
    except (OSError, ValueError, KeyError) as error:
        hint = "a name such as Europe/Berlin"
        raise click.BadParameter(
            f"no such time zone: {zone}; {hint}", param_hint="--zone"
        ) from error
    return How(read, known, local, least, label, Clock().now())


def _write(output: Path, text: str) -> None:
    """Write a new file. An existing file is never replaced, because it may have been edited."""
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StoreError(
            "draft-exists", f"{output} exists already", "name another file, or remove it"
        ) from None
    except OSError as error:
        raise StoreError(
            "catalog-unwritable", f"cannot write {output}: {error.strerror}", "name another file"
        ) from error


def _say(export: Path, seen: Summary, refused: Counter[str]) -> None:
    assert seen.first is not None
    first, last = (datetime.fromtimestamp(time, UTC).date() for time in (seen.first, seen.last))
    click.echo(
        f"{export}: {seen.n} events of {seen.people.total()} people, {first} to {last}", err=True
    )
    for reason, n, meaning in count_reasons(refused):
        click.echo(f"not read: {n} lines, {reason} ({meaning})", err=True)


def _plain(text: str) -> str:
    """Make untrusted text safe for a terminal: one line, no control characters, short."""
    return re.sub(r"[^\x20-\x7e\xa1-\uffff]", "?", text)[:120]


@contextlib.contextmanager
def _progress() -> Iterator[Tell]:
    """A progress bar on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, Any] = {}

    def tell(what: str, done: int, total: int | None) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)

    with bar:
        yield tell

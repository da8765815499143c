"""`methrics erase` asks for the erasure of own reports; `methrics reset` starts with new keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from methrics.node.cli.confirm import confirm
from methrics.node.cli.counted import counted
from methrics.node.cli.durations import Duration
from methrics.node.cli.naming import check_names, resolve_apps
from methrics.node.cli.options import HOME, TYPES, WHOLE_APPS, YES, json_option
from methrics.node.clock import Clock
from methrics.node.consent.apps import known_catalogs
from methrics.node.durations import duration_text
from methrics.node.mine.erasing import Erased
from methrics.node.mine.mine import Mine
from methrics.node.mine.own import OwnReport, left_words
from methrics.node.mine.reports import pick
from methrics.node.outbox.found import namespaces_here
from methrics.node.paths import Paths, user_paths
from methrics.node.report.pacing import WINDOW, WINDOW_MAX
from methrics.schema.pages.explain import duration


@click.command()
@click.argument("reports", nargs=-1, metavar="[REPORT]...")
@TYPES
@WHOLE_APPS
@click.option("--all", "everything", is_flag=True, help="Every report of every app.")
@click.option(
    "--over",
    type=Duration(most=WINDOW_MAX),
    default=duration_text(WINDOW),
    show_default=True,
    metavar="DURATION",
    help="Send the erasures at random moments within this time.",
)
@click.option("--again", is_flag=True, help="Send erasures that have left before once more.")
@YES
@json_option()
@HOME
def erase(
    reports: tuple[str, ...],
    types: tuple[str, ...],
    apps: tuple[str, ...],
    everything: bool,
    over: float,
    again: bool,
    yes: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Erase your own reports. REPORT is a number or an id that `methrics mine` prints.

    A report that has not left is dropped at once. For one that has, an erasure is signed with that
    report's own key. Erasures leave one by one, each at a random moment, so that nothing shows that
    they come from one person. Later reports go on: `methrics consent` stops those.
    """
    if not (reports or types or apps or everything):
        raise click.UsageError("name reports, --type, --app or --all")
    if everything and (reports or types or apps):
        raise click.UsageError("--all goes alone")
    paths = user_paths(home)
    apps, window = resolve_apps(apps, namespaces_here(paths), whole=True), int(over)
    mine = Mine(paths, apps or None, clock=Clock())
    known = mine.reports()
    if not reports and not namespaces_here(paths) and not as_json:
        click.echo("nothing was recorded here: there is nothing to erase")
        return
    _check_types(paths, known, types)
    chosen = _choose(known, reports, types)
    if not (reports or chosen or mine.waiting(types) or as_json):
        click.echo("nothing of that waits or has left: there is nothing to erase")
        return
    if not yes:
        _confirm(chosen, not reports, window)
    done = mine.erase(chosen if reports else None, types=types, over=window, again=again)
    _print_outcome(mine, done, window, as_json)


def _check_types(paths: Paths, known: list[OwnReport], types: tuple[str, ...]) -> None:
    """Raises WrongNameError for an unknown type. Otherwise a misspelt type would look like a type
    without reports."""
    names = {one.receipt.type for one in known}
    names.update(name for catalog in known_catalogs(paths) for name in catalog.types)
    check_names(types, names, kind="event type", owner="this machine")


def _choose(
    known: list[OwnReport], reports: tuple[str, ...], types: tuple[str, ...]
) -> list[OwnReport]:
    found = pick(known, reports) if reports else known
    if types:
        found = [one for one in found if one.receipt.type in types]
    return found


def _confirm(chosen: list[OwnReport], whole: bool, over: int) -> None:
    left = [one for one in chosen if one.may_have_left]
    new = [one for one in left if one.erasure is None]
    click.echo(
        f"already left: {counted(len(new), 'report')}, each gets an erasure within {duration(over)}"
    )
    if len(left) > len(new):
        click.echo(f"have an erasure already: {counted(len(left) - len(new), 'report')}")
    if len(chosen) > len(left) or whole:
        click.echo(
            f"not left yet: {counted(len(chosen) - len(left), 'report')}, dropped with all "
            "waiting events"
        )
    if over < 86_400 and len(new) > 1:
        click.echo("In so short a time, an observer may guess that they come from one person.")
    click.echo("Honest aggregators delete them. A copy that somebody kept cannot be called back.")
    confirm("Erase?")


def _print_outcome(mine: Mine, done: Erased, over: int, as_json: bool) -> None:
    silent = not mine.may_erase()
    if as_json:
        click.echo(json.dumps({**asdict(done), "window": over, "silent": silent}))
        return
    waiting = counted(done.waiting, "waiting event")
    click.echo(f"dropped before they left: {counted(done.dropped, 'report')}, {waiting}")
    click.echo(f"erasures to send: {done.journaled}, within {duration(over)}")
    if done.already:
        more = f", {done.again} of them once more" if done.again else ""
        click.echo(f"erasures made before: {done.already}{more}")
    if done.damaged:
        reports = counted(done.damaged, "report")
        click.echo(f"damaged in the outbox, so no erasure can be made: {reports}")
    if done.journaled or done.again:
        click.echo(
            "They leave while an app publishes, or with: methrics publish"
            if not silent
            else "They wait: this machine may not send anything (system policy, METHRICS=off, CI)"
        )


@click.command()
@WHOLE_APPS
@click.option("--burn", "burning", is_flag=True, help="Also destroy the receipts of old reports.")
@YES
@HOME
def reset(apps: tuple[str, ...], burning: bool, yes: bool, home: Path | None) -> None:
    """Make new keys and a new week of installation on this machine.

    Reports that left before stay public. Their receipts are kept, so that you can still find and
    erase them. With --burn the receipts and their keys are destroyed: then this machine no longer
    knows which reports were yours, and you cannot find or erase them either.
    """
    paths = user_paths(home)
    known = namespaces_here(paths)
    chosen = resolve_apps(apps, known, whole=True) or known
    if not chosen:
        click.echo("nothing was recorded here: there is nothing to reset")
        return
    if burning:
        _burn(paths, chosen, yes)
        return
    for name in Mine(paths, chosen).reset():
        click.echo(f"{name}: new keys and a new week from the next report on; receipts kept")


def _burn(paths: Paths, apps: Sequence[str], yes: bool) -> None:
    total = Mine(paths, apps).to_burn()
    if not yes:
        click.echo(
            f"This destroys the receipts and keys of {counted(total.receipts, 'report')} that "
            "left. They stay public, and neither you nor anyone else can find or erase them as "
            "yours."
        )
        if total.unsent:
            click.echo(f"{counted(total.unsent, 'report')} not sent yet: dropped.")
        if total.erasures:
            click.echo(
                f"{counted(total.erasures, 'erasure')} not sent yet: dropped, unless you wait with "
                "this command until they have left."
            )
        click.echo("Backups and snapshots of this disk are not changed.")
        confirm("Burn?")
    for name in apps:
        done = Mine(paths, (name,)).burn()
        erasures = counted(done.erasures, "erasure")
        click.echo(f"{name}: {counted(done.receipts, 'receipt')} burned, {erasures} dropped")


def offer(mine: Mine, left: list[OwnReport], apps: Sequence[str], types: tuple[str, ...]) -> None:
    """Prints, after a withdrawal from `apps`, how many reports had left already (`left`). On a
    terminal, offers to erase them."""
    if not left:
        return
    public = left_words(left)
    if not on_a_terminal():
        names = [f"--app {app}" for app in apps] + [f"--type {name}" for name in types]
        command = " ".join(["methrics erase", *names])
        click.echo(f"{public}; to erase them: {command}")
        return
    if click.confirm(f"{public}. Erase them, within {duration(WINDOW)}?", default=False):
        _print_outcome(mine, mine.erase(left), WINDOW, False)


def on_a_terminal() -> bool:
    """Returns whether a person can read and answer: input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()

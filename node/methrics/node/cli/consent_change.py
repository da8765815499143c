"""`methrics consent grant` and `methrics consent withdraw`: write answers from the command line."""

from __future__ import annotations

from pathlib import Path

import click

from methrics.node.cli.catalog_file import chosen_catalogs
from methrics.node.cli.confirm import confirm
from methrics.node.cli.consent_common import check_grant, grant_text, name_of
from methrics.node.cli.counted import counted
from methrics.node.cli.erase import offer
from methrics.node.cli.naming import check_names, resolve_apps
from methrics.node.cli.options import CATALOGS, HOME, TYPES, WHOLE_APPS, YES
from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.changing import COMMAND, allow, left_out_lines, types_by_app
from methrics.node.mine.mine import Mine
from methrics.node.mine.own import OwnReport
from methrics.node.outbox.found import namespaces_here
from methrics.node.outbox.records import kept_of
from methrics.node.paths import user_paths
from methrics.node.report.route_names import ROUTES


@click.command(name="grant")
@WHOLE_APPS
@CATALOGS
@TYPES
@click.option(
    "--field", "fields", multiple=True, metavar="FIELD", help="Share only this field; repeatable."
)
@click.option(
    "--route",
    "routes",
    multiple=True,
    type=click.Choice(ROUTES),
    help="How reports may leave: as you allowed before, or else by relay. With direct, peers see "
    "your address. Repeatable.",
)
@YES
@HOME
@click.pass_obj
def grant_command(
    outer: Path | None,
    apps: tuple[str, ...],
    catalogs: tuple[Path, ...],
    types: tuple[str, ...],
    fields: tuple[str, ...],
    routes: tuple[str, ...],
    yes: bool,
    home: Path | None,
) -> None:
    """Allow event types of an app, chosen by --app or --catalog.

    Without --type this allows all of them. You allow exactly what is shown: fields that a later
    version adds stay off.
    """
    if not (apps or catalogs):
        raise click.UsageError("choose an app: --catalog FILE, or --app NAME")
    paths = user_paths(home or outer)
    loaded = chosen_catalogs(paths, apps, catalogs, whole=True)
    check_grant(loaded, types, fields)
    asking = Asking(loaded, paths, surface=COMMAND)
    if not yes:
        click.echo(grant_text(asking, types))
        confirm("Allow this?")
    edits = allow(asking, types, fields=fields, routes=routes or None)
    say_moved(asking.moved)
    now = Clock().now()
    for catalog in loaded:
        app = name_of(catalog)
        own = [edit for edit in edits if edit.namespace == app]
        kept = kept_of(paths, [app])[app]
        revoked = [edit.type for edit in own if kept.revoked(edit.type, now)]
        on = [edit.type for edit in own if edit.type not in revoked]
        if on or not revoked:
            click.echo(f"{app}: on: {', '.join(on)}")
        if revoked:
            words = "revoked by the app's owner; nothing of these is sent"
            click.echo(f"{app}: {words}: {', '.join(revoked)}")
        for line in () if fields else left_out_lines(catalog, own):
            click.echo(line)


@click.command(name="withdraw")
@WHOLE_APPS
@TYPES
@click.option("--all", "everything", is_flag=True, help="Every app, later ones included.")
@HOME
@click.pass_obj
def withdraw_command(
    outer: Path | None,
    apps: tuple[str, ...],
    types: tuple[str, ...],
    everything: bool,
    home: Path | None,
) -> None:
    """Stop event types of an app, and drop its events and reports that have not left.

    Without --type this stops the whole app, with the event types of its later versions. It takes
    effect at once.
    """
    if everything == bool(apps) or (everything and types):
        raise click.UsageError("give --app NAME, with --type if you like, or --all")
    paths = user_paths(home or outer)
    if everything:
        mine = Mine(paths, None, through=COMMAND)
        done = mine.withdraw()
        say_moved(done.moved)
        click.echo(f"every app: off; {counted(done.deleted, 'waiting event')} deleted")
        offer(mine, done.left, namespaces_here(paths), ())
        return
    known = types_by_app(paths)
    chosen = resolve_apps(apps, known, whole=True)
    for app in chosen:
        check_names(types, known[app] - {EVERY}, kind="event type", owner=app)
    left: list[OwnReport] = []
    for app in chosen:
        done = Mine(paths, (app,), declared=known[app], through=COMMAND).withdraw(*types)
        say_moved(done.moved)
        left += done.left
        stopped = ", ".join(types) or "every event type"
        click.echo(f"{app}: off: {stopped}; {counted(done.deleted, 'waiting event')} deleted")
    offer(Mine(paths, chosen), left, chosen, types)


def say_moved(moved: str | None) -> None:
    """Prints to standard error that a damaged ledger was kept under another name, if `moved` is
    that name."""
    if moved is not None:
        click.echo(f"methrics: the ledger was damaged; it is kept as {moved}", err=True)

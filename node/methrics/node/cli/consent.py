"""`methrics consent`: shows what apps on this machine may share, and lets a person decide."""

from __future__ import annotations

import json
from pathlib import Path

import click

from methrics.node.cli.consent_change import grant_command, say_moved, withdraw_command
from methrics.node.cli.consent_common import ask_here
from methrics.node.cli.consent_table import show_history, show_overview
from methrics.node.cli.consent_web import consent_web
from methrics.node.cli.group import CommandGroup
from methrics.node.cli.naming import resolve_apps
from methrics.node.cli.options import APPS, CATALOGS, HOME, json_option
from methrics.node.consent.answer import EVERY
from methrics.node.consent.ledger import read_ledger
from methrics.node.paths import user_paths


@click.group(cls=CommandGroup, invoke_without_command=True)
@click.option("--web", is_flag=True, help="Decide on a page in your browser, for every app.")
@click.option("--browser/--no-browser", default=True, help="With --web, whether to open it.")
@APPS
@CATALOGS
@json_option()
@HOME
@click.pass_context
def consent(
    ctx: click.Context,
    web: bool,
    browser: bool,
    apps: tuple[str, ...],
    catalogs: tuple[Path, ...],
    as_json: bool,
    home: Path | None,
) -> None:
    """See and change what apps on this machine may share. Off unless you allow it.

    Without a command, this lists each app and event type, whether it is on, and the rule that
    decided it. Your answers are stored in one readable file.
    """
    ctx.obj = home
    if ctx.invoked_subcommand is not None:
        if as_json or web or apps or catalogs:
            raise click.UsageError("give options after the name of the subcommand")
        return
    paths = user_paths(home)
    if web:
        ctx.exit(consent_web(paths, apps, catalogs, browser=browser))
    show_overview(paths, as_json, apps, catalogs)


@consent.command()
@APPS
@CATALOGS
@json_option()
@HOME
@click.pass_obj
def show(
    outer: Path | None,
    apps: tuple[str, ...],
    catalogs: tuple[Path, ...],
    as_json: bool,
    home: Path | None,
) -> None:
    """Do the same as `methrics consent` alone."""
    show_overview(user_paths(home or outer), as_json, apps, catalogs)


@consent.command()
@APPS
@CATALOGS
@HOME
@click.pass_obj
def ask(
    outer: Path | None, apps: tuple[str, ...], catalogs: tuple[Path, ...], home: Path | None
) -> None:
    """Decide in this terminal about every open event type.

    The questions are those of the chosen apps, or of all apps found on this machine.
    """
    instead = "use `methrics consent --web` or `methrics consent grant`"
    say_moved(ask_here(user_paths(home or outer), apps, catalogs, instead=instead))


@consent.command()
@APPS
@json_option()
@HOME
@click.pass_obj
def history(outer: Path | None, apps: tuple[str, ...], as_json: bool, home: Path | None) -> None:
    """List every change of an answer, oldest first.

    Each line has the time, the user, how the answer was given, and the answer.
    """
    entries = read_ledger(user_paths(home or outer).ledger).history
    known = {str(entry.get("app")) for entry in entries} - {EVERY}
    chosen = resolve_apps(apps, known)
    entries = [entry for entry in entries if not chosen or entry.get("app") in chosen]
    if as_json:
        for entry in entries:
            click.echo(json.dumps(entry))
        return
    show_history(entries)


consent.add_command(grant_command)
consent.add_command(withdraw_command)

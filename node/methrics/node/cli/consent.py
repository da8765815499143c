"""`methrics consent`: what apps on this machine may share; look, ask, allow, stop."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import click

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.confirm import confirm
from methrics.node.cli.consent_table import show_history, show_standing
from methrics.node.cli.naming import CommandGroup
from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY, ROUTES
from methrics.node.consent.apps import known_catalogs
from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger import read_answers, read_ledger, withdraw
from methrics.node.consent.overview import RULES
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError
from methrics.schema.pages.explain import consent_text

COMMAND = "command"
"""How answers given here are called in the ledger's history."""

FILE = click.Path(path_type=Path, dir_okay=False)
CATALOG = click.argument("catalog", type=FILE)
HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Instead of METHRICS_HOME.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group(cls=CommandGroup, invoke_without_command=True)
@HOME
@JSON
@click.option("--web", is_flag=True, help="Decide on a page in your browser, for every app.")
@click.option(
    "--catalog",
    "catalogs",
    type=FILE,
    multiple=True,
    help="With --web, also the app whose signed catalog this is; may be repeated.",
)
@click.option("--browser/--no-browser", default=True, help="With --web, whether to open it.")
@click.pass_context
def consent(
    ctx: click.Context,
    home: Path | None,
    as_json: bool,
    web: bool,
    catalogs: tuple[Path, ...],
    browser: bool,
) -> None:
    """See and change what apps on this machine may share. Off unless you say otherwise.

    Without a command: what holds now for each app and event type, and the rule that decided. An app
    is named by its namespace, as printed. Answers are kept in one readable file.
    """
    ctx.obj = home
    if ctx.invoked_subcommand is not None:
        if as_json or web or catalogs:
            raise click.UsageError("--json, --web and --catalog stand after the command's name")
        return
    if web:
        ctx.exit(_web(user_paths(home), catalogs, browser))
    show_standing(user_paths(home), as_json)


@consent.command()
@HOME
@JSON
@click.pass_obj
def show(outer: Path | None, home: Path | None, as_json: bool) -> None:
    """The same as `methrics consent` alone."""
    show_standing(user_paths(home or outer), as_json)


@consent.command()
@click.argument("catalogs", type=FILE, nargs=-1)
@HOME
@click.pass_obj
def ask(outer: Path | None, catalogs: tuple[Path, ...], home: Path | None) -> None:
    """Decide here in the terminal about what is not decided yet.

    About the apps whose signed CATALOGS are given, or all that are found on this machine.
    """
    from methrics.node.consent.prompt import WIDTH, prompt

    paths = user_paths(home or outer)
    asking = Asking(_known(paths, catalogs), paths, surface="terminal")
    rule = asking.forbidden()
    if rule is not None:
        click.echo(f"nothing to decide: {RULES[rule]}")
        return
    open_now = asking.questions()
    if not open_now:
        click.echo("nothing to decide; see: methrics consent")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "no-terminal",
            "a person has to answer, and this is no terminal",
            "use `methrics consent --web` or `methrics consent grant`",
        )
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    sheets = [asking.sheet(question) for question in open_now]
    prompt(asking, sheets, stdin=sys.stdin, stdout=sys.stdout, width=width)
    _say_moved(asking.moved)


@consent.command()
@click.argument("namespace", required=False)
@HOME
@JSON
@click.pass_obj
def history(outer: Path | None, namespace: str | None, home: Path | None, as_json: bool) -> None:
    """Every change of an answer: when, who, through what, and to what; oldest first."""
    paths = user_paths(home or outer)
    entries = [
        entry
        for entry in read_ledger(paths.ledger).history
        if namespace is None or entry.get("app") == namespace
    ]
    if as_json:
        for entry in entries:
            click.echo(json.dumps(entry))
        return
    show_history(entries)


@consent.command(name="grant")
@CATALOG
@click.option(
    "--type", "types", multiple=True, help="Event type; repeat for several. Default: all."
)
@click.option("--field", "fields", multiple=True, help="Share these fields only. Default: all.")
@click.option(
    "--route",
    "routes",
    multiple=True,
    type=click.Choice(ROUTES),
    default=["relay"],
    show_default=True,
    help="How reports may travel; direct shows your address to peers.",
)
@HOME
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def grant_command(
    outer: Path | None,
    catalog: Path,
    types: tuple[str, ...],
    fields: tuple[str, ...],
    routes: tuple[str, ...],
    home: Path | None,
    yes: bool,
) -> None:
    """Allow event types of the app whose signed CATALOG this is.

    What is allowed is exactly what is shown: fields that a later version adds stay off.
    """
    loaded = load_catalog(catalog)
    chosen = _chosen(loaded, types)
    _check_fields(loaded, chosen, fields)
    if not yes:
        click.echo("\n\n".join(consent_text(loaded.types[name]) for name in chosen))
        confirm("Allow this?")
    paths = user_paths(home or outer)
    asking = Asking([loaded], paths, surface=COMMAND)
    namespace = namespace_of(loaded.label, loaded.short_key)
    edits = []
    for name in chosen:
        declared = [field.name for field in loaded.types[name].fields]
        shared = [field for field in declared if not fields or field in fields]
        edits.append(asking.edit(name, "yes", fields=shared, routes=routes))
    asking.write(edits)
    _say_moved(asking.moved)
    click.echo(f"{namespace}: on: {', '.join(chosen)}")


@consent.command(name="withdraw")
@click.argument("namespace", required=False)
@click.option(
    "--type", "types", multiple=True, help="Event type; repeat for several. Default: all."
)
@click.option("--all", "everything", is_flag=True, help="Every app, those to come included.")
@HOME
@click.pass_obj
def withdraw_command(
    outer: Path | None,
    namespace: str | None,
    types: tuple[str, ...],
    everything: bool,
    home: Path | None,
) -> None:
    """Stop event types of NAMESPACE at once, and forget what was not sent yet.

    Without --type the whole app, with the event types of its later versions.
    """
    if everything == (namespace is not None) or (everything and types):
        raise click.UsageError("give a NAMESPACE, with --type if you like, or --all")
    paths, now = user_paths(home or outer), Clock().now()
    if everything:
        apps = _outboxes(paths)
        _say_moved(withdraw(paths, EVERY, now=now, through=COMMAND))
        forgotten = sum(_purge(paths, app, None) for app in apps)
        click.echo(f"every app: off; {forgotten} waiting rows forgotten")
        _offer_erasing(paths, apps, ())
        return
    assert namespace is not None
    known = read_answers(paths.ledger).get(namespace, {})
    declared = {
        name
        for catalog in known_catalogs(paths)
        if namespace_of(catalog.label, catalog.short_key) == namespace
        for name in catalog.types
    }
    if not known and not declared:
        raise ConfigError(
            "unknown-namespace",
            f"no app was answered under the name {namespace}",
            "`methrics consent` prints the names",
        )
    if unknown := sorted(set(types) - declared - set(known)):
        raise ConfigError(
            "unknown-type",
            f"{namespace} has no {', '.join(unknown)}",
            f"one of {', '.join(sorted((declared | set(known)) - {EVERY}))}",
        )
    _say_moved(withdraw(paths, namespace, list(types) or None, now=now, through=COMMAND))
    forgotten = sum(_purge(paths, namespace, name) for name in types or (None,))
    what = ", ".join(types) or "everything"
    click.echo(f"{namespace}: off: {what}; {forgotten} waiting rows forgotten")
    _offer_erasing(paths, [namespace], types)


def _offer_erasing(paths: Paths, apps: list[str], types: tuple[str, ...]) -> None:
    from methrics.node.cli.erase import offer  # brings the publisher along

    offer(paths, apps, types)


def _web(paths: Paths, files: tuple[Path, ...], browser: bool) -> int:
    """Serves the page until the person has decided: 0; or has gone away: 1."""
    from methrics.node.consent.page.server import ConsentPage

    asking = Asking(_known(paths, files), paths, surface="page")
    asked = asking.questions(everything=True)
    if not asked:
        click.echo("no app was found to decide about; give its catalog: --catalog app.cbor")
        return 1
    rule = asking.forbidden()
    sheets = [asking.sheet(question) for question in asked]
    overridden = RULES[rule].capitalize() + "." if rule is not None else ""
    with ConsentPage(asking, sheets, overridden=overridden) as page:
        click.echo(f"decide here, on this machine only: {page.url}")
        if browser and _has_desktop():
            import webbrowser

            webbrowser.open(page.url)
        saved = page.serve()
    _say_moved(asking.moved)
    click.echo("saved" if saved else "nothing was decided, so nothing has changed")
    return 0 if saved else 1


def _has_desktop() -> bool:
    """Whether a browser would have a window; a text browser would take over this terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _known(paths: Paths, files: tuple[Path, ...]) -> list[Catalog]:
    """The catalogs in `files` first; without any, those found on this machine."""
    return [load_catalog(path) for path in files] if files else known_catalogs(paths)


def _say_moved(moved: str | None) -> None:
    if moved is not None:
        click.echo(f"methrics: the ledger was damaged; it is kept as {moved}", err=True)


def _outboxes(paths: Paths) -> list[str]:
    try:
        return sorted(os.listdir(paths.data))
    except OSError:
        return []


def _purge(paths: Paths, namespace: str, type_name: str | None) -> int:
    journal = Journal(paths.outbox(namespace))
    if not journal.exists():
        return 0
    try:
        return journal.purge(type_name)
    finally:
        journal.close()


def _chosen(catalog: Catalog, types: tuple[str, ...]) -> list[str]:
    unknown = sorted(set(types) - set(catalog.types))
    if unknown:
        raise ConfigError(
            "unknown-type",
            f"the catalog declares no {', '.join(unknown)}",
            f"one of {', '.join(catalog.types)}",
        )
    return list(dict.fromkeys(types)) or list(catalog.types)


def _check_fields(catalog: Catalog, types: list[str], fields: tuple[str, ...]) -> None:
    declared = {field.name for name in types for field in catalog.types[name].fields}
    unknown = sorted(set(fields) - declared)
    if unknown:
        raise ConfigError(
            "unknown-field",
            f"no such field: {', '.join(unknown)}",
            f"one of {', '.join(sorted(declared))}",
        )

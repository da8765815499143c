"""The consent commands of the base install. They do what `methrics consent` does, in plain text."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from methrics.node.cli.catalog_file import chosen_catalogs
from methrics.node.cli.counted import counted
from methrics.node.cli.naming import check_names, resolve_apps
from methrics.node.consent.answer import EVERY
from methrics.node.consent.apps import known_catalogs
from methrics.node.consent.asking import Asking
from methrics.node.consent.changing import COMMAND, allow, left_out_lines, types_by_app
from methrics.node.consent.decide import PRODUCTION, forbidden
from methrics.node.consent.ledger import policy_off, read_answers, read_ledger
from methrics.node.consent.overview import (
    HISTORY_HEAD,
    OVERVIEW_HEAD,
    app_words,
    history_cells,
    overview,
    overview_cells,
    why,
)
from methrics.node.consent.screen import HEIGHT, WIDTH, bounded, whole
from methrics.node.consent.way_back import way_back
from methrics.node.mine.mine import Mine
from methrics.node.paths import namespace_of, user_paths
from methrics.schema.errors import ConfigError


def show(home: str | None, apps: Sequence[str], catalogs: Sequence[Path]) -> None:
    """Prints whether each event type of each app is on, and the rule that decided it. Raises
    StoreError, CatalogError and WrongNameError."""
    paths = user_paths(home)
    answers, policy = read_answers(paths.ledger), policy_off(paths.policy)
    given = chosen_catalogs(paths, (), catalogs) if catalogs else []
    named = {namespace_of(one.label, one.short_key) for one in given}
    found = [
        one for one in known_catalogs(paths) if namespace_of(one.label, one.short_key) not in named
    ]
    rows = overview(answers, [*found, *given], policy_off=policy, env=os.environ)
    if apps or given:
        named.update(resolve_apps(apps, {row.namespace for row in rows} - {EVERY}))
        rows = [row for row in rows if row.namespace in named]
    _say(f"answers in {paths.ledger}")
    rule = forbidden(policy_off=policy, env=os.environ, environment=PRODUCTION)
    if rule is not None:
        _say(f"overridden: {why(rule, os.environ)}")
    if not rows:
        _say("you have not decided about any app: everything is off")
        return
    for app, group in groupby(rows, key=lambda row: row.namespace):
        _say(f"\n{app_words(app)}")
        _table(OVERVIEW_HEAD, map(overview_cells, group), indent=2)
    again = [row for row in rows if row.changes]
    if again:
        _say(f"\nthese ask for more than you agreed to; decide with: {way_back(paths, 'ask')}")
        for row in again:
            for change in row.changes:
                _say(f"  {row.namespace} {row.type}: {change}")


def history(home: str | None, apps: Sequence[str]) -> None:
    """Prints every change of an answer, oldest first. Raises StoreError and WrongNameError."""
    entries = read_ledger(user_paths(home).ledger).history
    chosen = resolve_apps(apps, {str(entry.get("app")) for entry in entries} - {EVERY})
    entries = [entry for entry in entries if not chosen or entry.get("app") in chosen]
    if not entries:
        _say("no answer has been given yet")
        return
    _table(HISTORY_HEAD, map(history_cells, entries))


def ask(home: str | None, apps: Sequence[str], catalogs: Sequence[Path]) -> None:
    """Asks in this terminal about every open event type. Raises ConfigError without a terminal, and
    StoreError, CatalogError and WrongNameError."""
    from methrics.node.consent.prompt import prompt

    paths = user_paths(home)
    asking = Asking(chosen_catalogs(paths, apps, catalogs), paths, surface="terminal")
    rule = asking.forbidden()
    if rule is not None:
        _say(f"nothing to decide: {why(rule, os.environ)}")
        return
    open_now = asking.questions()
    if not open_now:
        _say(f"nothing to decide; see: {way_back(paths)}")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "no-terminal",
            "a person has to answer, and this is no terminal",
            "use the command `consent grant`",
        )
    width, height = shutil.get_terminal_size((WIDTH, HEIGHT))
    sheets = [asking.sheet(question) for question in open_now]
    prompt(asking, sheets, stdin=sys.stdin, stdout=sys.stdout, width=width, height=height)
    _say_moved(asking.moved)


def grant(
    home: str | None,
    apps: Sequence[str],
    catalogs: Sequence[Path],
    types: Sequence[str],
    fields: Sequence[str],
    routes: Sequence[str],
    *,
    yes: bool,
) -> int:
    """Allows event types, after a yes to what is shown unless `yes` is given. Returns the exit
    code: 1 if the person did not say yes. Raises as `ask` does."""
    paths = user_paths(home)
    loaded = chosen_catalogs(paths, apps, catalogs, whole=True)
    for catalog in loaded:
        app = namespace_of(catalog.label, catalog.short_key)
        check_names(types, catalog.types, kind="event type", owner=app)
        declared = {
            field.name for name in types or catalog.types for field in catalog.types[name].fields
        }
        check_names(fields, declared, kind="field", owner=", ".join(types) or app)
    asking = Asking(loaded, paths, surface=COMMAND)
    if not yes:
        asked = [
            one
            for one in asking.questions(everything=True)
            if not types or one.event_type.name in types
        ]
        sheets = [asking.sheet(one) for one in asked]
        columns = bounded(shutil.get_terminal_size((WIDTH, HEIGHT)).columns)
        _say(whole(asking.first_screen(asked), sheets, width=columns))
        sys.stdout.write("Allow this? [y/N]: ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            _say("nothing has changed")
            return 1
    edits = allow(asking, types, fields=fields, routes=routes or None)
    _say_moved(asking.moved)
    for catalog in loaded:
        app = namespace_of(catalog.label, catalog.short_key)
        own = [edit for edit in edits if edit.namespace == app]
        _say(f"{app}: on: {', '.join(edit.type for edit in own)}")
        for line in () if fields else left_out_lines(catalog, own):
            _say(line)
    return 0


def withdraw(home: str | None, apps: Sequence[str], types: Sequence[str]) -> None:
    """Stops `types` of the apps, or all of an app if there are no types, or every app if there are
    no apps. Raises StoreError and WrongNameError."""
    paths = user_paths(home)
    if not apps:
        done = Mine(paths, None, through=COMMAND).withdraw()
        _say_moved(done.moved)
        _say(f"every app: off; {counted(done.deleted, 'waiting event')} deleted")
        _say_left(len(done.left))
        return
    known = types_by_app(paths)
    chosen = resolve_apps(apps, known, whole=True)
    for app in chosen:
        check_names(types, known[app] - {EVERY}, kind="event type", owner=app)
    left = 0
    for app in chosen:
        done = Mine(paths, (app,), declared=known[app], through=COMMAND).withdraw(*types)
        _say_moved(done.moved)
        left += len(done.left)
        stopped = ", ".join(types) or "every event type"
        _say(f"{app}: off: {stopped}; {counted(done.deleted, 'waiting event')} deleted")
    _say_left(left)


def _say_left(left: int) -> None:
    """Prints how many reports have left already, and how to have them erased."""
    if left:
        _say(
            f"already left, and public: {counted(left, 'report')}; to erase them: "
            "pip install 'methrics[node]', then methrics erase"
        )


def _say_moved(moved: str | None) -> None:
    if moved is not None:
        sys.stderr.write(f"methrics: the ledger was damaged; it is kept as {moved}\n")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 0) -> None:
    """Prints a table in columns as wide as their widest text. Characters that could move the cursor
    or end the line become `?`."""
    shown = [[_plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _say(" " * indent + "  ".join(cells).rstrip())


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")

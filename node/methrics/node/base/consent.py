"""The consent commands of the base install. They do what `methrics consent` does, in plain text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from methrics.node.cli.catalog_file import chosen_catalogs
from methrics.node.cli.consent_common import (
    ask_here,
    changed_lines,
    check_grant,
    grant_text,
    name_of,
    overview_rows,
    revoked_lines,
)
from methrics.node.cli.counted import counted
from methrics.node.cli.naming import check_names, resolve_apps
from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.changing import COMMAND, allow, left_out_lines, types_by_app
from methrics.node.consent.decide import PRODUCTION, forbidden
from methrics.node.consent.known_hops import seen_words
from methrics.node.consent.ledger import policy_off, read_ledger
from methrics.node.consent.overview import (
    HISTORY_HEAD,
    OVERVIEW_HEAD,
    app_lines,
    history_cells,
    overview_cells,
    why,
)
from methrics.node.mine.mine import Mine
from methrics.node.mine.own import OwnReport, left_words
from methrics.node.paths import user_paths


def show(home: str | None, apps: Sequence[str], catalogs: Sequence[Path]) -> None:
    """Prints whether each event type of each app is on, and the rule that decided it. Raises
    StoreError, CatalogError and WrongNameError."""
    paths = user_paths(home)
    rows = overview_rows(paths, apps, catalogs)
    _say(f"answers in {paths.ledger}")
    rule = forbidden(policy_off=policy_off(paths.policy), env=os.environ, environment=PRODUCTION)
    if rule is not None:
        _say(f"overridden: {why(rule, os.environ)}")
    if not rows:
        _say("you have not decided about any app: everything is off")
        return
    for app, group in groupby(rows, key=lambda row: row.namespace):
        of_app = list(group)
        _say("\n" + "\n".join(app_lines(app, of_app, seen_words(paths, app))))
        _table(OVERVIEW_HEAD, map(overview_cells, of_app), indent=2)
    for line in [*revoked_lines(rows), *changed_lines(paths, rows)]:
        _say(line)


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
    _say_moved(ask_here(user_paths(home), apps, catalogs, instead="use the command `grant`"))


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
    check_grant(loaded, types, fields)
    asking = Asking(loaded, paths, surface=COMMAND)
    if not yes:
        _say(grant_text(asking, types))
        sys.stdout.write("Allow this? [y/N]: ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            _say("nothing has changed")
            return 1
    edits = allow(asking, types, fields=fields, routes=routes or None)
    _say_moved(asking.moved)
    for catalog in loaded:
        app = name_of(catalog)
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
        _say_left(done.left)
        return
    known = types_by_app(paths)
    chosen = resolve_apps(apps, known, whole=True)
    for app in chosen:
        check_names(types, known[app] - {EVERY}, kind="event type", owner=app)
    left: list[OwnReport] = []
    for app in chosen:
        done = Mine(paths, (app,), declared=known[app], through=COMMAND).withdraw(*types)
        _say_moved(done.moved)
        left += done.left
        stopped = ", ".join(types) or "every event type"
        _say(f"{app}: off: {stopped}; {counted(done.deleted, 'waiting event')} deleted")
    _say_left(left)


def _say_left(left: list[OwnReport]) -> None:
    """Prints how many reports may have left, and how to have them erased."""
    if left:
        _say(
            f"{left_words(left)}; to erase them: pip install 'methrics[node]', then methrics erase"
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

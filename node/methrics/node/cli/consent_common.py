"""The parts of the consent commands that need no extra, so that the base install has them too."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from methrics.node.cli.catalog_file import chosen_catalogs, load_catalog
from methrics.node.cli.naming import check_names, resolve_apps
from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.apps import known_catalogs
from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger import policy_off, read_answers
from methrics.node.consent.ledger_format import stamp
from methrics.node.consent.overview import OverviewRow, overview, why
from methrics.node.consent.screen import HEIGHT, WIDTH, bounded, whole
from methrics.node.consent.way_back import way_back
from methrics.node.outbox.records import kept_of
from methrics.node.paths import Paths, namespace_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError


def overview_rows(paths: Paths, apps: Sequence[str], files: Iterable[Path]) -> list[OverviewRow]:
    """Returns the rows of the overview. `apps` (as typed) and the signed catalogs in `files` choose
    the apps; without either, all are listed. Raises StoreError, CatalogError, WrongNameError."""
    answers = read_answers(paths.ledger)
    given = [load_catalog(file) for file in files]
    named = {name_of(one) for one in given}
    found = [one for one in known_catalogs(paths) if name_of(one) not in named]
    policy = policy_off(paths.policy)
    rows = overview(answers, [*found, *given], policy_off=policy, env=os.environ)
    rows = _with_revoked(paths, rows)
    if not (apps or given):
        return rows
    named.update(resolve_apps(apps, {row.namespace for row in rows} - {EVERY}))
    return [row for row in rows if row.namespace in named]


def _with_revoked(paths: Paths, rows: list[OverviewRow]) -> list[OverviewRow]:
    """Adds what the apps' owners have revoked, as far as this machine knows it."""
    kept, now = kept_of(paths, (row.namespace for row in rows)), Clock().now()
    found = []
    for row in rows:
        revoked = kept[row.namespace].revoked(row.type, now)
        words = f"from {stamp(revoked.time)[:10]}: {revoked.reason}" if revoked else ""
        found.append(row._replace(revoked=words))
    return found


def revoked_lines(rows: Iterable[OverviewRow]) -> list[str]:
    """Returns the lines about event types that the apps' owners have revoked."""
    lines = [f"  {row.namespace} {row.type}, {row.revoked}" for row in rows if row.revoked]
    return lines and ["\nrevoked by the app's owner; nothing of these is sent:", *lines]


def changed_lines(paths: Paths, rows: Iterable[OverviewRow]) -> list[str]:
    """Returns the lines about event types that ask for more than the person agreed to."""
    lines = [f"  {row.namespace} {row.type}: {one}" for row in rows for one in row.changes]
    ask = way_back(paths, "ask")
    return lines and [f"\nthese ask for more than you agreed to; decide with: {ask}", *lines]


def ask_here(
    paths: Paths, apps: Sequence[str], files: Iterable[Path], *, instead: str
) -> str | None:
    """Asks in this terminal about every open event type. Returns the name of a damaged ledger, as
    `Asking.moved`.

    Raises ConfigError if this is no terminal, with the hint `instead`; StoreError, CatalogError and
    WrongNameError.
    """
    from methrics.node.consent.prompt import prompt

    asking = Asking(chosen_catalogs(paths, apps, files), paths, surface="terminal")
    rule = asking.forbidden()
    if rule is not None:
        sys.stdout.write(f"nothing to decide: {why(rule, os.environ)}\n")
        return None
    if not asking.catalogs:
        sys.stdout.write("no app was found to decide about; give its catalog: --catalog app.cbor\n")
        return None
    open_now = asking.questions()
    if not open_now:
        sys.stdout.write(f"nothing to decide; see: {way_back(paths)}\n")
        return None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("no-terminal", "a person has to answer, and this is no terminal", instead)
    width, height = shutil.get_terminal_size((WIDTH, HEIGHT))
    sheets = [asking.sheet(question) for question in open_now]
    prompt(asking, sheets, stdin=sys.stdin, stdout=sys.stdout, width=width, height=height)
    return asking.moved


def check_grant(catalogs: Iterable[Catalog], types: Sequence[str], fields: Sequence[str]) -> None:
    """Raises WrongNameError unless each of `catalogs` declares `types`, and one of the types each
    of `fields`."""
    for catalog in catalogs:
        check_names(types, catalog.types, kind="event type", owner=name_of(catalog))
        chosen = types or tuple(catalog.types)
        declared = {field.name for name in chosen for field in catalog.types[name].fields}
        owner = ", ".join(types) or name_of(catalog)
        check_names(fields, declared, kind="field", owner=owner)


def grant_text(asking: Asking, types: Sequence[str]) -> str:
    """Returns everything that a person reads before allowing `types`, or all types if there are
    none."""
    asked = [
        question
        for question in asking.questions(everything=True)
        if not types or question.event_type.name in types
    ]
    columns = bounded(shutil.get_terminal_size((WIDTH, HEIGHT)).columns)
    sheets = [asking.sheet(question) for question in asked]
    return whole(asking.first_screen(asked), sheets, width=columns)


def name_of(catalog: Catalog) -> str:
    """Returns the app's name, `<label>-<short key>`."""
    return namespace_of(catalog.label, catalog.short_key)

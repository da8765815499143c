"""Prints the overview of consent, and the history of answers, as tables."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import click

from methrics.node.cli.consent_common import changed_lines, overview_rows, revoked_lines
from methrics.node.cli.tables import print_table
from methrics.node.consent.decide import PRODUCTION, forbidden, variable_of
from methrics.node.consent.known_hops import seen_words
from methrics.node.consent.ledger import policy_off
from methrics.node.consent.overview import (
    HISTORY_HEAD,
    OVERVIEW_HEAD,
    OverviewRow,
    app_lines,
    history_cells,
    overview_cells,
    why,
)
from methrics.node.paths import Paths


def show_overview(
    paths: Paths, as_json: bool, apps: Sequence[str] = (), files: Sequence[Path] = ()
) -> None:
    """Prints whether each event type of each app is on, as tables or one JSON object. `apps` (as
    typed) and the signed catalogs in `files` choose the apps; without either, all are printed.

    Raises StoreError, CatalogError, WrongNameError.
    """
    rows = overview_rows(paths, apps, files)
    policy = policy_off(paths.policy)
    overridden = forbidden(policy_off=policy, env=os.environ, environment=PRODUCTION)
    if as_json:
        by_app: dict[str, dict[str, object]] = {}
        for row in rows:
            by_app.setdefault(row.namespace, {})[row.type] = _json(row)
        document = {
            "ledger": paths.ledger,
            "overridden_by": overridden,
            "variable": variable_of(overridden, os.environ) if overridden else "",
            "results": {row.namespace: row.results for row in rows if row.results},
            "apps": by_app,
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"answers in {paths.ledger}")
    if overridden is not None:
        click.echo(f"overridden: {why(overridden, os.environ)}")
    if not rows:
        click.echo("you have not decided about any app: everything is off")
        return
    for namespace, group in groupby(rows, key=lambda row: row.namespace):
        of_app = list(group)
        seen = seen_words(paths, namespace)
        click.echo("\n" + "\n".join(app_lines(namespace, of_app, seen)))
        print_table(OVERVIEW_HEAD, map(overview_cells, of_app), indent=2)
    for line in [*revoked_lines(rows), *changed_lines(paths, rows)]:
        click.echo(line)


def show_history(entries: Sequence[Mapping[str, object]]) -> None:
    """Prints changes of answers as a table, oldest first."""
    if not entries:
        click.echo("no answer has been given yet")
        return

    print_table(HISTORY_HEAD, map(history_cells, entries))


def _json(row: OverviewRow) -> dict[str, object]:
    effective, answer = row.effective, row.answer
    return {
        "on": effective.on,
        "rule": effective.rule,
        "fields": None if effective.fields is None else sorted(effective.fields),
        "routes": sorted(effective.routes),
        "answer": None if answer is None else answer.said,
        "since": None if answer is None else answer.time,
        "through": None if answer is None else answer.through,
        "changes": list(row.changes),
        "revoked": row.revoked or None,
    }

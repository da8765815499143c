"""Allows event types that a person names in a command, instead of answering a question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from methrics.node.consent.answer import EVERY
from methrics.node.consent.apps import known_catalogs
from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger import read_answers
from methrics.node.consent.ledger_format import Edit
from methrics.node.paths import Paths, namespace_of
from methrics.schema.catalog.catalog import Catalog

COMMAND = "command"
"""The word in the ledger's history for answers that a command wrote."""


def allow(
    asking: Asking,
    types: Collection[str] = (),
    *,
    fields: Collection[str] = (),
    routes: Collection[str] | None = None,
) -> list[Edit]:
    """Writes a yes to `types` of the apps of `asking` (all types if there are none), and returns
    the answers. `fields`: those to share, of each type that has them. Without `fields`, a type's
    fields are those that `meaning.means` offers. Raises ConfigError and StoreError as
    `Asking.answer` does."""
    edits = []
    for catalog in asking.catalogs:
        for name in dict.fromkeys(types or catalog.types):
            declared = [field.name for field in catalog.types[name].fields]
            chosen = [field for field in declared if field in fields] if fields else None
            app = namespace_of(catalog.label, catalog.short_key)
            edits.append(asking.edit(name, "yes", fields=chosen, routes=routes, namespace=app))
    asking.write(edits)
    return edits


def types_by_app(paths: Paths) -> Mapping[str, set[str]]:
    """Returns the event types, by app, that the person answered or that a catalog on this machine
    declares. Raises StoreError."""
    known = {
        app: set(answers) for app, answers in read_answers(paths.ledger).items() if app != EVERY
    }
    for catalog in known_catalogs(paths):
        known.setdefault(_name(catalog), set()).update(catalog.types)
    return known


def left_out_lines(catalog: Catalog, edits: Iterable[Edit]) -> list[str]:
    """Returns a line for each yes that leaves out fields which the person left out earlier."""
    lines = []
    for edit in edits:
        names = [field.name for field in catalog.types[edit.type].fields]
        left = ", ".join(name for name in names if name not in (edit.fields or ()))
        if left:
            lines.append(f"{edit.type}: without {left}, as you chose before; --field adds a field")
    return lines


def _name(catalog: Catalog) -> str:
    return namespace_of(catalog.label, catalog.short_key)

"""Writes the data dictionary: tables that describe event types, columns and bucket numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.rows import column_text
from methrics.aggregate.store.tables import CatalogEntry, column_name
from methrics.schema.catalog.event_type import EventType, SequenceDeclaration
from methrics.schema.catalog.fields import Field


def describe(
    con: Connection, declared: Sequence[tuple[CatalogEntry, EventType]], last: int
) -> None:
    """Write the rows of the tables `declaration`, `type`, `field` and `code` for event types, each
    with the catalog that declares it, in one transaction.

    `last` is the number of declarations before.
    """
    known = {n for (n,) in con.execute("SELECT n FROM type").fetchall()}
    declarations, types = [], []
    fields: list[tuple[object, ...]] = []
    codes: list[tuple[object, ...]] = []
    for n, (entry, event_type) in enumerate(declared, last + 1):
        own = entry.types[event_type.name]
        table = own.table
        declarations.append((n, entry.n, table.n, list(own.steps), own.retention, own.lateness))
        if table.n not in known:
            known.add(table.n)
            row = (table.n, table.schema, table.type, table.table, table.kind, table.question)
            types.append(row)
        found = described(entry, event_type)
        fields += found.fields
        codes += found.codes
    for target, rows in (
        ("declaration", declarations),
        ("type", types),
        ("field", fields),
        ("code", codes),
    ):
        insert(con, target, rows)


class Described(NamedTuple):
    """The rows of the tables `field` and `code` for one event type of one catalog."""

    fields: list[tuple[object, ...]]
    codes: list[tuple[object, ...]]


def described(entry: CatalogEntry, event_type: EventType) -> Described:
    """Return what a catalog says of the fields and codes of an event type that it declares."""
    table, found = entry.types[event_type.name].table, Described([], [])
    for field in event_type.fields:
        column = column_name(field.name)
        about = (field.name, column, field.type, field.source, field.says)
        found.fields.append((entry.n, table.n, *about, field.randomize, field.domain))
        found.codes.extend((entry.n, table.n, field.name, *code) for code in _codes(field))
    if event_type.sequence is not None:
        found.codes.extend((entry.n, table.n, *code) for code in _sequence(event_type.sequence))
    return found


def insert(con: Connection, target: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert `rows` into a table, as whole columns: row by row, a list of countries takes a tenth
    of a second."""
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        paths = ", ".join(["unnest(?)"] * len(columns))
        con.execute(f"INSERT INTO {target} SELECT {paths}", columns)


def _codes(field: Field) -> Iterator[tuple[object, ...]]:
    """Yield (value, label, low, high, text) for each wire value, if the field lists its values."""
    edges: list[float | None] = [None] * (field.domain + 1 if field.type == "bucket" else 0)
    declared = field.params.get("edges")
    if edges and isinstance(declared, list):
        edges[1:-1] = map(float, declared)
    for value, wire in enumerate(field.listed()):
        low, high = edges[value : value + 2] if edges else (None, None)
        yield value, field.label(wire), low, high, column_text(wire)


def _sequence(sequence: SequenceDeclaration) -> Iterator[tuple[object, ...]]:
    """Yield (field, value, label, low, high, text) for each step and for each offset bucket.

    The edges `low` and `high` of offset buckets are in seconds.
    """
    for value, step in enumerate(sequence.steps):
        yield "step", value, step, None, None, step
    edges = [0.0, *map(float, sequence.offset_edges), None]
    for value, (low, high) in enumerate(pairwise(edges)):
        label = f"{low:g} s or more" if high is None else f"{low:g} to under {high:g} s"
        yield "offset", value, label, low, high, str(value)

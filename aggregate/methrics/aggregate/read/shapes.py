"""Reads the facts about the event types of a data set that its views need."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import UnionType

from methrics.aggregate.read.views import FieldShape, TypeShape
from methrics.aggregate.store.duck import Connection, name


def read_shapes(con: Connection, present: Collection[str]) -> list[TypeShape]:
    """Return the event types in the tables `type` and `field` that have a table.

    `present` are the names of all tables. A type of whose table nothing is there yet is left out.
    """
    fields: dict[int, dict[str, FieldShape]] = {}
    for row in con.execute(
        # If any catalog randomizes a field, its answers are never shown as true answers.
        'SELECT type, name, "column", kind, source, '
        "max(epsilon) OVER (PARTITION BY type, name), domain FROM field ORDER BY catalog"
    ).fetchall():
        if _fits(row, _FIELD):
            number, field, column, *about = row
            # The newest catalog with the field decides, also if later ones dropped the field.
            fields.setdefault(number, {})[field] = FieldShape(field, name(column), *about)
    types = con.execute('SELECT n, schema, "table", kind FROM type ORDER BY n').fetchall()
    return [
        TypeShape(
            number,
            schema,
            table,
            kind,
            name(schema, table),
            name(schema, steps) if f"{schema}.{steps}" in present else None,
            tuple(fields.get(number, {}).values()),
        )
        for number, schema, table, kind in types
        for steps in [f"{table}_step"]
        if _fits((number, schema, table, kind), _TYPE) and f"{schema}.{table}" in present
    ]


_TYPE = (int, str, str, str)
_FIELD = (int, str, str, str, str | None, int | None, int)


def _fits(row: Sequence[object], kinds: Sequence[type | UnionType]) -> bool:
    """Whether a row has values of these kinds. In somebody's Parquet a column may have any type,
    and views are SQL that is made of these values: others get no view."""
    return all(isinstance(one, kind) for one, kind in zip(row, kinds, strict=True))

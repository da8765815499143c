"""The columns that are derived from reports."""

from __future__ import annotations

from methrics.aggregate.store.rows import derive
from methrics.aggregate.store.tables import CatalogEntry, Declared, TypeTable
from methrics.schema.wire.items import Report

COLUMNS = {"a": "VARCHAR", "b": "BOOLEAN", "c": "USMALLINT", "n": "VARCHAR"}


def entry(n: int, table: TypeTable) -> CatalogEntry:
    types = {"t": Declared(table, 30, 600)}
    return CatalogEntry(n, bytes([n]) * 32, bytes(32), "app", n, "app", types)


def test_each_field_gets_a_column_and_a_field_of_two_kinds_is_text() -> None:
    table = TypeTable(1, "app", "t", "event", "How many?", COLUMNS)
    one, two = entry(1, table), entry(2, table)
    values = [{"a": "x", "b": True, "c": 7}, {}, {"a": False, "c": 0, "n": 12}, {"n": "y"}]
    found = derive(
        (n, own, Report(own.id, "t", 86_400 * n + n, given, one_in=n))
        for n, (own, given) in enumerate(zip((one, one, two, one), values, strict=True), 1)
    )
    (derived,) = found
    assert derived.rows is not None
    assert derived.steps is None
    rows = derived.rows.to_pydict()
    assert [one.day for one in rows.pop("day")] == [2, 3, 4, 5]
    assert [one.second for one in rows.pop("time")] == [1, 2, 3, 4]
    assert rows == {
        "n": [1, 2, 3, 4],
        "catalog": [1, 1, 2, 1],
        "one_in": [1, 2, 3, 4],
        "a": ["x", None, "false", None],
        "b": [True, None, None, None],
        "c": [7, None, 0, None],
        "n_": [None, None, "12", "y"],
    }

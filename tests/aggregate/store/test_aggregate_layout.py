"""How catalogs become tables."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import aggregate_making as making
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import type_maps

from methrics.aggregate.store import tables
from methrics.aggregate.store.duck import name
from methrics.aggregate.store.tables import Layout, column_name, table_name
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal

NAMES = st.from_regex(
    r"(n|day|time|count|one_in|catalog|step|a|a_step)_{0,3}(_step)?", fullmatch=True
)


@given(NAMES, NAMES)
def test_no_two_fields_share_a_column_and_none_takes_one_of_ours(one: str, other: str) -> None:
    assert (column_name(one) == column_name(other)) == (one == other)
    assert column_name(one) not in {"n", "catalog", "day", "time", "one_in", "count"}


@given(NAMES, NAMES)
def test_no_type_takes_the_table_of_another_ones_steps(one: str, other: str) -> None:
    assert (table_name(one) == table_name(other)) == (one == other)
    assert table_name(one) != table_name(other) + "_step"


def declare(layout: Layout, catalog: Catalog) -> list[str]:
    """The statements that a first report of each event type of a new catalog causes."""
    entry = layout.add(catalog)
    assert entry is not None
    found: list[str] = []
    for event_type in catalog.types.values():
        statements = layout.declare(entry, event_type)
        assert statements is not None
        found += statements
    return found


def test_a_known_catalog_needs_no_room() -> None:
    layout = Layout()
    assert layout.add(making.catalog()) is not None
    assert layout.add(making.catalog()) is None


def test_a_catalog_has_no_table_before_a_report_of_its_type_comes() -> None:
    layout, catalog = Layout(), making.catalog()
    entry = layout.add(catalog)
    assert entry is not None
    assert layout.tables() == []
    assert layout.declare(entry, catalog.types["walk"])
    assert [table.type for table in layout.tables()] == ["walk"]
    assert entry.types["walk"].steps == ("start", "middle", "end")
    assert layout.declare(entry, catalog.types["walk"]) == []


@pytest.mark.parametrize("limit", ["TABLES_MAX", "COLUMNS_MAX", "CODES_MAX"])
def test_attack_more_tables_columns_and_codes_than_a_namespace_may_have(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = versions()
    layout = Layout()
    declare(layout, first)
    size = layout._size(first.key)
    used = {"TABLES_MAX": size.tables, "COLUMNS_MAX": size.columns, "CODES_MAX": size.codes}
    monkeypatch.setattr(tables, limit, used[limit])
    second = layout.add(others[0] if limit != "TABLES_MAX" else making.catalog(label="other"))
    assert second is not None
    before = repr(layout.tables()), repr(size)
    declared = others[0].types["beat"]
    assert layout.declare(second, declared) is None
    assert (repr(layout.tables()), repr(size)) == before
    assert second.types == {}


def test_attack_more_catalogs_than_a_namespace_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CATALOGS_MAX", 2)
    layout = Layout()
    added = [layout.add(one) is not None for one in versions()]
    assert added == [True, True, False]
    assert layout.add(making.catalog(key=making.seed("other"))) is not None


@pytest.mark.shows("METH-9")
def test_two_namespaces_with_one_label_get_two_schemas() -> None:
    layout = Layout()
    other = making.catalog(key=making.seed("other"))
    for catalog in (making.catalog(), other):
        layout.add(catalog)
    assert layout.schemas() == ["test", f"test_{other.short_key}"]


def test_attack_a_label_that_is_a_schema_of_duckdb() -> None:
    layout = Layout()
    catalog = making.catalog(label="main")
    layout.add(catalog)
    assert layout.schemas() == [f"main_{catalog.short_key}"]


def test_attack_a_label_made_of_someone_elses_label_and_key() -> None:
    layout = Layout()
    other = making.catalog(key=making.seed("other"))
    squatter = making.catalog(label=f"test-{other.short_key}", key=making.seed("squatter"))
    for catalog in (making.catalog(), squatter, other):
        layout.add(catalog)
    assert len(set(layout.schemas())) == 3


def versions() -> list[Catalog]:
    """Catalogs of one namespace: one more field, and one whose flag has become a bucket."""
    first = making.catalog()
    second = making.catalog(extra=making.MORE_FIELDS, previous=first)
    flag = 'type = "flag"\nsource = "first_of_day"'
    bucket = 'type = "bucket"\nedges = [1, 2]\nunit = "days"'
    third = making.catalog(extra=making.MORE_FIELDS, previous=second, replace=(flag, bucket))
    return [first, second, third]


def test_new_fields_add_columns_and_changed_ones_become_text_in_any_order() -> None:
    for order in permutations(versions()):
        layout = Layout()
        for catalog in order:
            declare(layout, catalog)
        table = next(table for table in layout.tables() if table.type == "beat")
        assert table.columns == {
            "version": "VARCHAR",
            "os": "VARCHAR",
            "daily": "VARCHAR",
            "age": "USMALLINT",
            "country": "VARCHAR",
        }


def test_the_newest_catalog_is_that_of_the_highest_number() -> None:
    first, second, third = versions()
    layout = Layout()
    for catalog in (third, first, second):
        layout.add(catalog)
    newest = layout.newest(first.key)
    assert newest is not None
    assert newest.id == third.id
    assert layout.newest(b"\0" * 32) is None


@pytest.mark.shows("METH-13")
@given(type_maps())
def test_meth_13_every_field_is_a_public_column_and_none_can_be_private(
    wire: dict[str, Any],
) -> None:
    content = {"label": "any", "number": 1, "contact": "c", "types": {"sample": wire}}
    layout = Layout()
    statements = declare(layout, load(seal(Kind.CATALOG, encode(content), making.seed("any"))))
    (table,) = layout.tables()
    assert table.columns.keys() == {field["name"] for field in wire["fields"]}
    for field_name, sql in table.columns.items():
        column = name(column_name(field_name))
        assert f", {column} {sql}" in statements[1]
    for secret in (wire, *wire["fields"]):
        secret["private"] = True
        with pytest.raises(CatalogError, match="unknown key 'private'"):
            load(seal(Kind.CATALOG, encode(content), making.seed("any")))
        del secret["private"]

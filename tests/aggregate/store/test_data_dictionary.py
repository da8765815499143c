"""The data dictionary in a file: the tables `field` and `code`."""

from __future__ import annotations

from typing import Any

import pytest

from methrics.aggregate.store.dictionary_tables import describe
from methrics.aggregate.store.duck import Connection, memory
from methrics.aggregate.store.tables import BASE, Layout
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_catalog

SOURCE = """
[catalog]
label = "kinds"
contact = "https://example.org"

[types.all]
kind = "state"
question = "What is there?"
why = "To see that every kind of field is listed."
owner = "Example maintainers"
review = "https://example.org/review"
expires = 2028-07-01
retention_days = 365
entropy_bits = 28
chart = "table"
release = {delay = 300, every = [86400, 172800], jitter = 600}

[types.all.fields]
tool = {type = "enum", values = ["zoom", "braille"], says = "Which.", randomize = {epsilon = 1.25}}
busy = {type = "flag", says = "Whether."}
size = {type = "bucket", edges = [-1, 0.5, 10], unit = "MB", says = "How large."}
place = {type = "country", values = ["FR", "DE"], says = "Where."}
tongue = {type = "language", says = "Which one."}
release = {type = "version", max = [3, 9], says = "Which version."}
many = {type = "count", max = 7, says = "How many."}
"""


def described(*sources: Any) -> Connection:
    con, layout = memory(), Layout()
    for table, columns in BASE.items():
        con.execute(f"CREATE TABLE {table} ({columns})")
    for catalog in sources:
        entry = layout.add(catalog)
        assert entry is not None
        for event_type in catalog.types.values():
            layout.declare(entry, event_type)
        (last,) = con.execute("SELECT count(*) FROM declaration").fetchall()[0]
        describe(con, [(entry, one) for one in catalog.types.values()], last)
    return con


def kinds() -> Any:
    return load(sign(parse_source(SOURCE), b"\7" * 32))


def test_a_field_says_how_many_values_it_has_and_whether_it_is_randomized() -> None:
    con = described(kinds())
    found = con.execute("SELECT name, epsilon, domain FROM field ORDER BY rowid").fetchall()
    assert found == [
        ("tool", 1250, 3),
        ("busy", None, 2),
        ("size", None, 4),
        ("place", None, 3),
        ("tongue", None, 184),
        ("release", None, 41),
        ("many", None, 8),
    ]


@pytest.mark.shows("KPI-13")
def test_codes_list_every_value_with_its_text_label_and_edges() -> None:
    con = described(kinds())
    found = con.execute(
        "SELECT field, value, label, low, high, text FROM code WHERE field != 'tongue' "
        "ORDER BY rowid"
    ).fetchall()
    assert found == [
        ("tool", 0, "zoom", None, None, "zoom"),
        ("tool", 1, "braille", None, None, "braille"),
        ("tool", 2, "other", None, None, "other"),
        ("busy", 0, "no", None, None, "false"),
        ("busy", 1, "yes", None, None, "true"),
        ("size", 0, "under -1 MB", None, -1.0, "0"),
        ("size", 1, "-1 to under 0.5 MB", -1.0, 0.5, "1"),
        ("size", 2, "0.5 to under 10 MB", 0.5, 10.0, "2"),
        ("size", 3, "10 MB or more", 10.0, None, "3"),
        ("place", 0, "FR", None, None, "FR"),
        ("place", 1, "DE", None, None, "DE"),
        ("place", 2, "ZZ", None, None, "ZZ"),
    ]
    assert con.execute("SELECT count(*) FROM code WHERE field = 'tongue'").fetchone() == (184,)


def test_the_text_of_a_code_is_what_its_column_casts_to() -> None:
    con = described(kinds())
    for field, sql in (("busy", "BOOLEAN"), ("size", "USMALLINT"), ("tool", "VARCHAR")):
        found = con.execute(
            f"SELECT count(*) FROM code WHERE field = '{field}' "
            f"AND text::{sql}::VARCHAR IS DISTINCT FROM text"
        ).fetchone()
        assert found == (0,)


def test_a_second_catalog_of_the_same_types_adds_fields_and_codes_but_no_type() -> None:
    first = kinds()
    changed = SOURCE.replace("epsilon = 1.25", "epsilon = 1").replace("2028-07-01", "2028-08-01")
    second = load(sign(parse_source(changed), b"\7" * 32))
    con = described(first, second)
    assert con.execute("SELECT count(*) FROM type").fetchone() == (1,)
    found = con.execute("SELECT catalog, epsilon FROM field WHERE name = 'tool' ORDER BY 1")
    assert found.fetchall() == [(1, 1250), (2, 1000)]


def test_the_example_catalog_is_described_whole() -> None:
    catalog = example_catalog()
    con = described(catalog)
    expected = sum(len(one.listed()) for kind in catalog.types.values() for one in kind.fields)
    own = "field NOT IN ('step', 'offset')"
    assert con.execute(f"SELECT count(*) FROM code WHERE {own}").fetchone() == (expected,)


def test_steps_and_offsets_of_a_sequence_are_listed_in_order_with_seconds() -> None:
    con = described(example_catalog())
    found = con.execute(
        "SELECT code.* EXCLUDE (catalog, type) FROM code JOIN type ON type.n = code.type "
        "WHERE type.name = 'signin' AND field IN ('step', 'offset') ORDER BY code.rowid"
    ).fetchall()
    assert found[:2] == [
        ("step", 0, "shown", None, None, "shown"),
        ("step", 1, "email_given", None, None, "email_given"),
    ]
    assert found[6] == ("offset", 0, "0 to under 5 s", 0.0, 5.0, "0")
    assert found[-1] == ("offset", 4, "300 s or more", 300.0, None, "4")

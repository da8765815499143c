"""The shipped catalog is what its source compiles to, and its heartbeat stays tiny."""

from __future__ import annotations

from tests.schema.catalog.test_catalog import largest

from methrics.schema.catalog.catalog import load
from methrics.schema.catalog.lint import lint_text
from methrics.schema.example import (
    compile_example,
    example_bytes,
    example_catalog,
    example_seed,
    example_source,
)
from methrics.schema.wire.envelope import Kind, public_key, seal
from methrics.schema.wire.items import encode_report
from methrics.schema.wire.limits import HEARTBEAT_MAX
from methrics.schema.wire.verdict import Reason


def test_the_shipped_bytes_are_what_the_source_compiles_to() -> None:
    # If this fails: python -m methrics.schema.example
    assert example_bytes() == compile_example()


def test_the_shipped_catalog_is_signed_by_the_published_seed() -> None:
    catalog = load(example_bytes(), verify=True)
    assert catalog == example_catalog()
    assert catalog.key == public_key(example_seed())
    assert (catalog.label, catalog.number, catalog.previous) == ("example", 1, None)


def test_the_source_lints_without_a_warning() -> None:
    assert lint_text(example_source(), 1_800_000_000)[1] == []


def test_it_shows_what_there_is_to_declare() -> None:
    types = example_catalog().types
    assert {name: entry.kind for name, entry in types.items()} == {
        "heartbeat": "state",
        "system": "state",
        "module": "count",
        "signin": "sequence",
        "retention": "state",
        "assistive": "state",
    }
    sources = [field.source for field in types["heartbeat"].fields if field.source]
    assert sources == ["first_of_day", "first_of_week", "first_of_month", "install_age"]
    assert types["retention"].milestones == (0, 1, 7, 30)
    assert [field.randomize for field in types["assistive"].fields] == [1000, None]
    assert {name for name, entry in types.items() if entry.daily} == {"heartbeat", "retention"}


def test_a_heartbeat_is_at_most_256_bytes_with_signature_and_key() -> None:
    heartbeat = example_catalog().types["heartbeat"]
    assert heartbeat.max_report_bytes <= HEARTBEAT_MAX == 256
    report = largest(heartbeat)
    assert set(report.values) == {field.name for field in heartbeat.fields}
    reason = heartbeat.check_report(report.values, None, 1, None, report.time)
    assert reason is Reason.OK
    raw = seal(Kind.REPORT, encode_report(report), bytes(32))
    assert len(raw) == heartbeat.max_report_bytes


def test_no_example_field_can_hold_free_text_or_an_unbounded_number() -> None:
    for entry in example_catalog().types.values():
        for field in entry.fields:
            assert not field.check("alice@example.org")
            assert not field.check(2**31)

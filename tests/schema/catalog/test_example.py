"""The shipped catalog is the compiled source, and its heartbeat stays tiny."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.listing import listed_book
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
from methrics.schema.judging.judge import judge
from methrics.schema.wire.envelope import Kind, public_key, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import HEARTBEAT_MAX
from methrics.schema.wire.verdict import Decision, Reason

ABOUT = example_catalog()
BOOK = listed_book(ABOUT, seed=example_seed())
NOW = 1_800_000_000
TODAY = NOW - NOW % 86_400


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


@pytest.mark.shows("METH-20")
def test_it_shows_what_there_is_to_declare() -> None:
    types = example_catalog().types
    assert {name: entry.kind for name, entry in types.items()} == {
        "heartbeat": "state",
        "system": "state",
        "runtime": "state",
        "module": "count",
        "signin": "sequence",
        "client": "state",
        "retention": "state",
        "assistive": "state",
    }
    sources = [field.source for field in types["heartbeat"].fields if field.source]
    assert sources == ["first_of_day", "first_of_week", "first_of_month", "install_age"]
    assert types["retention"].milestones == (0, 1, 7, 30)
    assert [field.randomize for field in types["assistive"].fields] == [1000, None]
    assert {name for name, entry in types.items() if entry.daily} == {"heartbeat", "retention"}


@pytest.mark.shows("MARS-11")
def test_a_heartbeat_is_at_most_256_bytes_with_signature_and_key() -> None:
    heartbeat = example_catalog().types["heartbeat"]
    assert heartbeat.max_report_bytes <= HEARTBEAT_MAX == 256
    report = largest(heartbeat)
    assert set(report.values) == {field.name for field in heartbeat.fields}
    reason = heartbeat.check_report(report.values, None, 1, None, report.time)
    assert reason is Reason.OK
    raw = seal(Kind.REPORT, encode_report(report), bytes(32))
    assert len(raw) == heartbeat.max_report_bytes


@pytest.mark.shows("MARS-2", "METH-14")
def test_no_example_field_can_hold_free_text_or_an_unbounded_number() -> None:
    for entry in example_catalog().types.values():
        for field in entry.fields:
            assert not field.check("alice@example.org")
            assert not field.check(2**31)


@pytest.mark.shows("MARS-1")
@given(st.text(max_size=40), st.booleans() | st.integers(0, 5) | st.sampled_from(["linux", "1.4"]))
def test_mars_1_a_heartbeat_has_closed_sets_of_values_and_no_other_field(
    name: str, value: object
) -> None:
    heartbeat = ABOUT.types["heartbeat"]
    assert {field.name: field.domain for field in heartbeat.fields} == {
        "version": 501,
        "os": 7,
        "daily": 2,
        "weekly": 2,
        "monthly": 2,
        "age": 4,
        "country": 250,
    }
    values = {"os": "linux", name: value}
    verdict = judge(
        seal(Kind.REPORT, encode_report(Report(ABOUT.id, "heartbeat", TODAY, values)), bytes(32)),
        BOOK,
        NOW,
    )
    field = heartbeat.field(name)
    known = field is not None and field.check(value)
    assert verdict.decision is (Decision.ACCEPT if known else Decision.REJECT), verdict.reason


@pytest.mark.shows("MIM-6")
def test_mim_6_the_type_of_a_server_is_ready_made_and_rough() -> None:
    system = {field.name: field for field in ABOUT.types["system"].fields}
    assert {"version", "uptime", "cluster", "backend", "transport"} <= system.keys()
    assert [system[name].type for name in ("cores", "uptime", "cluster")] == ["bucket"] * 3
    module = {field.name: field.type for field in ABOUT.types["module"].fields}
    assert module == {"module": "enum", "backend": "enum"}


@pytest.mark.shows("MIM-7")
def test_mim_7_a_server_reports_after_five_minutes_and_then_every_three_hours() -> None:
    release = ABOUT.types["system"].release
    assert release.every is not None
    assert (release.delay, release.every[0]) == (300, 3 * 3600)


@pytest.mark.shows("KPI-1", "KPI-5")
def test_kpi_1_and_5_the_sign_in_type_is_ready_made_and_coarse() -> None:
    signin, client = ABOUT.types["signin"], ABOUT.types["client"]
    assert {field.name: field.type for field in signin.fields} == {
        "variant": "enum",
        "email_type": "enum",
        "new_account": "flag",
    }
    assert {field.name: field.type for field in client.fields} == {
        "version": "version",
        "language": "language",
        "screen": "bucket",
        "browser": "enum",
    }
    # A report of the client contains no time of day, by which it could be joined with a sign-in.
    assert (client.kind, client.resolution) == ("state", 86_400)

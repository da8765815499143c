"""What a relay says about the records that it has."""

from __future__ import annotations

import pytest
from relay_making import CATALOG, NAMESPACE, TOPIC

from methrics.node.relay.record_state import WAIT, record_states
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.record import decode_record, sign_record

NOW = 1_800_000_000
DAY = 86_400


def book(*times: int, expires: int = NOW + 90 * DAY) -> CatalogBook:
    made = CatalogBook([TOPIC])
    for time in times:
        item = sign_record([CATALOG.id], NAMESPACE, time=time, expires=expires)
        made.records.add(item, decode_record(item.payload))
    return made


def test_without_a_record_the_line_says_what_follows() -> None:
    (state,) = record_states(book(), [TOPIC])
    assert state.line(NOW) == f"{TOPIC}: no record yet; its reports are refused until one arrives"
    assert "; its reports wait until" in state.line(NOW, WAIT)
    assert state.warning(NOW) == ""


def test_a_record_is_named_by_its_time() -> None:
    (state,) = record_states(book(NOW), [TOPIC])
    assert state.line(NOW) == f"{TOPIC}: record of 2027-01-15 08:00 UTC, catalogs 1"


@pytest.mark.parametrize(
    ("left", "warning"),
    [
        (15 * DAY, ""),
        (14 * DAY, "it expires in 14 days"),
        (3600, "it expires in 60 min"),
        (0, "it has expired, so newer reports are refused"),
        (-DAY, "it has expired, so newer reports are refused"),
    ],
)
def test_the_expiry_is_told_two_weeks_ahead(left: int, warning: str) -> None:
    (state,) = record_states(book(NOW - 99 * DAY, expires=NOW + left), [TOPIC])
    assert state.warning(NOW) == warning


def test_an_equivocation_is_told() -> None:
    (state,) = record_states(book(NOW, NOW - 600), [TOPIC])
    assert state.equivocation
    assert "the namespace key was used twice" in state.line(NOW)

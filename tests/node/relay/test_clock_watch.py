"""A wrong clock is noticed from what arrives, and a few strangers cannot pretend one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.clock_watch import WINDOW, ClockWatch, Gap, Skew, gaps_of
from methrics.schema.example import example_catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.verdict import Reason

CATALOG = example_catalog()
NOW = 1_800_000_000


def gaps(early: bool, seconds: int, count: int) -> list[Gap]:
    return [Gap(early, seconds)] * count


def test_a_clock_that_is_behind_is_told_with_by_how_much() -> None:
    watch = ClockWatch()
    watch.note("a", 1, gaps(True, 3600, 12), 1.0)
    assert watch.tell(1.0) is None
    watch.note("b", 1, gaps(True, 7200, 12), 2.0)
    assert watch.tell(2.0) == Skew(behind=True, seconds=5400)
    assert str(watch.skew) == "this machine's clock is probably 2 h behind, or more"


def test_a_clock_that_is_ahead_is_told() -> None:
    watch = ClockWatch()
    for peer in "abc":
        watch.note(peer, 0, gaps(False, 86_400 * 9, 10), 1.0)
    assert str(watch.tell(1.0)) == "this machine's clock is probably 9 days ahead, or more"


def test_it_is_told_once_an_hour_until_it_is_right_again() -> None:
    watch = ClockWatch()
    for now in (0.0, 10.0, WINDOW + 20):
        for peer in "ab":
            watch.note(peer, 0, gaps(True, 600, 20), now)
    told = [watch.tell(now) is not None for now in (10.0, 20.0, WINDOW + 9, WINDOW + 10)]
    assert told == [True, False, False, True]
    watch.note("a", 30, [], 2 * WINDOW + 30)
    assert watch.skew is None
    assert watch.tell(9 * WINDOW) is None


@pytest.mark.parametrize(
    "sent",
    [
        [("a", 0, 100)],
        [("a", 0, 9), ("b", 0, 9)],
        [("a", 10, 9), ("b", 10, 9), ("c", 10, 9)],
        [("a", 0, 30), ("b", 0, 30), ("c", 1, 0), ("d", 1, 0)],
        [("a", 0, 30), ("b", 0, 1), ("c", 500, 0)],
    ],
    ids=["one peer", "few items", "not most of the items", "not most of the peers", "a few liars"],
)
def test_attack_little_evidence_tells_nothing(sent: list[tuple[str, int, int]]) -> None:
    watch = ClockWatch()
    for peer, good, early in sent:
        watch.note(peer, good, gaps(True, 9999, early), 1.0)
    assert watch.skew is None


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300)), max_size=200))
def test_attack_any_number_of_peers_and_items_takes_little_memory(
    sent: list[tuple[int, int]],
) -> None:
    watch = ClockWatch()
    for peer, early in sent:
        watch.note(str(peer), 1, gaps(True, 10, early), 1.0)
    assert len(watch._peers) <= 64
    assert all(len(one.gaps) <= 64 for one in watch._peers.values())


def report(time: int, type: str = "heartbeat") -> bytes:
    payload = encode_report(Report(CATALOG.id, type, time, {"os": "linux"}))
    return seal(Kind.REPORT, payload, bytes(32))


def test_the_gap_is_how_much_a_report_is_early_or_late() -> None:
    book = CatalogBook()
    book.add(CATALOG, given=True)
    lateness = CATALOG.types["heartbeat"].lateness
    refused = [
        (Reason.EARLY, report(NOW + 1200)),
        (Reason.LATE, report(NOW - lateness - 7200)),
        (Reason.DUPLICATE, report(NOW)),
        (Reason.LATE, report(NOW, "unheard-of")),
        (Reason.LATE, b"no item"),
        (Reason.LATE, CATALOG.raw),
    ]
    assert gaps_of(refused, book, NOW) == [Gap(True, 1200), Gap(False, 7200)]

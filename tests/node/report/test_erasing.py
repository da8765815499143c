"""Erasures are signed by the report's own key, unlinkable in time, journaled first, sent alone."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from statistics import correlation
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.consent.ledger import withdraw
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.outbox.erasures import ErasureCounts, Erasures, SignedErasure
from methrics.node.outbox.journal import RECEIPTS_MAX, Journal
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, STRUCK, Pace, Receipt
from methrics.node.publish.routes import Fate
from methrics.node.relay.visits import VISIT_BOXES
from methrics.node.report.erasure import routes_open, sign_all, sign_erasure
from methrics.node.report.identity import report_seed
from methrics.node.report.pacing import GAP, WINDOW, WINDOW_MAX, spread, spread_again
from methrics.schema.errors import LocalError, RefusedError, StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.envelope import seal as seal_item
from methrics.schema.wire.items import Erasure

if TYPE_CHECKING:
    from conftest import Post, Shop

DAY = 86_400


def publish(app: Shop, post: Post, reports: int = 3, route: str = "relay") -> list[Receipt]:
    """Reports of views that left."""
    app.allow(routes=("relay", "direct"))
    for size in range(reports):
        assert app.recorder.record("view", size=size * 40, color="red")
    app.clock.advance(DAY)
    post.publish(-(-reports // VISIT_BOXES), route=route)
    with_journal = app.journal
    receipts = with_journal.receipts()
    with_journal.close()
    assert [one.state for one in receipts] == [ACKNOWLEDGED] * reports
    return receipts


def ask(app: Shop, receipts: list[Receipt], window: int = WINDOW, seed: int = 1) -> ErasureCounts:
    journal = app.journal
    try:
        erasures, now = Erasures(journal), app.clock.now()
        rng = random.Random(seed).random
        signed = sign_all(receipts, erasures.seed_of, now=now, window=window, rng=rng)
        return erasures.request(signed, now)
    finally:
        journal.close()


@pytest.mark.shows("NEW-3")
def test_an_erasure_is_signed_by_the_key_of_its_report_alone(app: Shop, post: Post) -> None:
    receipts = publish(app, post)
    ask(app, receipts)
    book = CatalogBook()
    book.add(app.catalog, given=True)
    asked = Erasures(app.journal).all()
    for receipt in receipts:
        raw = asked[receipt.key_index].raw
        verdict = judge(raw, book, app.clock.now())
        assert isinstance(verdict, Accepted)
        assert isinstance(verdict.body, Erasure)
        assert verdict.body.report_id(verdict.item.key) == receipt.id
        assert verdict.body.day == receipt.time // DAY
        assert verdict.item.key == split(receipt.raw).key
    keys = {split(one.raw).key for one in asked.values()}
    assert len(keys) == len(receipts), "each erasure has its own key"


def test_the_same_bytes_whenever_it_is_made(app: Shop, post: Post) -> None:
    one = publish(app, post, 1)[0]
    seed = report_seed(Erasures(app.journal).seed_of(one.key_index), one.key_index, one.salt)
    assert sign_erasure(one.raw, seed) == sign_erasure(one.raw, seed)
    with pytest.raises(LocalError, match="not on this machine"):
        sign_erasure(one.raw, bytes(32))
    with pytest.raises(RefusedError):
        sign_erasure(one.raw[:-1], seed)


def test_its_box_is_as_long_as_that_of_a_report_and_an_empty_one(app: Shop, post: Post) -> None:
    one = publish(app, post, 1)[0]
    ask(app, [one])
    raw = Erasures(app.journal).all()[one.key_index].raw
    key = ExitKey.fresh(1).config
    boxes = [seal(key, inner.encode_question(inner.BOX, item)).box for item in (raw, one.raw, b"")]
    assert list(map(len, boxes)) == [inner.BOX_SIZE] * 3


# -- when they leave -----------------------------------------------------------------------------


def test_linkage_moments_are_spread_and_tell_nothing_of_the_order() -> None:
    moments = spread(2000, 0, WINDOW, random.Random(3).random)
    days = Counter(moment // DAY for moment in moments)
    assert set(days) == set(range(7)), "erasures are due on every day of the window"
    assert max(days.values()) < 2 * min(days.values())
    assert abs(correlation(range(2000), moments)) < 0.1, "older reports are not erased first"
    gaps = [later - earlier for earlier, later in pairwise(sorted(moments))]
    assert len(set(gaps)) > 300, "the gaps between erasures vary"


@given(st.integers(0, 50), st.integers(0, WINDOW_MAX), st.integers(0, 2**32), st.integers())
def test_moments_stay_in_the_window(count: int, window: int, now: int, seed: int) -> None:
    moments = spread(count, now, window, random.Random(seed).random)
    assert len(moments) == count
    assert all(now <= moment <= now + window for moment in moments)
    again = spread_again(count, now, random.Random(seed).random)
    assert all(now + GAP[0] <= one <= now + GAP[0] + count * GAP[1] for one in again)


@pytest.mark.parametrize("window", [-1, WINDOW_MAX + 1])
def test_a_window_has_bounds(window: int) -> None:
    with pytest.raises(ValueError, match="window"):
        spread(1, 0, window, random.random)


@pytest.mark.shows("NEW-3")
def test_linkage_one_erasure_in_a_direct_pass_and_never_with_reports(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 12, "direct")
    ask(app, receipts, window=DAY)
    app.recorder.record("view", color="green")
    post.opened.clear()
    post.live(4 * DAY, route="direct")
    kinds = [[split(raw).kind for raw in connection] for connection in post.opened]
    assert all(len(set(connection)) == 1 for connection in kinds), "one kind per connection"
    assert all(len(one) == 1 for one in kinds if one[0] is Kind.ERASURE), "an erasure is sent alone"
    assert len(post.erasures) == len(set(post.erasures)) == 12
    assert sum(connection[0] is Kind.REPORT for connection in kinds) == 1


def test_linkage_a_machine_that_was_off_sends_no_direct_burst(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 20, "direct")
    ask(app, receipts)
    app.clock.advance(30 * DAY)
    post.opened.clear()
    post.publish(5, route="direct")
    assert len(post.opened) == 1, "one erasure leaves, and the others get new times"
    post.live(20 * GAP[1], route="direct")
    assert len(post.erasures) == 20


def test_linkage_erasures_take_places_of_visits_beside_reports(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 20)
    ask(app, receipts)
    app.clock.advance(6 * DAY)
    app.recorder.record("view", color="green")
    app.clock.advance(2 * DAY)
    post.opened.clear()
    post.publish(3)
    assert [len(one) for one in post.opened] == [VISIT_BOXES, 21 - VISIT_BOXES, 0]
    assert len(post.erasures) == len(set(post.erasures)) == 20


def test_the_order_in_which_they_leave_is_not_that_of_the_reports(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 12)
    ask(app, receipts, window=DAY)
    post.opened.clear()
    post.live(3 * DAY)
    by_key = {split(one.raw).key: one.key_index for one in receipts}
    order = [by_key[split(raw).key] for raw in post.erasures]
    assert sorted(order) == sorted(by_key.values())
    assert order not in (sorted(order), sorted(order, reverse=True))


# -- what is asked, once -------------------------------------------------------------------------


def test_what_never_left_is_dropped_and_needs_no_erasure(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.clock.advance(DAY)
    post.cut = True
    post.publish()
    journal = app.journal
    assert [(one.state, one.attempts) for one in journal.receipts()] == [(DUE, 0)]
    assert ask(app, journal.receipts()) == ErasureCounts(dropped=1)
    assert journal.receipts() == []
    assert Erasures(journal).all() == {}


def test_what_may_have_left_is_not_sent_again_but_erased(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("view", color="red")
    app.clock.advance(DAY)
    post.fate = Fate.RETRY
    post.publish()
    assert ask(app, app.journal.receipts(), window=0) == ErasureCounts(journaled=1, already=0)
    assert [one.state for one in app.journal.receipts()] == [STRUCK]
    post.fate = Fate.ACKNOWLEDGED
    post.opened.clear()
    post.live(2 * DAY)
    assert [split(raw).kind for raw in post.sent] == [Kind.ERASURE]


def test_asking_twice_sends_once_and_again_sends_the_same_bytes(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 2)
    assert ask(app, receipts, window=0) == ErasureCounts(journaled=2, already=0)
    assert ask(app, receipts, window=0, seed=9) == ErasureCounts(already=2)
    post.opened.clear()
    post.live(DAY)
    first = sorted(post.sent)
    assert len(first) == 2
    erasures = Erasures(app.journal)
    assert erasures.request_again([(0, app.clock.now()), (1, app.clock.now())]) == 2
    post.live(DAY)
    assert sorted(post.sent) == sorted(first * 2)
    assert {one.state for one in erasures.all().values()} == {ACKNOWLEDGED}


def test_a_report_erased_while_it_is_being_sent_does_not_leave(app: Shop, post: Post) -> None:
    """The publisher reads the report as due, the person erases it, then the publisher sends."""
    app.allow()
    app.recorder.record("view", color="red")
    app.recorder.record("click", color="red")
    app.clock.advance(3 * DAY)
    journal = app.journal
    attempt = Journal.attempt

    def interfering(self: Journal, indices: list[int], *, counted: bool = True) -> set[int]:
        if not post.sent:
            views = [one for one in app.journal.receipts() if one.type == "view"]
            assert ask(app, views) == ErasureCounts(dropped=1)
        return attempt(self, indices, counted=counted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "attempt", interfering)
        post.publish()
    assert [one.type for one in journal.receipts()] == ["click"]
    assert len(post.sent) == 1


def test_a_publisher_that_read_before_an_edit_reads_again(app: Shop, post: Post) -> None:
    app.allow()
    app.recorder.record("visit", color="red")
    journal, other = app.journal, app.journal
    waiting = journal.pending(app.clock.now() + DAY)
    assert other.forget_waiting("visit") == 1
    app.recorder.record("visit", color="green")  # the same row number as before
    with pytest.raises(StoreError, match="changed"):
        journal.journal([], waiting.rows, [Pace(type="visit")], token=waiting.token)


# -- consent, routes, trouble --------------------------------------------------------------------


@pytest.mark.shows("MIM-2")
def test_it_leaves_although_consent_was_withdrawn(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 1)
    withdraw(app.paths, app.namespace, ["view"], now=app.clock.now())
    ask(app, receipts, window=0)
    post.opened.clear()
    done = post.publish()
    assert [one.erased for one in done] == [1]
    assert [split(raw).kind for raw in post.sent] == [Kind.ERASURE]


@pytest.mark.parametrize(
    ("name", "value", "leaves"),
    [("DO_NOT_TRACK", "1", True), ("METHRICS", "off", False), ("CI", "true", False)],
)
def test_a_machine_that_must_stay_silent_is_obeyed(
    app: Shop,
    post: Post,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    leaves: bool,
) -> None:
    ask(app, publish(app, post, 1), window=0)
    post.opened.clear()
    monkeypatch.setenv(name, value)
    post.publish()
    assert len(post.erasures) == leaves
    monkeypatch.delenv(name)
    post.publish()
    assert len(post.erasures) == 1


def test_it_leaves_by_a_route_that_hides_as_much_as_that_of_its_report() -> None:
    assert routes_open("direct") == {"direct"}
    assert routes_open("relay") == {"relay", "direct"}


def test_a_report_that_left_by_relay_is_not_erased_in_the_open(app: Shop, post: Post) -> None:
    ask(app, publish(app, post, 1), window=0)
    post.opened.clear()
    post.publish(route="direct")
    assert post.sent == []
    post.publish()
    assert len(post.erasures) == 1


def test_what_nobody_took_is_tried_again_byte_for_byte(app: Shop, post: Post) -> None:
    ask(app, publish(app, post, 1), window=0)
    post.opened.clear()
    post.fate = Fate.RETRY
    assert [one.postponed.total() for one in post.publish(3)] == [1, 0, 0]
    post.fate = Fate.ACKNOWLEDGED
    post.live(DAY)
    assert len(post.sent) == 2
    assert len(set(post.sent)) == 1


def test_an_erasure_of_an_earlier_version_is_signed_again(app: Shop, post: Post) -> None:
    publish(app, post, reports=1)
    (receipt,) = app.journal.receipts()
    assert ask(app, [receipt], window=0).journaled == 1
    seed = report_seed(Erasures(app.journal).seed_of(0), receipt.key_index, receipt.salt)
    old = seal_item(Kind.ERASURE, b"\xa1\x66report\x58\x20" + receipt.id, seed)
    app.journal.database.execute("UPDATE erasure SET raw = ?", (old,))
    app.clock.advance(1)
    post.publish()
    assert post.erasures == [sign_erasure(receipt.raw, seed)]


def test_what_everybody_refuses_is_given_up(app: Shop, post: Post) -> None:
    ask(app, publish(app, post, 1), window=0)
    post.fate = Fate.REFUSED
    post.publish()
    assert [one.state for one in Erasures(app.journal).all().values()] == [STRUCK]
    assert app.journal.next_due() is None


def test_the_publisher_is_wanted_for_erasures_alone(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 1)
    assert app.journal.next_due() is None
    ask(app, receipts)
    due = app.journal.next_due()
    assert due == Erasures(app.journal).all()[0].due
    assert Erasures(app.journal).all()[0].state == DUE


def test_kill_before_the_transaction_ends_leaves_nothing(app: Shop, post: Post) -> None:
    receipts = publish(app, post, 3)
    journal = app.journal
    erasures = Erasures(journal)
    signed = sign_all(receipts, erasures.seed_of, now=0, window=0, rng=random.Random(1).random)
    torn = [*signed[:2], replace(signed[2], raw=None)]  # type: ignore[arg-type]  # refused by SQLite
    with pytest.raises(StoreError):
        erasures.request(torn, 0)
    assert erasures.all() == {}
    assert {one.state for one in journal.receipts()} == {ACKNOWLEDGED}


def test_receipts_and_their_erasures_never_keep_an_app_from_recording(app: Shop) -> None:
    """The most receipts and erasures that are kept, each of the size of a real one."""
    app.allow()
    assert app.recorder.record("view", color="red")
    journal = app.journal
    number = next(iter(journal.catalogs()))
    made = [
        Receipt(
            key_index=index,
            salt=bytes(16),
            id=index.to_bytes(32, "big"),
            raw=bytes(320),
            catalog=number,
            type="view",
            time=0,
            made=0,
            due=0,
            route="relay",
        )
        for index in range(RECEIPTS_MAX)
    ]
    journal.journal(made, [], [], token=journal.pending(0).token)
    journal.mark(range(RECEIPTS_MAX), ACKNOWLEDGED)
    signed = [SignedErasure(key_index=one.key_index, raw=bytes(300), due=0) for one in made]
    assert Erasures(journal).request(signed, 0).journaled == RECEIPTS_MAX
    recorded = sum(app.recorder.record("view", color="green") for _ in range(2000))
    assert recorded == 2000

"""What may be added to days that are over, and who has to offer it."""

from __future__ import annotations

from pathlib import Path

import aggregator_model as model
import pytest
from aggregate_making import DAY, NOW, beat, erasure, record
from closing_making import (
    BOOK,
    CATALOG,
    LATENESS,
    OLD,
    VOTERS,
    accepted,
    clock,
    fill,
    invented,
    let_in,
    old_beats,
)
from traces import left_on_disk

from methrics.aggregate.closing.contested import Contested, ContestedSettings, Offer
from methrics.aggregate.closing.door import NAMED, Door
from methrics.aggregate.closing.over import MARGIN, is_over
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.waste import Wasted
from methrics.node.relay.clock_watch import Skew
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, accept

TRUST = Trust(frozenset(VOTERS[:3]), 2)
STRANGER = b"stranger"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "metrics.duckdb")
    fill(made, range(3))
    return made


def facts(store: Store) -> object:
    """All numbers that a reader could see."""
    return store.total, store.day_digests()


def test_a_report_of_a_day_that_is_not_over_is_committed(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    fresh = accepted([beat(CATALOG, 50, NOW - 7200)])
    assert let_in(door, store, fresh, STRANGER) == 1
    assert door.contested() == []


def test_the_last_second_before_a_day_is_over() -> None:
    end = (20_000 + 1) * DAY + LATENESS + MARGIN
    assert not is_over(20_000, LATENESS, end - 1)
    assert is_over(20_000, LATENESS, end)


@pytest.mark.shows("NEW-2")
def test_a_quorum_of_trusted_peers_adds_a_report_to_a_day_that_is_over(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    late = old_beats([70, 71])
    assert let_in(door, store, late, VOTERS[0]) == 0
    assert door.contested() == [(CATALOG.key, OLD // DAY, 2)]
    assert let_in(door, store, late[:1], VOTERS[1]) == 1
    assert door.tidy(BOOK) == []
    assert door.contested() == [(CATALOG.key, OLD // DAY, 1)]


def test_votes_outlive_a_restart(tmp_path: Path) -> None:
    late = old_beats([70])
    with Store(tmp_path / "metrics.duckdb") as store:
        fill(store)
        assert let_in(Door(store, clock(), TRUST), store, late, VOTERS[0]) == 0
    with Store(tmp_path / "metrics.duckdb") as store:
        assert let_in(Door(store, clock(), TRUST), store, late, VOTERS[2]) == 1


def test_what_the_operator_names_needs_no_quorum(store: Store) -> None:
    door = Door(store, clock())
    admitted = door.admit(old_beats([70]), NAMED)
    assert len(admitted.commit) == 1
    assert store.commit(Batch(NOW, admitted.commit)).reports == 1


@pytest.mark.shows("NEW-2")
def test_attack_a_stranger_offers_a_hundred_thousand_backdated_reports(store: Store) -> None:
    settings = ContestedSettings(room=2 * 2**20, per_peer=2**17)
    door = Door(store, clock(), TRUST, settings=settings)
    before = facts(store)
    offered = list(invented(100_000))
    signed = old_beats(range(1000, 1500))  # these are judged, with valid signatures
    for start in range(0, len(offered), 1000):
        sybil = Offer(b"peer %d" % (start // 10_000), b"net %d" % (start // 50_000))
        admitted = door.admit([*offered[start : start + 1000], *signed[:5]], sybil)
        assert admitted.commit == []
    assert facts(store) == before
    kept = sum(count for _, _, count in door.contested())
    assert 0 < kept * (205 + 128) <= settings.room // 2
    assert door.dropped >= 100_000 - kept
    files = [*store.path.parent.rglob("metrics.duckdb*")]
    assert sum(path.stat().st_size for path in files) < 20 * 2**20
    # The room of trusted peers is not touched by strangers.
    late = old_beats([70])
    assert [let_in(door, store, late, voter) for voter in VOTERS[:2]] == [0, 1]


def test_attack_a_stranger_fills_at_most_an_eighth_of_the_strangers_room(store: Store) -> None:
    settings = ContestedSettings(room=2**21, per_peer=2**20)
    door = Door(store, clock(), TRUST, settings=settings)
    door.admit(list(invented(2000)), Offer(b"one", b"net"))
    first = sum(count for _, _, count in door.contested())
    assert 0 < first * (205 + 128) <= 2**20 // 8
    door.admit(list(invented(2500))[2000:], Offer(b"other", b"another net"))
    assert sum(count for _, _, count in door.contested()) > first


def test_attack_a_stranger_that_erases_a_report_of_its_own_gets_no_new_share(store: Store) -> None:
    settings = ContestedSettings(room=2**18, per_peer=2**18)
    door = Door(store, clock(), TRUST, settings=settings)
    own = old_beats(range(100, 300))
    door.admit(own, Offer(b"one", b"net"))
    [(_, _, first)] = door.contested()
    for i in (100, 101):
        gone = erasure(CATALOG, own[i - 100].item.raw, "beat", i, OLD)
        store.commit(Batch(NOW, accepted([gone])))
        door.tidy(BOOK)
        door.admit(own, Offer(b"one", b"net"))
    [(_, _, left)] = door.contested()
    assert 0 < first < len(own)
    assert left == first - 2


def test_erasures_of_contested_reports_make_room_again(store: Store) -> None:
    door = Door(store, clock(), TRUST, settings=ContestedSettings(room=2**15))
    offers = [Offer(b"one", b"net"), Offer(VOTERS[0])]
    for at, offer in zip((100, 200), offers, strict=True):
        own = old_beats(range(at, at + 40))
        kept = door.admit(own, offer).contested
        gone = (erasure(CATALOG, one.item.raw, "beat", at + i, OLD) for i, one in enumerate(own))
        store.commit(Batch(NOW, accepted(gone)))
        door.tidy(BOOK)
        more = old_beats(range(at + 50, at + 90))
        assert 0 < kept == door.admit(more, offer).contested < len(more)


def test_attack_strangers_get_no_new_room_by_a_restart(store: Store) -> None:
    settings = ContestedSettings(room=2**18, per_peer=2**16)
    offered = list(invented(1200))
    for start in (0, 400, 800):  # each time by a new process, to which they are unknown
        door = Door(store, clock(), TRUST, settings=settings)
        for i in range(start, start + 400):
            door.admit(offered[i : i + 1], Offer(b"peer %d" % i, b"net %d" % i))
        kept = sum(count for _, _, count in door.contested())
        assert kept == settings.room // 2 // (205 + 128)


@pytest.mark.shows("NEW-2")
def test_attack_one_lying_trusted_peer_adds_and_removes_nothing(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    before = facts(store)
    lies = old_beats(range(200, 230))
    for _ in range(3):  # its vote counts once, however often it offers
        assert let_in(door, store, lies, VOTERS[0]) == 0
    forged = accepted([erasure(CATALOG, beat(CATALOG, 0, OLD), "stranger", 0, OLD)])
    store.commit(Batch(NOW, door.admit(forged, Offer(VOTERS[0])).commit))
    assert facts(store) == before


def test_attack_a_trusted_peer_that_fills_its_room_takes_none_from_the_others(
    store: Store,
) -> None:
    door = Door(store, clock(), TRUST, settings=ContestedSettings(room=600_000))
    share = 300_000 // 3 // (205 + 128)
    door.admit(list(invented(2 * share)), Offer(VOTERS[0]))
    assert sum(count for _, _, count in door.contested()) == share
    again = Door(store, clock(), TRUST, settings=ContestedSettings(room=600_000))
    again.admit(list(invented(2 * share))[share:], Offer(VOTERS[0]))  # nor after a restart
    assert sum(count for _, _, count in again.contested()) == share
    late = old_beats([70])
    assert [let_in(again, store, late, voter) for voter in VOTERS[1:3]] == [0, 1]


def test_attack_strangers_do_not_add_up_to_a_quorum(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    late = old_beats([70])
    for i in range(5):
        assert let_in(door, store, late, b"sybil %d" % i) == 0
    with store.reading() as con:
        assert con.execute("FROM vote").fetchall() == [], "they take no room either"
    assert let_in(door, store, late, VOTERS[3]) == 0  # not one of the three that are trusted
    assert let_in(door, store, late, VOTERS[0]) == 0
    assert let_in(door, store, late, VOTERS[1]) == 1


def test_attack_without_trusted_peers_nothing_is_added_to_a_day_that_is_over(store: Store) -> None:
    door = Door(store, clock())
    before = facts(store)
    for voter in VOTERS:
        assert let_in(door, store, old_beats([70]), voter) == 0
    assert facts(store) == before


def test_attack_an_erased_report_does_not_stay_contested(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    late = old_beats([70])
    let_in(door, store, late, VOTERS[0])
    raw = late[0].item.raw
    gone = accepted([erasure(CATALOG, raw, "beat", 70, OLD)])
    store.commit(Batch(NOW, gone))
    door.tidy(BOOK)
    assert door.contested() == []
    assert store.compact()
    assert left_on_disk(store.path.parent, raw) == {"id", "key"}
    let_in(door, store, late, VOTERS[0])
    assert let_in(door, store, late, VOTERS[1]) == 0


def test_attack_an_erased_report_does_not_come_back_as_contested(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    late = old_beats([70, 71])
    store.commit(Batch(NOW, accepted([erasure(CATALOG, late[0].item.raw, "beat", 70, OLD)])))
    for voter in (STRANGER, VOTERS[0]):
        assert door.admit(late, Offer(voter, b"origin")).refused == 1 + (voter != STRANGER)
    assert stored_ids(store) == ([late[1].item.id], [late[1].item.id])


def test_attack_an_erasure_takes_a_contested_report_along_at_once(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    late = old_beats([70, 71])
    let_in(door, store, late, VOTERS[0])
    assert store.wasted() is None
    store.commit(Batch(NOW, accepted([erasure(CATALOG, late[0].item.raw, "beat", 70, OLD)])))
    assert stored_ids(store) == ([late[1].item.id], [late[1].item.id])
    wasted = store.wasted()
    assert wasted is not None
    assert wasted.rows == 1


def test_contested_reports_that_are_revoked_go(store: Store) -> None:
    door = Door(store, clock(), TRUST)
    let_in(door, store, old_beats([70], OLD - DAY) + old_beats([71]), VOTERS[0])
    door.tidy(BOOK)
    assert len(stored_ids(store)[0]) == 2
    book = CatalogBook()
    book.add(CATALOG, given=True)
    learn(accept(record(CATALOG, revoked={"beat": OLD // DAY * DAY}), book, NOW), book)
    door.tidy(book)
    assert stored_ids(store)[0] == [old_beats([70], OLD - DAY)[0].item.id]


def stored_ids(store: Store) -> tuple[list[bytes], list[bytes]]:
    """The ids of the contested reports in the file, and of those with a vote."""
    with store.reading() as con:
        contested = con.execute("SELECT id FROM contested").fetchall()
        votes = con.execute("SELECT id FROM vote").fetchall()
    return [one for (one,) in contested], [one for (one,) in votes]


def test_contested_reports_end_with_their_time_and_their_retention(store: Store) -> None:
    time = clock()
    door = Door(store, time, TRUST)
    let_in(door, store, old_beats([70]), VOTERS[0])
    time.advance(29 * DAY)
    door.tidy(BOOK)
    assert len(door.contested()) == 1
    assert store.wasted() is None
    time.advance(2 * DAY)
    door.tidy(BOOK)
    assert door.contested() == []
    assert store.wasted() == Wasted(1, time.now()), "its bytes stay until the file is rewritten"
    ended = max(one.retention_days for one in CATALOG.types.values())
    time.advance((ended + 1) * DAY)
    assert door.admit(old_beats([70]), NAMED).refused == 1


def test_a_contested_report_ends_with_the_retention_of_its_own_type(tmp_path: Path) -> None:
    """Another type of its catalog may be kept for longer."""
    time, book = clock(), model.BOOK
    newest = book.records.newest(model.KEY)
    assert newest is not None
    both = [accept(raw, book, NOW, live=False) for raw in model.RAWS[14:16]]
    assert [model.retention(i) for i in (14, 15)] == [40, 30]
    with Store(tmp_path / "mixed.duckdb") as store:
        catalog = accept(model.CATALOG.raw, book, NOW, live=False)
        store.commit(Batch(NOW, [Accepted(*newest), catalog]))
        door = Door(store, time, TRUST)
        assert let_in(door, store, both, VOTERS[0]) == 0
        time.advance(6 * DAY)
        door.tidy(book)
        assert [count for _, _, count in door.contested()] == [2]
        time.advance(DAY)
        door.tidy(book)
        assert [count for _, _, count in door.contested()] == [1]


def test_a_clock_that_jumps_ahead_loses_nothing_for_good(store: Store) -> None:
    time = clock(NOW + 300 * DAY)
    door = Door(store, time, TRUST)
    fresh = accepted([beat(CATALOG, 50, NOW - 7200)])
    assert let_in(door, store, fresh, STRANGER, NOW) == 0
    time.advance(-300 * DAY)
    again = door.tidy(BOOK)
    assert store.commit(Batch(NOW, again)).reports == 1
    door.tidy(BOOK)
    assert door.contested() == []


def test_attack_a_clock_that_is_behind_does_not_open_days_that_are_over(store: Store) -> None:
    behind = clock(OLD)
    door = Door(store, behind, TRUST, skew=lambda: Skew(True, NOW - OLD))
    assert let_in(door, store, old_beats([70]), STRANGER, OLD) == 0
    assert door.tidy(BOOK) == []
    assert len(door.contested()) == 1


def test_attack_a_clock_that_is_set_back_lets_nothing_in_before_it_is_sure(store: Store) -> None:
    time = clock()
    door = Door(store, time, TRUST)
    assert let_in(door, store, old_beats([70]), STRANGER) == 0
    time.advance(OLD - NOW)
    assert door.tidy(BOOK, sure=False) == []
    time.advance(NOW - OLD)
    assert door.tidy(BOOK) == []


def test_contested_reports_are_looked_at_again_only_by_an_earlier_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers may fill days that are over for one type and not yet for another."""
    time = clock()
    door = Door(store, time, TRUST)
    assert door.tidy(BOOK) == []
    assert let_in(door, store, old_beats([70]), STRANGER) == 0
    monkeypatch.setattr(Contested, "of_days", lambda *_: pytest.fail("all were read again"))
    time.advance(600)
    assert door.tidy(BOOK) == []

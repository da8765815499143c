"""Closed days: when they are closed, and when their manifests are superseded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aggregate_making import DAY, NOW, beat, erasure
from closing_making import (
    CATALOG,
    KEYS,
    LATENESS,
    OLD,
    VOTERS,
    accepted,
    clock,
    fill,
    let_in,
    old_beats,
)

from methrics.aggregate.closing.closer import Closer
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.manifests import closed_of, contradicting, keep_manifests
from methrics.aggregate.closing.over import MARGIN, STEADY, Steadiness
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.node.relay.clock_watch import Skew
from methrics.schema.wire.manifest import Manifest, SignedManifest, read_manifest, sign_manifest

OLD_DAY = OLD // DAY


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "metrics.duckdb") as made:
        fill(made, range(3))
        yield made


def closed(store: Store, signer: bytes = VOTERS[0]) -> dict[int, Manifest]:
    with store.reading() as con:
        return {day: one.manifest for (_, day), one in closed_of(con, signer).items()}


@pytest.mark.shows("NEW-2")
def test_a_day_is_closed_when_its_longest_lateness_and_a_day_have_passed(store: Store) -> None:
    closer = Closer(store, KEYS[0])
    over = (OLD_DAY + 1) * DAY + LATENESS + MARGIN
    assert closer.close(over - 1) == []
    (made,) = closer.close(over)
    assert read_manifest(made.item.raw, over) == made
    [digest] = store.day_digests([OLD_DAY])
    found = made.manifest
    assert (found.namespace, found.day, found.as_of) == (CATALOG.key, OLD_DAY, over)
    assert (found.count, found.digest, found.late) == (3, digest.digest, 0)
    assert closer.close(over + DAY) == []
    assert closed(store) == {OLD_DAY: found}


@pytest.mark.shows("NEW-2")
def test_two_aggregators_with_the_same_reports_sign_the_same_digests(tmp_path: Path) -> None:
    found = []
    for i, order in enumerate(([0, 1, 2, 3], [3, 1, 2, 0])):
        with Store(tmp_path / f"{i}.duckdb") as store:
            fill(store, order[:2])
            fill(store, order[2:])
            (made,) = Closer(store, KEYS[i]).close(NOW)
            found.append(made)
    assert found[0].item.key != found[1].item.key
    assert found[0].manifest == found[1].manifest


def test_a_later_quorum_and_an_erasure_supersede_a_manifest(store: Store) -> None:
    closer = Closer(store, KEYS[0])
    closer.close(NOW)
    door = Door(store, clock(), Trust(frozenset(VOTERS[1:3]), 2))
    for voter in VOTERS[1:3]:
        let_in(door, store, old_beats([70]), voter)
    (added,) = closer.close(NOW + 60)
    assert (added.manifest.count, added.manifest.late) == (4, 1)
    assert added.manifest.coverage == 0.75
    gone = accepted([erasure(CATALOG, beat(CATALOG, 0, OLD), "beat", 0, OLD)])
    store.commit(Batch(NOW, gone))
    (erased,) = closer.close(NOW + 120)
    assert (erased.manifest.count, erased.manifest.erasures, erased.manifest.late) == (3, 1, 1)
    assert closed(store) == {OLD_DAY: erased.manifest}


def test_as_many_but_other_erasures_supersede_a_manifest(store: Store) -> None:
    def erase(i: int) -> None:
        gone = accepted([erasure(CATALOG, beat(CATALOG, i, OLD), "beat", i, OLD)])
        store.commit(Batch(NOW, gone))

    closer = Closer(store, KEYS[0])
    erase(91)
    (before,) = closer.close(NOW)
    with store.writing() as con:  # as if it were over by the retention of its catalog
        con.execute("DELETE FROM tombstone")
    erase(92)
    (after,) = closer.close(NOW + 60)
    assert after.manifest.erasures == before.manifest.erasures == 1
    assert after.manifest.erasures_digest != before.manifest.erasures_digest
    assert closer.close(NOW + 120) == []


def test_contested_reports_are_in_no_manifest(store: Store) -> None:
    closer = Closer(store, KEYS[0])
    (before,) = closer.close(NOW)
    door = Door(store, clock(), Trust(frozenset(VOTERS[1:3]), 2))
    let_in(door, store, old_beats(range(70, 90)), VOTERS[1])
    assert closer.close(NOW + 60) == []
    assert closed(store) == {OLD_DAY: before.manifest}


def test_an_open_manifest_is_not_stored(store: Store) -> None:
    found = Closer(store, KEYS[0]).open_manifest(CATALOG.key, OLD_DAY, NOW)
    assert (found.manifest.closed, found.manifest.count) == (False, 3)
    assert closed(store) == {}


def test_a_clock_that_jumps_ahead_or_back_closes_no_day() -> None:
    steady = Steadiness()
    steady.note(NOW, 0.0)
    assert not steady.may_close(0.0, None)
    steady.note(NOW + 3600, STEADY)
    assert steady.may_close(STEADY, None)
    for jump in (300 * DAY, -300 * DAY):
        steady.note(NOW + 3600 + jump, STEADY)
        assert not steady.may_close(STEADY, None)
        steady.note(NOW + 3600 + jump + 1800, STEADY + 1800)
        assert not steady.may_close(STEADY + 1800, None)
        steady.note(NOW + 3600, STEADY + 1800)  # set right again
        assert not steady.may_close(STEADY + 1800, None)
    steady.note(NOW + 3600 + int(STEADY), 2 * STEADY + 1800)
    assert steady.may_close(2 * STEADY + 1800, None)
    assert not steady.may_close(2 * STEADY + 1800, Skew(False, 400 * DAY))
    assert not steady.may_close(2 * STEADY + 1800, Skew(True, 3600))


def test_a_clock_that_was_ahead_closes_nothing_for_good(store: Store) -> None:
    fresh = NOW - 7200
    store.commit(Batch(NOW, accepted([beat(CATALOG, 50, fresh)])))
    closer = Closer(store, KEYS[0])
    early = closer.close(NOW + 100 * DAY)
    assert fresh // DAY in {one.manifest.day for one in early}
    with Store(store.path.with_name("peer.duckdb")) as peer:
        fill(peer)
        raws = [one.item.raw for one in early]
        assert keep_manifests(peer, raws, {closer.signer}, NOW).new == 0
    closer.close(NOW)
    found = closed(store)
    assert set(found) == {OLD_DAY}
    assert found[OLD_DAY].as_of == NOW


def of(seed: bytes, **change: object) -> SignedManifest:
    base = Manifest(
        namespace=CATALOG.key,
        day=OLD_DAY,
        as_of=NOW - 600,
        closed=True,
        count=9,
        digest=b"d" * 32,
        erasures=0,
        erasures_digest=b"e" * 32,
    )
    return sign_manifest(replace(base, **change), seed)  # type: ignore[arg-type]


def keep(store: Store, *made: SignedManifest, signers: tuple[bytes, ...] = (VOTERS[1],)) -> int:
    return keep_manifests(store, [one.item.raw for one in made], signers, NOW).new


def test_the_newest_manifest_of_a_trusted_peer_is_kept(store: Store) -> None:
    first, second = of(KEYS[1]), of(KEYS[1], as_of=NOW, count=8)
    for made in ([first, second], [second, first], [first]):
        keep(store, *made)
    assert closed(store, VOTERS[1]) == {OLD_DAY: second.manifest}


def test_attack_manifests_of_strangers_and_of_unknown_namespaces_take_no_room(store: Store) -> None:
    assert keep(store, of(KEYS[2])) == 0
    assert keep(store, of(KEYS[1], namespace=b"x" * 32)) == 0
    assert keep(store, of(KEYS[1], day=OLD_DAY - 5000)) == 0
    assert keep(store, of(KEYS[1], as_of=NOW + 301)) == 0
    assert keep_manifests(store, [b"junk", CATALOG.raw], {VOTERS[1]}, NOW).refused == 2


def test_attack_an_older_manifest_does_not_supersede(store: Store) -> None:
    newest = of(KEYS[1])
    assert keep(store, newest) == 1
    older = of(KEYS[1], as_of=NOW - 700, count=1)
    later_but_open = of(KEYS[1], as_of=NOW, closed=False)
    assert keep(store, older, later_but_open, newest) == 0
    assert closed(store, VOTERS[1]) == {OLD_DAY: newest.manifest}


def test_attack_a_peer_that_contradicts_itself_loses_its_vote(store: Store) -> None:
    one, other = of(KEYS[1]), of(KEYS[1], count=7, digest=b"x" * 32)
    third = of(KEYS[1], count=6, digest=b"y" * 32)
    assert keep(store, one, other, third) == 2
    with store.reading() as con:
        assert contradicting(con) == {(VOTERS[1], CATALOG.key, OLD_DAY)}
    door = Door(store, clock(), Trust(frozenset(VOTERS[1:4]), 2))
    late = old_beats([70])
    assert [let_in(door, store, late, voter) for voter in VOTERS[1:4]] == [0, 0, 1]
    assert keep(store, of(KEYS[1], as_of=NOW)) == 0  # a later one does not hide the proof


@pytest.mark.shows("NEW-2")
def test_attack_a_lying_aggregator_makes_an_honest_one_neither_drop_nor_invent(
    store: Store,
) -> None:
    before = store.day_digests()
    door = Door(store, clock(), Trust(frozenset(VOTERS[1:4]), 2))
    keep(store, of(KEYS[1], count=0, digest=b"0" * 32), of(KEYS[1], day=OLD_DAY - 1, count=10**6))
    let_in(door, store, old_beats(range(300, 310)), VOTERS[1])
    assert store.day_digests() == before
    (made,) = Closer(store, KEYS[0]).close(NOW)
    assert made.manifest.count == 3

"""Aggregators that missed something get it from each other, by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import aggregate_making as making
import pytest
from collect_running import Running, aggregator, equal, until

from methrics.aggregate.closing.contested import Offer
from methrics.aggregate.closing.door import Admitted, Door
from methrics.aggregate.closing.trust import Trust, voter_of
from methrics.aggregate.reconcile.pacing import PacingSettings
from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.store import Store
from methrics.node.network.memory import MemoryNetwork
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, accept

CATALOG = making.catalog()
RECORD = making.record(CATALOG)
BEATS = [making.beat(CATALOG, i, making.NOW - 7200 - 600 * (i % 200)) for i in range(120)]
OVER = making.NOW - 60 * making.DAY
HISTORY = [making.beat(CATALOG, i, OVER - 600 * (i % 200)) for i in range(200, 230)]


def kept(path: Path, *raws: bytes) -> Path:
    """A file with these items."""
    book = CatalogBook()
    with Store(path) as store:
        store.commit(making.batch([CATALOG.raw], book))
        for part in (raws[:40], raws[40:]):
            if part:
                store.commit(_batch(part))
    return path


def _batch(raws: tuple[bytes, ...]) -> Batch:
    book = making.book(CATALOG)
    return Batch(making.NOW, [accept(raw, book, making.NOW, live=False) for raw in raws])


@pytest.mark.shows("NEW-2")
async def test_two_aggregators_with_different_halves_end_equal(tmp_path: Path) -> None:
    gone = [
        making.erasure(CATALOG, BEATS[i], "beat", i, making.NOW - 7200 - 600 * i) for i in (0, 90)
    ]
    network = MemoryNetwork()
    one_file = kept(tmp_path / "a.duckdb", *BEATS[:80], gone[1])
    other_file = kept(tmp_path / "b.duckdb", *BEATS[50:], gone[0])
    async with aggregator(network, one_file) as one, aggregator(network, other_file) as other:
        await other.swarm.dial(one.swarm.addrs[0])
        await equal(one, other)
        assert await one.count() == 118
        await until(lambda: one.sessions and one.sessions[-1].same)
        assert sum(session.taken for session in one.sessions) > 0
        assert {session.ended for session in one.sessions + other.sessions} == {""}


async def test_who_was_off_gets_what_it_missed(tmp_path: Path) -> None:
    network = MemoryNetwork()
    full = kept(tmp_path / "a.duckdb", *BEATS)
    async with aggregator(network, full) as one:
        empty = tmp_path / "b.duckdb"
        async with aggregator(network, empty) as late:
            await late.swarm.dial(one.swarm.addrs[0])
            await equal(one, late)
        async with aggregator(network, empty) as late:
            await late.swarm.dial(one.swarm.addrs[0])
            await until(lambda: late.sessions)
            assert late.sessions[0].same


async def test_what_a_session_brought_is_stored_before_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    full = kept(tmp_path / "a.duckdb", *BEATS)
    commit = Store.commit

    def slowly(store: Store, batch: Batch) -> Committed:
        time.sleep(0.5)
        return commit(store, batch)

    monkeypatch.setattr(Store, "commit", slowly)
    once = PacingSettings(soon=0.1, every=1000, look=0.02)
    async with (
        aggregator(network, full) as one,
        aggregator(network, tmp_path / "b.duckdb", pacing=once) as late,
    ):
        await late.swarm.dial(one.swarm.addrs[0])
        await until(lambda: sum(session.taken for session in late.sessions) == len(BEATS))
        before = len(late.sessions)
        await until(lambda: len(late.sessions) > before)
        assert late.sessions[before].same


async def test_attack_back_dated_reports_of_a_stranger_move_no_number(tmp_path: Path) -> None:
    network = MemoryNetwork()
    stranger_file = kept(tmp_path / "a.duckdb", *HISTORY, *BEATS[:10])
    own_file = kept(tmp_path / "b.duckdb", *BEATS[10:20])
    async with aggregator(network, stranger_file) as stranger, aggregator(network, own_file) as own:
        await own.swarm.dial(stranger.swarm.addrs[0])
        await until(lambda: sum(one.taken for one in own.sessions) == 10)
        await until(lambda: sum(one.fetched for one in own.sessions) >= len(HISTORY) + 10)
        await own.until_count(20)
        # What is contested is not asked for again while nothing changes.
        await until(lambda: _same_for(own, 3))
        assert await own.count() == 20


def _same_for(own: Running, sessions: int) -> bool:
    """Tell whether so many sessions in a row have fetched nothing."""
    fetched = [one.fetched for one in own.sessions[-sessions:]]
    return fetched == [0] * sessions


async def test_attack_reports_of_the_future_of_a_stranger_are_not_taken(tmp_path: Path) -> None:
    network = MemoryNetwork()
    future = [making.beat(CATALOG, i, making.NOW + 2 * making.DAY) for i in range(400, 405)]
    stranger_file = kept(tmp_path / "a.duckdb", *future, *BEATS[:10])
    own_file = kept(tmp_path / "b.duckdb", *BEATS[10:20])
    async with aggregator(network, stranger_file) as stranger, aggregator(network, own_file) as own:
        await own.swarm.dial(stranger.swarm.addrs[0])
        await until(lambda: sum(one.fetched for one in own.sessions) >= len(future) + 10)
        await until(lambda: len(own.sessions) >= 4)
        await own.until_count(20)
        assert sum(one.taken for one in own.sessions) == 10


async def test_what_could_not_be_judged_comes_in_the_next_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit, failed = Door.admit, list[int]()

    def once_not(door: Door, accepted: Sequence[Accepted], offer: Offer) -> Admitted:
        if not failed:
            failed.append(len(accepted))
            raise StoreError("store-busy", "another program has locked the file")
        return admit(door, accepted, offer)

    network = MemoryNetwork()
    full = kept(tmp_path / "a.duckdb", *BEATS[:20])
    monkeypatch.setattr(Door, "admit", once_not)
    async with aggregator(network, full) as one, aggregator(network, tmp_path / "b") as late:
        await late.swarm.dial(one.swarm.addrs[0])
        await late.until_count(20)
    assert failed == [20]


async def test_history_comes_from_a_trusted_peer(tmp_path: Path) -> None:
    network = MemoryNetwork()
    old_file = kept(tmp_path / "a.duckdb", *HISTORY, *BEATS)
    async with aggregator(network, old_file) as old:
        trusted = Trust(frozenset([voter_of(old.swarm.peer_id)]), 1)
        async with aggregator(network, tmp_path / "b.duckdb", trust=trusted) as late:
            await late.swarm.dial(old.swarm.addrs[0])
            await equal(old, late)


async def test_who_knows_only_the_topic_gets_reports_of_earlier_days(tmp_path: Path) -> None:
    await _late_with_topic_alone(tmp_path, lambda: None)


async def _late_with_topic_alone(tmp_path: Path, before: Callable[[], None]) -> None:
    """Run an aggregator that knows the topic alone, after `before()`; see that it gets all."""
    network = MemoryNetwork()
    earlier = [making.beat(CATALOG, i, making.NOW - 2 * making.DAY) for i in range(300, 310)]
    full_file = kept(tmp_path / "a.duckdb", *HISTORY, *earlier)
    before()
    async with aggregator(network, full_file) as full:
        only = {
            "topics": [CATALOG.topic],
            "catalogs": [],
            "records": [],
            "trust": Trust(frozenset([voter_of(full.swarm.peer_id)]), 1),
        }
        async with aggregator(network, tmp_path / "b.duckdb", **only) as late:
            await late.swarm.dial(full.swarm.addrs[0])
            await until(lambda: late.sessions)
            assert late.sessions[0].taken == len(HISTORY) + len(earlier)
            await equal(full, late)


async def test_reports_wait_while_their_catalog_is_being_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Store.commit

    def slowly(store: Store, batch: Batch) -> Committed:
        if any(isinstance(one.body, Catalog) for one in batch.accepted):
            time.sleep(0.5)
        return commit(store, batch)

    await _late_with_topic_alone(tmp_path, lambda: monkeypatch.setattr(Store, "commit", slowly))

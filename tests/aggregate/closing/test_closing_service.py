"""Aggregators that close days, and take each other's manifests, on the in-memory network."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from aggregate_making import DAY, NOW, beat
from closing_making import (
    BOOK,
    CATALOG,
    KEYS,
    OLD,
    VOTERS,
    accepted,
    clock,
    fill,
    let_in,
)
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from methrics.aggregate.closing import exchange, over, serving
from methrics.aggregate.closing import service as module
from methrics.aggregate.closing.closer import Closer
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.exchange import (
    PAGE_MAX,
    Ask,
    decode_ask,
    decode_page,
    encode_ask,
    encode_page,
    newest_of,
    page_of,
)
from methrics.aggregate.closing.manifests import closed_of, keep_manifests
from methrics.aggregate.closing.service import Closed, ClosingService
from methrics.aggregate.closing.serving import ROWS, ROWS_EACH, ManifestServing
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.node.network.memory import MemoryNetwork
from methrics.node.network.swarm import Swarm
from methrics.schema.errors import RefusedError, StoreError
from methrics.schema.judging.gate import BundleVerdict
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.verdict import Decision

TOPIC = CATALOG.topic
ids = st.binary(min_size=32, max_size=32)


@given(st.builds(Ask, ids, st.integers(0, TIME_MAX), st.integers(0, 20_000)))
def test_a_request_survives(ask: Ask) -> None:
    assert decode_ask(encode_ask(ask)) == ask


@given(st.lists(st.binary(max_size=400), max_size=PAGE_MAX))
def test_a_page_survives(page: list[bytes]) -> None:
    assert decode_page(encode_page(page)) == page


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_and_a_page_or_refused(data: bytes) -> None:
    for read in (decode_ask, decode_page):
        with suppress(RefusedError):
            assert isinstance(read(data), tuple | list)


def test_every_manifest_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAGE_MAX", 4)
    with Store(tmp_path / "a.duckdb") as one, Store(tmp_path / "b.duckdb") as other:
        fill(one)
        fill(other)
        days = range(6)
        old = [beat(CATALOG, i, OLD - i * DAY) for i in days]
        one.commit(Batch(NOW, accepted(old)))
        Closer(one, KEYS[0]).close(NOW)
        pages = []
        while not pages or pages[-1]:
            pages.append(page_of(one, VOTERS[0], newest_of(other, VOTERS[0], CATALOG.key)))
            keep_manifests(other, pages[-1], {VOTERS[0]}, NOW)
        assert [len(page) for page in pages] == [4, 2, 0]
        with one.reading() as here, other.reading() as there:
            assert closed_of(here, VOTERS[0]) == closed_of(there, VOTERS[0])


async def _ignore(_peer: str, _message: bytes) -> Decision:
    await trio.lowlevel.checkpoint()
    return Decision.IGNORE


def service(
    swarm: Swarm, door: Door, seed: bytes | None, taken: list[BundleVerdict]
) -> ClosingService:
    async def take(verdict: BundleVerdict) -> None:
        await trio.lowlevel.checkpoint()
        taken.append(verdict)

    return ClosingService(swarm, door, BOOK, [TOPIC], seed, lambda: 0.5, take)


@pytest.mark.shows("NEW-2")
async def test_aggregators_sign_equal_digests_and_take_those_of_trusted_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over, "STEADY", 0.0)
    network = MemoryNetwork()
    stores = [Store(tmp_path / f"{i}.duckdb") for i in range(3)]
    for store in stores:
        fill(store, range(3))
    async with (
        network.open_swarm() as one,
        network.open_swarm() as two,
        network.open_swarm() as three,
    ):
        swarms = [one, two, three]
        keys = {swarm.peer_id: key for swarm, key in zip(swarms, VOTERS, strict=False)}
        monkeypatch.setattr(module, "voter_of", keys.__getitem__)
        for swarm in swarms:
            await swarm.join(TOPIC, _ignore)
        for other in (two, three):
            await one.dial(other.addrs[0])
        await one.wait_for_peers(TOPIC, 2)
        made = []
        for i, (swarm, store) in enumerate(zip(swarms, stores, strict=True)):
            trust = Trust(frozenset({VOTERS[1]} if i == 0 else ()), 1)
            made.append(service(swarm, Door(store, clock(), trust), KEYS[i], []))
            ManifestServing(swarm, store, VOTERS[i], [TOPIC]).serve()
        for other in (made[1], made[2]):
            assert (await other.look()).signed == 1
        first, again = await made[0].look(), await made[0].look()
        assert (first.signed, first.taken, again.signed, again.taken) == (1, 1, 0, 0)
        assert [one.facts()["coverage"] for one in again.coverage] == [1.0, 1.0]
    with stores[0].reading() as con:
        mine, theirs = (closed_of(con, VOTERS[i])[CATALOG.key, OLD // DAY] for i in (0, 1))
        assert mine.manifest == theirs.manifest
        assert closed_of(con, VOTERS[2]) == {}  # not trusted
    for store in stores:
        store.close()


async def test_attack_a_peer_asks_for_manifests_until_nothing_else_is_done(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = int(ROWS.burst / ROWS_EACH) + 1
    asked: list[Ask] = []

    def page(_store: Store, _signer: bytes, ask: Ask) -> list[bytes]:
        asked.append(ask)
        return []

    monkeypatch.setattr(serving, "page_of", page)
    network = MemoryNetwork()
    with Store(tmp_path / "a.duckdb") as store:
        async with network.open_swarm() as one, network.open_swarm() as other:
            made = ManifestServing(one, store, VOTERS[0], [TOPIC])
            made.serve()
            ask = encode_ask(Ask(CATALOG.key))
            found = Counter([await made._answer(other.peer_id, ask) for _ in range(most + 30)])
            assert found == {encode_page([]): most, b"": 30}
            assert made.refused == {"quota": 30}
            assert len(asked) == most
            assert await made._answer("another", ask) == encode_page([])
            mock_clock.jump(60)
            assert await made._answer(other.peer_id, ask) == encode_page([])
            assert await made._answer(other.peer_id, b"nonsense") == b""
            assert made.refused == {"quota": 30, "malformed": 1}


async def test_a_clock_in_doubt_signs_nothing_and_contested_reports_come_back(
    tmp_path: Path, autojump_clock: object
) -> None:
    network = MemoryNetwork()
    taken: list[BundleVerdict] = []
    time = clock(NOW + 300 * DAY)
    with Store(tmp_path / "a.duckdb") as store:
        fill(store, range(3))
        async with network.open_swarm() as swarm:
            door = Door(store, time)
            made = service(swarm, door, KEYS[0], taken)
            fresh = accepted([beat(CATALOG, 50, NOW - 7200)])
            assert let_in(door, store, fresh, b"peer") == 0
            time.advance(-300 * DAY)
            first = await made.look()
            assert (first.signed, first.contested, taken) == (0, 1, [])  # not steady for an hour
            with store.reading() as con:
                assert closed_of(con, VOTERS[0]) == {}
            await trio.sleep(3600)
            time.advance(3600)
            assert (await made.look()).contested == 1
            store.commit(Batch(NOW, taken[0].accepted))
            assert (await made.look()).contested == 0
        assert [one.item.id for one in taken[0].accepted] == [fresh[0].item.id]


async def test_a_disk_that_is_full_for_a_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async def take(_: BundleVerdict) -> None:
        return None

    network = MemoryNetwork()
    with Store(tmp_path / "a.duckdb") as store:
        fill(store)
        async with network.open_swarm() as swarm:
            service = ClosingService(
                swarm, Door(store, clock()), BOOK, [TOPIC], KEYS[0], lambda: 0.5, take
            )
            looks: list[int] = []
            codes = iter(["store-full", "store-busy", "store-damaged"])

            async def look() -> Closed:
                looks.append(len(looks))
                if len(looks) == 2:
                    return Closed(signed=1)
                raise StoreError(next(codes), "for a test")

            monkeypatch.setattr(service, "look", look)
            heard: list[Closed] = []
            with pytest.raises(StoreError):
                await service.run(heard.append)
            assert looks == [0, 1, 2, 3]
            assert heard == [Closed(signed=1)]

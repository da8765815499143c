"""Catalogs by id from peers: found late, checked, and asked for a limited number of times."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.relay.catalog_exchange import (
    ATTEMPTS_MAX,
    PAUSES,
    PEERS_MAX,
    PROTOCOL,
    REPLY_TIME,
    WANTED_MAX,
    CatalogExchange,
)
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision

SOURCE = parse_source(example_source())
SEED = b"e" * 32
CATALOG = load(sign(SOURCE, SEED))
OTHER = load(sign(SOURCE, b"o" * 32))
TOPIC = CATALOG.topic


def list_ids(book: CatalogBook, *ids: bytes, time: int = 0) -> None:
    """Add a record that lists these catalogs and no others."""
    item = sign_record(ids, SEED, time=time, expires=TIME_MAX)
    book.records.add(item, decode_record(item.payload))


SLOW = b"slow"


class Seeker:
    """A peer that lacks the catalog; `learnt` is what it was given to judge."""

    def __init__(self, swarm: MemorySwarm) -> None:
        self.book = CatalogBook([TOPIC])
        list_ids(self.book, CATALOG.id)
        self.learnt: list[tuple[str, bytes]] = []
        self.peers: list[PeerId] = []
        self.swarm = swarm
        self.exchange = CatalogExchange(swarm, self.book, random.Random(3).random, self._learn)

    async def _learn(self, topic: str, bundle: bytes) -> Decision:
        await trio.lowlevel.checkpoint()
        self.learnt.append((topic, bundle))
        self.book.add(CATALOG)
        return Decision.ACCEPT


async def accept(_peer: PeerId, _data: bytes) -> Decision:
    await trio.lowlevel.checkpoint()
    return Decision.ACCEPT


@asynccontextmanager
async def scene(
    network: MemoryNetwork, replies: list[bytes | None], origins: list[bytes] | None = None
) -> AsyncIterator[tuple[Seeker, list[bytes]]]:
    """A seeker, a peer per reply (None: it does not serve this), and what they are asked."""
    asked: list[bytes] = []
    peers: list[PeerId] = []
    async with trio.open_nursery() as nursery, network.open_swarm() as swarm:
        await swarm.join(TOPIC, accept)
        for number, reply in enumerate(replies):
            origin = origins[number] if origins else None
            peer = await nursery.start(holder, network, reply, asked, origin)
            peers.append(await swarm.dial(peer))
        await swarm.wait_for_peers(TOPIC, len(replies))
        seeker = Seeker(swarm)
        seeker.peers = peers
        nursery.start_soon(seeker.exchange.run)
        yield seeker, asked
        nursery.cancel_scope.cancel()


async def holder(
    network: MemoryNetwork,
    reply: bytes | None,
    asked: list[bytes],
    origin: bytes | None = None,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    async def answer(_peer: PeerId, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        asked.append(body)
        if reply == SLOW:
            await trio.sleep(3600)
        return reply or b""

    async with network.open_swarm(origin=origin) as swarm:
        await swarm.join(TOPIC, accept)
        if reply is not None:
            swarm.serve(PROTOCOL, answer, request_max=32)
        task_status.started(swarm.addrs[0])
        await trio.sleep_forever()


async def test_a_catalog_is_found_at_whichever_peer_has_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(MemoryNetwork(), [None, b"", CATALOG.raw]) as (seeker, asked):
        seeker.exchange.want(CATALOG.id, TOPIC)
        seeker.exchange.want(CATALOG.id, TOPIC)
        await trio.sleep(PAUSES.least)
    assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]
    assert set(asked) == {CATALOG.id}


async def test_the_forwarder_is_asked_first(autojump_clock: trio.testing.MockClock) -> None:
    async with scene(MemoryNetwork(), [CATALOG.raw] * 20) as (seeker, asked):
        seeker.swarm._dialled = set()
        forwarder = sorted(seeker.swarm.peers(TOPIC))[7]
        seeker.exchange.want(CATALOG.id, TOPIC, forwarder)
        await trio.sleep(PAUSES.least)
    assert len(asked) == 1
    assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]


async def test_attack_peers_that_delay_their_replies_delay_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All but one of the peers that are asked reply after an hour."""
    slow = [SLOW] * (PEERS_MAX - 1)
    async with scene(MemoryNetwork(), [*slow, CATALOG.raw]) as (seeker, _):
        began = trio.current_time()
        seeker.exchange.want(CATALOG.id, TOPIC)
        while not seeker.learnt:
            await trio.sleep(0.1)
        assert trio.current_time() - began < REPLY_TIME / 2


@pytest.mark.parametrize("tie", ["direct", "dialled"])
async def test_attack_silent_sybils_that_forward_first_do_not_keep_the_catalog_from_a_late_joiner(
    autojump_clock: trio.testing.MockClock, tie: str
) -> None:
    """60 peers, each of its own network, have forwarded a bundle and delay their replies."""
    async with scene(MemoryNetwork(), [SLOW] * 60 + [CATALOG.raw]) as (seeker, _):
        relay = seeker.peers[60]
        seeker.swarm._dialled = {relay} if tie == "dialled" else set()
        if tie == "direct":
            seeker.swarm.keep(f"/memory/{relay}/p2p/{relay}")
        for peer in seeker.peers[:60]:
            seeker.exchange.want(CATALOG.id, TOPIC, peer)
        await trio.sleep(1)
        assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]


async def test_attack_a_crowd_of_one_network_does_not_take_all_places_of_forwarders(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """100 peers of one network forward a bundle each before an honest peer does."""
    replies, origins = [b""] * 100 + [CATALOG.raw], [b"crowd"] * 100 + [b"honest"]
    async with scene(MemoryNetwork(), replies, origins) as (seeker, asked):
        seeker.swarm._dialled = set()
        for peer in seeker.peers:
            seeker.exchange.want(CATALOG.id, TOPIC, peer)
        await trio.sleep(2 * PAUSES.least)
        assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]
        assert len(asked) <= 2 * PEERS_MAX


@pytest.mark.parametrize("tie", ["stranger", "dialled", "direct"])
async def test_attack_vain_attempts_do_not_postpone_asking_who_forwards_later(
    autojump_clock: trio.testing.MockClock, tie: str
) -> None:
    """Sybils were asked in vain until the pauses were long. Then a peer that has the catalog by now
    forwards a bundle."""
    async with scene(MemoryNetwork(), [b""] * 3 + [None]) as (seeker, _):
        late = seeker.peers[3]
        seeker.swarm._dialled = {late} if tie == "dialled" else set()
        if tie == "direct":
            seeker.swarm.keep(f"/memory/{late}/p2p/{late}")
        if tie == "stranger":
            seeker.swarm._network._unlink(seeker.swarm, late)
        for peer in seeker.peers[:3]:
            seeker.exchange.want(CATALOG.id, TOPIC, peer)
        await trio.sleep(700)
        seeker.swarm._network._swarms[late].serve(PROTOCOL, served, request_max=32)
        await seeker.swarm.dial(f"/memory/{late}/p2p/{late}")
        await seeker.swarm.wait_for_peers(TOPIC, 4)
        seeker.exchange.want(CATALOG.id, TOPIC, late)
        await trio.sleep(1)
        assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]


async def served(_peer: PeerId, _body: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return CATALOG.raw


async def test_catalogs_that_are_listed_no_more_make_room_for_those_that_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = random.Random(1)
    ids = [names.randbytes(32) for _ in range(WANTED_MAX)]
    async with scene(MemoryNetwork(), [CATALOG.raw]) as (seeker, _):
        list_ids(seeker.book, *ids, time=1)
        for one in ids:
            seeker.exchange.want(one, TOPIC)
        await trio.sleep(600)
        list_ids(seeker.book, CATALOG.id, time=2)
        seeker.exchange.want(CATALOG.id, TOPIC)
        await trio.sleep(1)
        assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]


async def test_what_waits_for_a_catalog_that_is_known_by_now_is_judged_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(MemoryNetwork(), [b""]) as (seeker, asked):
        judged: list[tuple[str, bytes]] = []
        seeker.swarm.judge_again = (  # type: ignore[method-assign]
            lambda topic, on: len(judged.append((topic, on)) or ())
        )
        seeker.exchange.want(CATALOG.id, TOPIC)
        seeker.book.add(CATALOG)
        await trio.sleep(1)
        assert (asked, judged) == ([], [(TOPIC, CATALOG.id)])


@pytest.mark.parametrize("lie", [OTHER.raw, CATALOG.raw[:-1], b"\xff" * 99, CATALOG.raw + b"\x00"])
async def test_attack_a_peer_that_answers_with_something_else(
    autojump_clock: trio.testing.MockClock, lie: bytes
) -> None:
    async with scene(MemoryNetwork(), [lie]) as (seeker, asked):
        seeker.exchange.want(CATALOG.id, TOPIC)
        await trio.sleep(PAUSES.least / 2)
        assert len(asked) == 1
    assert seeker.learnt == []


@pytest.mark.parametrize("count", [300, 101_000])
async def test_attack_invented_catalogs_do_not_block_the_listed_one(
    autojump_clock: trio.testing.MockClock, count: int
) -> None:
    names = random.Random(1)
    async with scene(MemoryNetwork(), [CATALOG.raw] * 2) as (seeker, asked):
        for _ in range(count):
            seeker.exchange.want(names.randbytes(32), TOPIC)
        seeker.exchange.want(CATALOG.id, TOPIC)
        await trio.sleep(PAUSES.least / 2)
        assert set(asked) == {CATALOG.id}
        assert seeker.learnt == [(TOPIC, pack_notice(CATALOG.raw))]


async def test_attack_listed_catalogs_that_nobody_has_are_asked_for_a_few_times(
    autojump_clock: trio.testing.MockClock,
) -> None:
    names = random.Random(1)
    ids = [names.randbytes(32) for _ in range(WANTED_MAX)]
    async with scene(MemoryNetwork(), [b""] * 2) as (seeker, asked):
        list_ids(seeker.book, *ids, time=1)
        for _ in range(3):
            for one in ids:
                seeker.exchange.want(one, TOPIC)
        await trio.sleep(86_400)
        assert len(asked) == WANTED_MAX * 2 * ATTEMPTS_MAX
        # After the last attempt a catalog is forgotten, and is looked for if it is named again.
        seeker.exchange.want(ids[0], TOPIC)
        await trio.sleep(PAUSES.least)
        assert len(asked) > WANTED_MAX * 2 * ATTEMPTS_MAX


async def test_a_catalog_that_is_listed_no_more_is_not_looked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(MemoryNetwork(), [b""]) as (seeker, asked):
        seeker.exchange.want(CATALOG.id, TOPIC)
        await trio.sleep(1)
        list_ids(seeker.book, time=1)
        await trio.sleep(86_400)
        assert len(asked) == 2


async def test_it_answers_only_for_catalogs_in_the_book(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()

    async def learn(_topic: str, _bundle: bytes) -> None:
        raise AssertionError("nothing was wanted")

    async with network.open_swarm() as swarm, network.open_swarm() as asker:
        book = CatalogBook([TOPIC])
        known: Catalog = CATALOG
        book.add(known, given=True)
        CatalogExchange(swarm, book, random.Random(1).random, learn).serve()
        await asker.dial(swarm.addrs[0])
        for body, expected in [(known.id, known.raw), (OTHER.id, b""), (b"", b""), (b"x", b"")]:
            reply = await asker.request(
                swarm.peer_id, PROTOCOL, body, reply_max=100_000, timeout=5.0
            )
            assert reply == expected

"""Records from peers: what waits for one is judged again once somebody was asked for it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.relay.record_exchange import (
    ASK_EVERY,
    PEERS_MAX,
    PROTOCOL,
    RECORDS_MAX,
    REPLY_MAX,
    REQUEST_MAX,
    ROUNDS_MAX,
    ROUTINE_EVERY,
    WAITING_MAX,
    RecordExchange,
    decode_records,
    encode_records,
    records_of,
)
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Item, public_key
from methrics.schema.wire.limits import RECORD_MAX, TIME_MAX
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.topic import topic as topic_of
from methrics.schema.wire.verdict import Decision

SEED = b"s" * 32
TOPIC = topic_of("example", public_key(SEED))


def record(time: int, *catalogs: bytes) -> Item:
    return sign_record(catalogs, SEED, time=time, expires=TIME_MAX)


def booked(*items: Item) -> CatalogBook:
    book = CatalogBook([TOPIC])
    for item in items:
        book.records.add(item, decode_record(item.payload))
    return book


@given(st.lists(st.binary(max_size=200), max_size=RECORDS_MAX))
def test_replies_come_back(records: list[bytes]) -> None:
    assert decode_records(encode_records(records)) == records


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x9b" + b"\xff" * 8)
def test_any_bytes_get_a_value_or_a_reason(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        decode_records(data)


@pytest.mark.parametrize("value", [{}, ["text"], [b""] * (RECORDS_MAX + 1), [[b""]]])
def test_a_reply_is_a_few_byte_strings(value: object) -> None:
    with pytest.raises(RefusedError):
        decode_records(encode(value))


def test_the_largest_reply_fits() -> None:
    assert len(encode_records([bytes(RECORD_MAX)] * RECORDS_MAX)) <= REPLY_MAX


def test_the_records_of_a_topic_are_the_newest_and_a_proof() -> None:
    assert records_of(booked(), TOPIC) == []
    one, two = record(600), record(1200)
    assert records_of(booked(one), TOPIC) == [one.raw]
    assert records_of(booked(one, two), TOPIC) == [two.raw, one.raw]
    healing = sign_record([], SEED, time=1800, expires=TIME_MAX, previous=[one.id, two.id])
    assert records_of(booked(one, two, healing), TOPIC) == [healing.raw]


def test_attack_the_branch_of_a_thief_does_not_hide_the_head_of_the_owners_branch() -> None:
    """The owner's last record may hold a revocation that nothing else has."""
    root = record(600)
    branches = [
        (first, sign_record([], SEED, time=time + 600, expires=TIME_MAX, previous=[first.id]))
        for time in (1200, 2400)
        for first in [sign_record([], SEED, time=time, expires=TIME_MAX, previous=[root.id])]
    ]
    (owner, revoking), (thief, newest) = branches
    book = booked(root, owner, revoking, thief, newest)
    assert records_of(book, TOPIC) == [newest.raw, owner.raw, thief.raw, revoking.raw]


class Asker:
    """A node whose record is old, and the messages that wait for a newer one."""

    def __init__(self, swarm: MemorySwarm) -> None:
        self.swarm = swarm
        self.book = booked(record(600))
        self.waiting: list[tuple[bytes, PeerId]] = []
        self.ignored: list[bytes] = []
        self.learnt: list[bytes] = []
        swarm.judge_again = self._judge_again  # type: ignore[method-assign]
        self.exchange = RecordExchange(
            swarm, self.book, [TOPIC], random.Random(1).random, self._learn
        )

    async def _learn(self, topic: str, bundle: bytes) -> None:
        await trio.lowlevel.checkpoint()
        assert topic == TOPIC
        self.learnt.append(bundle)

    def arrive(self, message: bytes, peer: PeerId) -> None:
        """Judge a message that is not listed, as the swarm has a validator do."""
        if self.exchange.waits(TOPIC, message, peer):
            self.waiting.append((message, peer))
        else:
            self.ignored.append(message)

    def _judge_again(self, topic: str, on: bytes) -> int:
        waiting, self.waiting = self.waiting, []
        for message, peer in waiting:
            self.arrive(message, peer)
        return len(waiting)


class Holders:
    """Peers that serve records; `asked` are those that were asked, and when."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, PeerId]] = []

    async def run(
        self,
        network: MemoryNetwork,
        reply: bytes | None,
        origin: bytes | None,
        task_status: Any = trio.TASK_STATUS_IGNORED,
    ) -> None:
        async with network.open_swarm(origin=origin) as swarm:

            async def answer(_peer: PeerId, body: bytes) -> bytes:
                await trio.lowlevel.checkpoint()
                assert body == TOPIC.encode()
                self.asked.append((trio.current_time(), swarm.peer_id))
                return reply or b""

            await swarm.join(TOPIC, accept)
            if reply is not None:
                swarm.serve(PROTOCOL, answer, request_max=REQUEST_MAX)
            task_status.started(swarm)
            await trio.sleep_forever()


async def accept(_peer: PeerId, _data: bytes) -> Decision:
    await trio.lowlevel.checkpoint()
    return Decision.ACCEPT


@contextlib.asynccontextmanager
async def scene(
    *replies: bytes | None, origins: list[bytes] | None = None
) -> AsyncIterator[tuple[Asker, Holders, list[PeerId]]]:
    network, holders = MemoryNetwork(), Holders()
    async with trio.open_nursery() as nursery, network.open_swarm() as swarm:
        await swarm.join(TOPIC, accept)
        peers = []
        for number, reply in enumerate(replies):
            origin = origins[number] if origins else None
            holder = await nursery.start(holders.run, network, reply, origin)
            peers.append(await swarm.dial(holder.addrs[0]))
        await swarm.wait_for_peers(TOPIC, len(replies))
        asker = Asker(swarm)
        nursery.start_soon(asker.exchange.run)
        yield asker, holders, peers
        nursery.cancel_scope.cancel()


NEWER = record(1200, b"c" * 32)
REPLY = encode_records([NEWER.raw])


async def test_a_node_that_starts_asks_two_peers_and_again_every_hour(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(REPLY, REPLY, REPLY) as (asker, holders, _):
        await trio.sleep(1)
        assert len(holders.asked) == PEERS_MAX
        assert asker.learnt == [pack_notice(NEWER.raw)] * PEERS_MAX
        await trio.sleep(2 * ROUTINE_EVERY)
        assert 2 * PEERS_MAX <= len(holders.asked) <= 4 * PEERS_MAX


async def test_a_bundle_that_is_not_listed_waits_until_its_forwarder_was_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(*[encode_records([])] * 20) as (asker, holders, peers):
        await trio.sleep(1)
        asker.arrive(b"bundle", peers[13])
        await trio.sleep(ASK_EVERY - 2)
        assert asker.ignored == [], "peers were asked before it came, and not after"
        await trio.sleep(5)
        assert asker.ignored == [b"bundle"]
        assert peers[13] in {peer for _, peer in holders.asked[PEERS_MAX:]}


async def test_a_bundle_that_comes_while_peers_are_asked_waits_for_the_next_round(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(encode_records([])) as (asker, _, peers):
        await trio.sleep(ASK_EVERY + 1)
        asker.arrive(b"first", peers[0])
        await trio.sleep(0.001)
        asker.arrive(b"second", peers[0])
        await trio.sleep(5)
        assert asker.ignored == [b"first"]
        await trio.sleep(ASK_EVERY)
        assert asker.ignored == [b"first", b"second"]


async def test_what_was_ignored_waits_again_when_it_comes_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(encode_records([])) as (asker, _, peers):
        for round in range(3):
            asker.arrive(b"bundle", peers[0])
            await trio.sleep(3 * ASK_EVERY)
            assert len(asker.ignored) == round + 1


async def test_attack_a_crowd_of_one_network_does_not_keep_the_honest_forwarder_from_being_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """60 peers of one network forward bundles of invented catalogs and have no newer record."""
    replies = [encode_records([record(600).raw])] * 60 + [REPLY]
    origins = [b"crowd"] * 60 + [b"honest"]
    async with scene(*replies, origins=origins) as (asker, _, peers):
        await trio.sleep(1)
        for number, peer in enumerate(peers[:60]):
            asker.arrive(b"invented %d" % number, peer)
        asker.arrive(b"honest", peers[60])
        await trio.sleep(ROUNDS_MAX * ASK_EVERY)
        assert pack_notice(NEWER.raw) in asker.learnt


async def test_attack_a_table_full_of_strangers_bundles_has_room_for_an_honest_forwarder(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """20 peers, each of its own network, forward 100 bundles each before the honest peer does."""
    replies = [encode_records([])] * 20 + [REPLY]
    origins = [b"%d" % number for number in range(20)] + [b"honest"]
    async with scene(*replies, origins=origins) as (asker, _, peers):
        asker.swarm._dialled = set()
        await trio.sleep(1)
        for number in range(2000):
            asker.arrive(b"invented %d" % number, peers[number % 20])
        asker.arrive(b"honest", peers[20])
        room = asker.exchange._topics[TOPIC].room.waiting
        assert len(room) <= WAITING_MAX
        assert peers[20] in {one.forwarder for one in room.values()}


@pytest.mark.parametrize("crowd", [20, 60])
@pytest.mark.parametrize("tie", ["direct", "dialled"])
async def test_attack_silent_sybils_of_many_networks_do_not_keep_the_record_from_a_late_joiner(
    autojump_clock: trio.testing.MockClock, crowd: int, tie: str
) -> None:
    """Each of them dials from a network of its own, and forwards bundles of invented catalogs."""
    async with scene(*[encode_records([])] * crowd, REPLY) as (asker, holders, peers):
        relay = peers[-1]
        asker.swarm._dialled = {relay}
        if tie == "direct":
            asker.swarm.keep(f"/memory/{relay}/p2p/{relay}")
        await trio.sleep(1)
        assert relay in {peer for _, peer in holders.asked}
        for number, peer in enumerate(peers[:-1]):
            asker.arrive(b"invented %d" % number, peer)
        asker.arrive(b"honest", relay)
        await trio.sleep(ASK_EVERY + 2)
        assert [peer for _, peer in holders.asked].count(relay) == 2


async def test_attack_a_round_without_a_direct_peer_or_the_forwarder_decides_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """While 60 silent peers are asked, one after the other, an honest bundle goes on waiting."""
    async with scene(*[encode_records([])] * 60, REPLY) as (asker, holders, peers):
        asker.swarm._dialled = set()
        await trio.sleep(1)
        for number, peer in enumerate(peers):
            asker.arrive(b"of %d" % number, peer)
        await trio.sleep(4 * ASK_EVERY)
        asked = {peer for _, peer in holders.asked[PEERS_MAX:]}
        assert set(asker.ignored) == {b"of %d" % peers.index(peer) for peer in asked}
        assert len(asked) < len(peers)


async def test_attack_a_direct_peer_that_does_not_answer_decides_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(None, encode_records([])) as (asker, _, (direct, _)):
        asker.swarm.keep(f"/memory/{direct}/p2p/{direct}")
        await trio.sleep(1)
        asker.arrive(b"bundle", "somebody who has gone")
        await trio.sleep(6 * ASK_EVERY)
        assert asker.ignored == []


async def test_attack_one_undecodable_record_does_not_take_the_others_with_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    catalog = b"c" * 32
    reply = encode_records([b"no item", NEWER.raw, b"", record(1800, catalog).raw])
    async with scene(reply) as (asker, _, _):
        await trio.sleep(1)
        assert asker.learnt == [pack_notice(NEWER.raw), pack_notice(record(1800, catalog).raw)]


async def test_attack_invented_catalogs_cost_two_requests_per_half_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(*[encode_records([])] * 10) as (asker, holders, peers):
        began = trio.current_time()
        for number in range(101_000):
            asker.arrive(number.to_bytes(4, "big"), peers[number % 10])
            if number % 1000 == 0:
                await trio.sleep(ASK_EVERY / 10)
        rounds = (trio.current_time() - began) / ASK_EVERY
        assert len(holders.asked) <= PEERS_MAX * (rounds + 1)
        assert len(asker.exchange._topics[TOPIC].room.waiting) <= 1024


@pytest.mark.parametrize(
    "lie", [b"", b"\xff", encode(["text"]), encode([b"no item"]), None], ids=repr
)
async def test_attack_a_peer_that_answers_with_something_else(
    autojump_clock: trio.testing.MockClock, lie: bytes | None
) -> None:
    async with scene(lie) as (asker, _, peers):
        asker.arrive(b"bundle", peers[0])
        await trio.sleep(3 * ASK_EVERY)
        assert (asker.learnt, asker.ignored) == ([], [b"bundle"])


async def test_it_answers_for_its_topics_only(autojump_clock: trio.testing.MockClock) -> None:
    async with scene(None) as (asker, _, _), asker.swarm._network.open_swarm() as other:
        asker.exchange.serve()
        peer = await other.dial(asker.swarm.addrs[0])
        for topic, expected in (
            (TOPIC.encode(), [record(600).raw]),
            (b"/methrics/1/other-aaaaaaaaaaaaaaaa/cbor", []),
            (b"\xff", []),
            (b"", []),
        ):
            reply = await other.request(peer, PROTOCOL, topic, reply_max=REPLY_MAX, timeout=5)
            assert decode_records(reply) == expected

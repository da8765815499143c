"""Exits that are asked without an entry: what they say, and what they do not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from tests.node.publish.way_world import CATALOG, RECORD, TOPIC, Relay, report, serve_on
from trio.testing import MockClock

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.ohttp import inner
from methrics.node.publish.exit_client import NO_EXIT, ExitClient
from methrics.node.publish.record_relays import NOT_CARRIED, ask_relays, submit_all
from methrics.node.relay.doors import BOXES_MAX
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.verdict import Reason


@asynccontextmanager
async def served(*relays: Relay) -> AsyncIterator[MemorySwarm]:
    """A swarm of somebody who can reach the relays."""
    network = MemoryNetwork(rng=random.Random(1))
    async with trio.open_nursery() as nursery, network.open_swarm(listen=False) as app:

        async def serve(relay: Relay, *, task_status: trio.TaskStatus[None]) -> None:
            async with network.open_swarm(key=public_key(relay.seed)) as swarm:
                serve_on(swarm, relay, [one for one in relays if one is not relay])
                task_status.started()
                await trio.sleep_forever()

        for relay in relays:
            await nursery.start(serve, relay)
        yield app
        nursery.cancel_scope.cancel()


async def test_each_relay_tells_its_own_records(autojump_clock: MockClock) -> None:
    one, two, foreign, entry = (Relay(number) for number in range(4))
    two.records = []
    foreign.topics = ("/methrics/1/other",)
    entry.roles = ("entry",)
    relays = (one, two, foreign, entry)
    async with served(*relays) as app:
        gone = "/memory/gone/p2p/gone"
        told = await ask_relays([relay.addr for relay in relays] + [gone], TOPIC, "", app)
    assert [(found.raws, found.error, found.foreign) for found in told] == [
        ((RECORD.raw,), "", False),
        ((), "", False),
        ((), NOT_CARRIED, True),
        ((), NO_EXIT, True),
        ((), "the peer does not answer at that address", False),
    ]


async def test_the_topic_of_a_namespace_is_found(autojump_clock: MockClock) -> None:
    relay = Relay(1)
    async with served(relay) as app:
        (told,) = await ask_relays([relay.addr], "", CATALOG.short_key, app)
        assert (told.topic, told.raws) == (TOPIC, (RECORD.raw,))
        (told,) = await ask_relays([relay.addr], "", "another", app)
        assert (told.topic, told.error) == ("", NOT_CARRIED)


async def test_a_full_exit_is_asked_again(autojump_clock: MockClock) -> None:
    relay = Relay(1, Reason.QUOTA)
    relay.again = 30
    _, raw = report(1)
    async with served(relay) as app, trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(45)
            relay.say = Reason.OK

        nursery.start_soon(later)
        assert await submit_all([relay.addr], [raw], app) == {relay.addr: ""}
    assert relay.items == [raw] * 3


async def test_a_refusal_is_told_and_ends_it(autojump_clock: MockClock) -> None:
    relay = Relay(1, Reason.FORGED)
    async with served(relay) as app:
        said = await submit_all([relay.addr], [report(1)[1], report(2)[1]], app)
    assert said == {relay.addr: "it refuses: forged"}
    assert len(relay.items) == 2


async def test_many_questions_take_several_requests(autojump_clock: MockClock) -> None:
    relay = Relay(1)
    items = [report(number)[1] for number in range(BOXES_MAX + 6)]
    async with served(relay) as app:
        answers = await ExitClient(relay.addr, app).ask(inner.BOX, items)
    assert [one.reason for one in answers] == [Reason.OK] * len(items)
    assert relay.items == items


@pytest.mark.parametrize("says", ["garbage", "closed"])
async def test_attack_an_exit_that_breaks_the_rules_is_refused(
    autojump_clock: MockClock, says: str
) -> None:
    relay = Relay(1, says)
    async with served(relay) as app:
        with pytest.raises(RefusedError):
            await ExitClient(relay.addr, app).ask(inner.RECORDS, [TOPIC.encode()])


async def test_attack_a_descriptor_of_another_relay_is_not_taken_for_the_own(
    autojump_clock: MockClock,
) -> None:
    relay, other = Relay(1), Relay(2)
    async with served(relay) as app:
        relay.id = other.id
        relay.seed = other.seed
        with pytest.raises(RefusedError, match=NO_EXIT):
            await ExitClient(relay.addr, app).relay()

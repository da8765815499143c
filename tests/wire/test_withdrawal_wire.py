"""A withdrawal over real sockets, where a relay is slow, hangs, or is no relay at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from publish_making import BASE, LONG, NAMESPACE, Person
from tests.node.publish.way_world import Relay, route_over

from methrics.node.clock import ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import PeerId
from methrics.node.outbox.rows import STRUCK, Receipt
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.routes import Route
from methrics.node.publish.watching import WATCH_EVERY
from methrics.node.relay import doors, visits
from methrics.node.relay.doors import Descriptors, DoorReply

pytestmark = pytest.mark.wire


class Gated(Relay):
    """A relay on a real socket, which waits at one point until a test lets it go on."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked, self.goes = trio.Event(), trio.Event()
        self.handed, self.finish = trio.Event(), trio.Event()

    async def describe(self, _peer: PeerId, _body: bytes) -> bytes:
        self.asked.set()
        await self.goes.wait()
        return doors.encode_descriptors(Descriptors(self.time, (self.descriptor(),)))

    async def forward(self, _peer: PeerId, body: bytes) -> bytes:
        before = len(self.items)
        asked = doors.decode_entry_request(body)
        answers = tuple(self.serve(box, [self.descriptor()]) for box in asked.boxes)
        if len(self.items) > before:
            self.handed.set()
            await self.finish.wait()
        return doors.encode_reply(DoorReply(answers))

    async def visit(self, _peer: PeerId, body: bytes) -> bytes:
        before = len(self.items)
        asked = visits.decode_visit_request(body)
        for one in asked.boxes:
            self.answers[visits.handle_of(one.box)] = self.serve(one.box, [self.descriptor()])
        if len(self.items) > before:
            self.handed.set()
            await self.finish.wait()
        return visits.encode_visit_reply(visits.VisitReply(self.told(asked.asked), self.time))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Gated, str]]:
    relay = Gated()
    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"], seed=relay.seed) as swarm:
        relay.addr = swarm.addrs[0]
        swarm.serve(doors.DESCRIPTORS, relay.describe, request_max=0)
        swarm.serve(visits.VISIT, relay.visit, request_max=visits.REQUEST_SIZE)
        swarm.serve(doors.ENTRY, relay.forward, request_max=doors.ENTRY_REQUEST_MAX)
        yield relay, relay.addr


@pytest.fixture
async def person(tmp_path: Path) -> Person:
    found = Person(tmp_path)
    found.clock = ManualClock(BASE)  # type: ignore[assignment]  # worker threads read it too
    grant(found.paths, NAMESPACE, ["heartbeat"], now=found.clock.now())
    assert found.record()
    found.clock.advance(LONG)  # type: ignore[attr-defined]
    return found


async def publish(person: Person, address: str, timeout: float = 30) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Route]:
        async with open_swarm() as swarm:
            yield route_over(swarm, [address], clock=person.clock, timeout=timeout)

    settings = PublisherSettings(entry=Entry(relays=(address,)), once=True)
    await run_publisher(person.paths, NAMESPACE, settings, clock=person.clock, open_route=opened)


def receipts(person: Person) -> list[Receipt]:
    journal = person.journal
    try:
        return journal.receipts()
    finally:
        journal.close()


@pytest.mark.shows("METH-15")
async def test_meth_15_nothing_leaves_after_a_withdrawal_while_a_relay_is_slow(
    person: Person,
) -> None:
    with trio.fail_after(60):
        async with serving() as (relay, address), trio.open_nursery() as nursery:
            nursery.start_soon(publish, person, address)
            await relay.asked.wait()
            person.refuse("heartbeat")
            relay.goes.set()
    assert relay.items == []
    assert receipts(person) == []


@pytest.mark.shows("METH-15")
async def test_the_connection_to_a_relay_that_hangs_is_cut_after_a_withdrawal(
    person: Person,
) -> None:
    with trio.fail_after(60):
        async with serving() as (relay, address):
            relay.goes.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish, person, address)
                await relay.handed.wait()
                person.refuse("heartbeat")
                before = trio.current_time()
            assert trio.current_time() - before < 25 + WATCH_EVERY, "not after the time limit"
            relay.finish.set()
    (one,) = receipts(person)
    assert (one.state, one.attempts, one.may_have_left) == (STRUCK, 1, True)


async def test_a_host_that_accepts_and_reads_nothing_gets_nothing(person: Person) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, silent, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            peer = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
            await publish(person, f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}", timeout=1)
            nursery.cancel_scope.cancel()
    assert [(one.attempts, one.may_have_left) for one in receipts(person)] == [(0, False)]

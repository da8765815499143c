"""A withdrawal takes effect before the next byte leaves, also where a relay is slow or hangs."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from publish_making import BASE, CATALOG, LONG, NAMESPACE, RECORD, TOPIC, Person, Wire
from tests.node.publish.way_world import HANG_TIME, Relay, route_over, serve_on
from trio.testing import MockClock

from methrics.node.consent.ledger import grant
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.outbox.erasures import Erasures, SignedErasure
from methrics.node.outbox.rows import ACKNOWLEDGED, STRUCK, Receipt
from methrics.node.publish.direct_route import DirectRoute
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings
from methrics.node.publish.routes import Route
from methrics.node.publish.watching import WATCH_EVERY
from methrics.node.relay.record_exchange import PROTOCOL, REQUEST_MAX, encode_records
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.verdict import Decision, Reason

ENTRY = Entry(relays=("/p2p/1",), peers=("/p2p/1",))


@pytest.fixture
def person(tmp_path: Path) -> Person:
    found = Person(tmp_path)
    types = ("heartbeat", "system", "module")
    grant(found.paths, NAMESPACE, types, now=BASE, routes=("relay", "direct"))
    return found


class SlowRelay(Relay):
    """A relay and topic peer that keeps what it gets, and may never answer."""

    def __init__(self, number: int, *, hangs: bool = False) -> None:
        super().__init__(number, "hangs" if hangs else Reason.OK)

    async def tell(self, _peer: PeerId, _body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return encode_records([RECORD.raw])

    async def hear(self, _peer: PeerId, message: bytes) -> Decision:
        await trio.lowlevel.checkpoint()
        self.items += [raw for raw in unpack(message).items if raw != CATALOG.raw]
        return Decision.ACCEPT


@asynccontextmanager
async def relays(
    latency: float, hangs: tuple[bool, ...] = (False,)
) -> AsyncIterator[tuple[list[SlowRelay], Callable[[str], Wire]]]:
    """Relays at the end of slow lines, and what makes a route to them."""
    network = MemoryNetwork(rng=random.Random(1), latency=(latency, latency))
    async with trio.open_nursery() as nursery:
        swarms = [
            await nursery.start(partial(hold, network), name=f"relay{n}") for n in range(len(hangs))
        ]
        found = [SlowRelay(number, hangs=hang) for number, hang in enumerate(hangs)]
        for swarm, one in zip(swarms, found, strict=True):
            serve_on(swarm, one, [other for other in found if other is not one])
            swarm.serve(PROTOCOL, one.tell, request_max=REQUEST_MAX)
            await swarm.join(TOPIC, one.hear)

        def wire(way: str) -> Wire:
            @asynccontextmanager
            async def opened() -> AsyncIterator[Route]:
                async with network.open_swarm(listen=False) as app:
                    addrs = [one.addr for one in found]
                    if way == "direct":
                        yield DirectRoute(app, addrs)
                    else:
                        yield route_over(app, addrs[:1])

            made = Wire()
            made.open = opened  # type: ignore[method-assign]
            return made

        yield found, wire
        nursery.cancel_scope.cancel()


async def hold(
    network: MemoryNetwork, *, task_status: trio.TaskStatus[MemorySwarm] = trio.TASK_STATUS_IGNORED
) -> None:
    async with network.open_swarm() as swarm:
        task_status.started(swarm)
        await trio.sleep_forever()


def receipts(person: Person) -> list[Receipt]:
    journal = person.journal
    found = journal.receipts()
    journal.close()
    return found


def settings(way: str) -> PublisherSettings:
    return PublisherSettings(route=way, entry=ENTRY, once=True)


@pytest.mark.shows("METH-15")
@pytest.mark.parametrize("way", ["relay", "direct"])
async def test_meth_15_nothing_leaves_that_was_withdrawn_while_the_connection_was_made(
    autojump_clock: MockClock, person: Person, way: str
) -> None:
    person.record()
    person.record("system", os="linux")
    await trio.sleep(LONG)
    async with relays(4) as ([relay], wire), trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire(way), settings(way))
        await trio.sleep(2.5)
        person.refuse("heartbeat", "system")
    assert relay.items == []
    assert receipts(person) == [], "what never left is deleted, not kept as struck"


@pytest.mark.shows("METH-15")
@pytest.mark.parametrize("way", ["relay", "direct"])
async def test_only_the_withdrawn_type_stays_behind(
    autojump_clock: MockClock, person: Person, way: str
) -> None:
    person.record()
    person.record("system", os="linux")
    await trio.sleep(LONG)
    async with relays(0.3) as ([relay], wire), trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire(way), settings(way))
        await trio.sleep(0.2)
        person.refuse("heartbeat")
    assert len(relay.items) == 1
    assert [(one.type, one.state) for one in receipts(person)] == [("system", ACKNOWLEDGED)]


async def test_a_route_withdrawn_while_the_connection_was_made_is_not_used(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record()
    await trio.sleep(LONG)
    async with relays(0.3) as ([relay], wire), trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire("direct"), settings("direct"))
        await trio.sleep(0.2)
        person.agree("heartbeat")
    assert relay.items == []
    assert [(one.attempts, one.state) for one in receipts(person)] == [(0, "due")]


@pytest.mark.shows("METH-15")
async def test_a_relay_that_hangs_is_left_when_consent_goes(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record()
    await trio.sleep(LONG)
    async with relays(0.1, hangs=(True,)) as ([relay], wire), trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire("relay"), settings("relay"))
        await trio.sleep(5)
        assert len(relay.items) == 1
        person.refuse("heartbeat")
        before = trio.current_time()
    assert trio.current_time() - before <= WATCH_EVERY + 0.1
    (one,) = receipts(person)
    assert (one.state, one.attempts, one.may_have_left) == (STRUCK, 1, True)


@pytest.mark.shows("METH-15")
async def test_no_further_exit_is_tried_after_a_withdrawal(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record()
    await trio.sleep(LONG)
    hangs = (False, True, True, True)
    async with relays(0.1, hangs) as (found, wire), trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire("relay"), settings("relay"))
        while not any(one.items for one in found):
            await trio.sleep(0.1)
        await trio.sleep(HANG_TIME - 0.5)  # then the entry gives up the first exit
        person.refuse("heartbeat")
    assert sorted(len(one.items) for one in found) == [0, 0, 0, 1]


async def test_an_attempt_is_counted_when_bytes_leave(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record()
    await trio.sleep(LONG)
    await person.publish(Wire())
    assert [one.attempts for one in receipts(person)] == [1]
    person.record()
    async with relays(0.1, hangs=(False, True, True)) as (found, wire):
        await trio.sleep(LONG)
        await person.publish(wire("relay"), settings("relay"))
    assert sorted(len(one.items) for one in found) == [0, 0, 1]
    assert [one.attempts for one in receipts(person)] == [1, 1]


async def test_where_no_relay_answers_nothing_left(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record()
    await trio.sleep(LONG)
    async with relays(40) as ([relay], wire):  # slower than the time limit
        await person.publish(wire("relay"), settings("relay"))
    assert relay.items == []
    assert [(one.attempts, one.may_have_left) for one in receipts(person)] == [(0, False)]


async def test_a_report_with_a_field_that_was_withdrawn_does_not_leave(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record("system", os="linux", arch="aarch64")
    await trio.sleep(LONG)
    async with relays(40) as (_, wire):
        await person.publish(wire("relay"), settings("relay"))  # made, but no relay answered
    person.agree("system", fields=["arch"])
    taking = Wire()
    await trio.sleep(3600)
    await person.publish(taking)
    assert taking.sent == []
    assert person.states() == {STRUCK: 1}
    assert person.journal.dropped() == {"field-withdrawn": 1}


async def test_an_erasure_waits_where_the_machine_may_not_send_any_more(
    autojump_clock: MockClock, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.record()
    await trio.sleep(LONG)
    await person.publish(Wire())
    (sent,) = receipts(person)
    journal = person.journal
    from methrics.node.report.erasure import sign_all

    erasures = Erasures(journal)
    now = person.clock.now()
    asked = sign_all([sent], erasures.seed_of, now=now, window=0, rng=random.Random(1).random)
    assert all(isinstance(one, SignedErasure) for one in asked)
    erasures.request(asked, now)
    async with relays(0.3) as ([relay], wire), trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire("relay"), settings("relay"))
        await trio.sleep(0.2)
        monkeypatch.setenv("METHRICS", "off")
    assert relay.items == []
    assert [one.attempts for one in erasures.all().values()] == [0]
    journal.close()

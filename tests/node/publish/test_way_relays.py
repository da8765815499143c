"""The route over two hops with real relays, in a network in memory."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from tests.node import door_making
from tests.node.door_making import Doors, Station, stations
from tests.node.publish.way_world import Memory
from tests.node.relay_making import CATALOG, TOPIC, TrioClock, report

from methrics.node.network.memory import MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.ohttp.key_config import ExitKey, encode_key_config
from methrics.node.process.worker import inline
from methrics.node.publish.doors.libp2p import Libp2pDoor
from methrics.node.publish.entries import KeptEntries, Offer
from methrics.node.publish.routes import Fate, Outcome, Outgoing
from methrics.node.publish.way_route import WayRoute
from methrics.node.relay import doors
from methrics.node.relay.door_service import DoorParts
from methrics.schema.wire.descriptor import Descriptor, sign_descriptor
from methrics.schema.wire.envelope import split
from methrics.schema.wire.limits import DAY


def descriptor(number: int, station: Station) -> bytes:
    told = Descriptor(
        TrioClock().now() // DAY,
        ("entry", "exit"),
        station.swarm.addrs,
        (encode_key_config(station.box_key.config),),
        (TOPIC,),
    )
    return sign_descriptor(told, bytes((number + 1,)) * 32).item.raw


@asynccontextmanager
async def relays(count: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    """Relays that know each other's descriptors."""
    known: list[bytes] = []

    def parts(key: ExitKey, directory: dict[bytes, tuple[str, ...]]) -> DoorParts:
        return DoorParts(lambda: {key.key_id: key}, directory.get, lambda: known)

    async def tell(_peer: PeerId, _body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        told = doors.Descriptors(TrioClock().now(), tuple(known))
        return doors.encode_descriptors(told)

    monkeypatch.setattr(door_making, "parts_of", parts)
    async with stations(count) as found:
        known += [descriptor(number, one) for number, one in enumerate(found.stations)]
        for one in found.stations:
            one.swarm.serve(doors.DESCRIPTORS, tell, request_max=1)
        yield found


def route(app: MemorySwarm, found: Doors, keep: Memory, seed: int = 1) -> WayRoute:
    return WayRoute(
        lambda entry: Libp2pDoor(app, entry.address),
        Offer(user=tuple(one.swarm.addrs[0] for one in found.stations)),
        keep,
        clock=TrioClock(),
        rng=random.Random(seed),
        worker=inline,
    )


def outgoing(count: int) -> Outgoing:
    raws = [report(number) for number in range(count)]
    return Outgoing(TOPIC, (CATALOG.raw,), tuple((split(raw).id, raw) for raw in raws))


def entry_of(found: Doors, keep: Memory) -> Station:
    address = keep.kept.drawn[0].address
    return next(one for one in found.stations if one.swarm.addrs[0] == address)


async def test_reports_pass_two_relays_and_reach_the_topic(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, sent = Memory(), outgoing(12)
    async with (
        relays(4, monkeypatch) as found,
        found.network.open_swarm(listen=False) as app,
    ):
        way = route(app, found, keep)
        assert len(await way.records(TOPIC, ())) == 2
        outcomes = await way.deliver(sent)
        assert set(outcomes.values()) == {Outcome(Fate.ACKNOWLEDGED, "ok")}
        assert way.findings.note == ""
        entry = entry_of(found, keep)
        assert entry.requests == [], "the entry opens no box"
        asked = [one for one in found.stations if one.requests]
        assert len(asked) == 3
        for one in asked:
            assert set(one.told) == {entry.swarm.peer_id}, "no exit meets the app"
        await found.wait_for(*(raw for _, raw in sent.items))


async def test_one_relay_alone_takes_reports(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, sent = Memory(), outgoing(3)
    async with (
        relays(1, monkeypatch) as found,
        found.network.open_swarm(listen=False) as app,
    ):
        outcomes = await route(app, found, keep).deliver(sent)
        assert set(outcomes.values()) == {Outcome(Fate.ACKNOWLEDGED, "ok")}
        await found.wait_for(*(raw for _, raw in sent.items))


async def test_an_exit_that_dies_is_replaced_and_a_report_that_comes_twice_is_one(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, sent = Memory(), outgoing(6)
    async with (
        relays(4, monkeypatch) as found,
        found.network.open_swarm(listen=False) as app,
    ):
        await route(app, found, keep).records(TOPIC, ())
        dying = next(one for one in found.stations if one is not entry_of(found, keep))
        dying.die()
        await trio.sleep(1)
        taken = list[bytes]()
        for seed in range(2, 8):
            outcomes = await route(app, found, keep, seed).deliver(sent)
            assert {one.fate for one in outcomes.values()} <= {Fate.ACKNOWLEDGED, Fate.HANDED}
            taken += [one for one, said in outcomes.items() if said.fate is Fate.ACKNOWLEDGED]
        assert set(taken) == {item_id for item_id, _ in sent.items}
        assert len(taken) > len(sent.items), "a report that comes twice is taken, too"
        await found.wait_for(*(raw for _, raw in sent.items))


async def test_an_entry_that_dies_makes_reports_wait(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, sent = Memory(), outgoing(2)
    async with (
        relays(3, monkeypatch) as found,
        found.network.open_swarm(listen=False) as app,
    ):
        await route(app, found, keep).records(TOPIC, ())
        entry = entry_of(found, keep)
        entry.die()
        await trio.sleep(1)
        before = [len(one.requests) for one in found.stations]
        outcomes = await route(app, found, keep).deliver(sent)
        assert {one.fate for one in outcomes.values()} == {Fate.RETRY}
        assert [len(one.requests) for one in found.stations] == before
        assert keep.kept != KeptEntries()

"""Records of a namespace that are withheld, contradict each other, or come from the future."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cbor2
import trio
from tests.attacks import world
from tests.attacks.mux import GONE
from tests.attacks.peer import HONEST, Peer, stranger, strangers
from tests.attacks.scene import Scene, scene

from methrics.schema.wire.envelope import Item

RECORD = "/methrics/record/1"


async def records_of(addr: str) -> list[bytes]:
    """What a node answers when it is asked for the records of the topic."""
    async with stranger(addr, source=HONEST) as peer:
        return list(cbor2.loads(await peer.request(RECORD, world.TOPIC.encode())))


async def until_told(addr: str, wanted: set[bytes]) -> None:
    """Wait until a node answers with these records."""
    with trio.fail_after(60):
        while set(await records_of(addr)) != wanted:
            await trio.sleep(0.1)


async def tell(s: Scene, *records: Item) -> None:
    """Publish records on the topic, at both victims."""
    for victim in (s.relay_addr, s.aggregator_addr):
        async with stranger(victim) as peer:
            await peer.publish(world.TOPIC, *(world.notice(one.raw) for one in records))
            # The victim has read them when it answers: to leave before could lose them.
            await peer.request(RECORD, world.TOPIC.encode())
            await trio.sleep(0.3)


async def test_attack_equivocation(tmp_path: Path) -> None:
    """Two records with one parent prove that the key was used twice: both are kept and shown until
    a later record names both. Reports under what the newest lists go on."""
    async with scene(tmp_path) as s:
        await until_told(s.relay_addr, {s.record.raw})
        one = world.record(previous=[s.record.id], time=s.later())
        two = world.record([world.CATALOG.id, bytes(32)], previous=[s.record.id], time=s.later())
        await tell(s, one, two)
        for victim in (s.relay_addr, s.aggregator_addr):
            await until_told(victim, {one.raw, two.raw})
        await s.submit(10)
        await s.until_stored()
        healed = world.record(previous=sorted([one.id, two.id]), time=s.later())
        await tell(s, healed)
        for victim in (s.relay_addr, s.aggregator_addr):
            await until_told(victim, {healed.raw})


async def test_attack_record_from_the_far_future(tmp_path: Path) -> None:
    """The latest record wins, so one of next year would silence the owner; it is not taken."""
    year = 365 * world.DAY
    async with scene(tmp_path) as s:
        future = world.record([], time=world.now() + year, expires=world.now() + 2 * year)
        await tell(s, future)
        with contextlib.suppress(*GONE):
            async with stranger(s.relay_addr) as peer:
                assert await world.hand_in(peer, [future.raw], s.relay_addr) == ["early"]
        for victim in (s.relay_addr, s.aggregator_addr):
            await until_told(victim, {s.record.raw})
        catalog = world.other_catalog(1)
        newer = world.record([world.CATALOG.id, catalog.id], previous=[s.record.id], time=s.later())
        fresh = [world.report(catalog.id) for _ in range(5)]
        async with stranger(s.relay_addr, source=HONEST) as person:
            assert set(
                await world.hand_in(person, [newer.raw, catalog.raw, *fresh], s.relay_addr)
            ) == {"ok"}
        s.sent += fresh
        await s.until_stored()


async def withhold(peer: Peer) -> None:
    """Answer nothing when asked for records and catalogs, and join the topic."""

    async def hang(_: object) -> None:
        await trio.sleep_forever()

    for protocol in (RECORD, "/methrics/catalog/1"):
        peer.mux.handlers[protocol.encode()] = hang
    await peer.join(world.TOPIC)


async def test_attack_withheld_records(tmp_path: Path) -> None:
    """Twenty peers of the aggregator keep a new record and its catalog to themselves. The relay has
    both, so the bundles that wait for them are stored."""
    async with scene(tmp_path) as s, strangers(s.aggregator_addr, 20) as liars:
        for peer in liars:
            await withhold(peer)
        catalog = world.other_catalog(2)
        newer = world.record([world.CATALOG.id, catalog.id], previous=[s.record.id], time=s.later())
        fresh = [world.report(catalog.id) for _ in range(10)]
        for peer in liars:
            with contextlib.suppress(*GONE):
                await peer.publish(world.TOPIC, world.bundle(fresh, catalog.id))
        async with stranger(s.relay_addr, source=HONEST) as person:
            said = await world.hand_in(person, [newer.raw, catalog.raw, *fresh], s.relay_addr)
        assert said[:2] == ["ok", "ok"]
        assert set(said[2:]) <= {"ok", "duplicate"}
        s.sent += fresh
        await s.until_stored()

"""Messages that keep the rules of gossip and mean harm: flood, replay, mutation, poison, bombs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import trio
from tests.attacks import world
from tests.attacks.mux import GONE
from tests.attacks.peer import HONEST, control, stranger, strangers
from tests.attacks.scene import scene

from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify


async def test_attack_flood_of_messages(tmp_path: Path) -> None:
    """Five peers send contents that no report is in, as fast as they are read."""
    async with scene(tmp_path) as s, strangers(s.relay_addr, 5) as peers:

        async def flood(peer) -> None:  # type: ignore[no-untyped-def]
            with contextlib.suppress(*GONE):
                for _ in range(1500):
                    await peer.publish(world.TOPIC, os.urandom(300))

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(flood, peer)
            await s.submit(50)
            await s.until_stored()
            nursery.cancel_scope.cancel()
    judged = s.swarm("rejected")
    assert judged < 500, "a sender of what is rejected is soon not read any more"
    assert s.swarm("limited") + s.swarm("slowed") > 0


async def test_attack_flood_of_control_messages(tmp_path: Path) -> None:
    """GRAFT, PRUNE, IHAVE and IWANT for topics and ids that do not exist leave nothing behind."""
    async with scene(tmp_path) as s, strangers(s.relay_addr, 5) as peers:
        for number in range(40):
            topics = [f"/flood/{number}/{one}" for one in range(50)]
            ids = [os.urandom(20) for _ in range(500)]
            frame = control(
                graft=[rpc_pb2.ControlGraft(topicID=one) for one in topics],
                prune=[rpc_pb2.ControlPrune(topicID=one, backoff=2**40) for one in topics],
                ihave=[rpc_pb2.ControlIHave(topicID=world.TOPIC, messageIDs=ids)],
                iwant=[rpc_pb2.ControlIWant(messageIDs=ids)],
            )
            for peer in peers:
                with contextlib.suppress(*GONE):
                    await peer.send(frame)
        await s.submit(20)
        await s.until_stored()


async def test_attack_replay(tmp_path: Path) -> None:
    """Old bundles under new messages, and old reports in new bundles: each report counts once."""
    async with scene(tmp_path) as s, stranger(s.aggregator_addr, source=HONEST) as honest:
        await s.publish(honest, 50)
        await s.until_stored()
        old = list(s.sent)
        async with strangers(s.aggregator_addr, 3) as some, strangers(s.relay_addr, 3) as others:
            for peer in (*some, *others):
                with contextlib.suppress(*GONE):
                    for start in range(0, len(old), 5):
                        again = world.bundle(old[start : start + 10])
                        await peer.publish(world.TOPIC, again, again, world.bundle(old[::-1]))
            await s.submit(20)
            await s.until_stored()
        assert s.committed() == len(s.sent)
    assert len(s.stored) == len(s.sent), "none is stored twice"
    assert s.swarm("duplicates") > 0
    assert s.swarm("ignored") > 0


async def test_attack_mutation(tmp_path: Path) -> None:
    """A copy of a bundle with a bit changed comes first; the true one is stored all the same."""
    async with (
        scene(tmp_path) as s,
        stranger(s.aggregator_addr, source=HONEST) as honest,
        stranger(s.relay_addr, source=HONEST) as relaying,
    ):
        for number in range(12):
            items = world.reports(5)
            true = world.bundle(items)
            for victim in (s.aggregator_addr, s.relay_addr):
                with contextlib.suppress(*GONE):
                    async with stranger(victim) as liar:
                        for at in (5, 40 + number, 200 + number, len(true) - 1 - number):
                            changed = true[:at] + bytes([true[at] ^ 0x10]) + true[at + 1 :]
                            await liar.publish(world.TOPIC, changed)
            await honest.publish(world.TOPIC, true)
            await relaying.publish(world.TOPIC, world.bundle(items[:2]))
            s.sent += items
        await s.until_stored()
        assert s.committed() == len(s.sent)
    assert s.swarm("rejected") >= 12


async def test_attack_poisoned_bundle(tmp_path: Path) -> None:
    """Who holds a report cannot make a relay or an aggregator forget it: neither by a bundle in
    which another item cannot be judged, nor under the name of a catalog that nobody knows."""
    async with scene(tmp_path) as s:
        items = world.reports(10)
        unknown = os.urandom(32)
        poison = [
            *[world.bundle([one, world.report(unknown)]) for one in items],
            *[world.bundle([world.report(unknown), one]) for one in items],
            *[world.bundle([one], unknown) for one in items],
            world.bundle([*items, world.report(unknown)], unknown),
        ]
        for victim in (s.relay_addr, s.aggregator_addr):
            for data in poison:
                with contextlib.suppress(*GONE):
                    async with stranger(victim) as liar:
                        await liar.publish(world.TOPIC, data)
        await trio.sleep(1)
        async with stranger(s.relay_addr, source=HONEST) as person:
            assert set(await world.hand_in(person, items[:5], s.relay_addr)) == {"ok"}
            for data in poison[:5]:
                with contextlib.suppress(*GONE):
                    async with stranger(s.relay_addr) as liar:
                        await liar.publish(world.TOPIC, data)
            assert set(await world.hand_in(person, items[5:], s.relay_addr)) == {"ok"}
        s.sent += items
        await s.until_stored()
    assert s.swarm("rejected") >= 20


async def test_attack_invented_catalogs(tmp_path: Path) -> None:
    """Three hundred invented catalogs take no slot: a catalog that is listed is found at once."""
    async with scene(tmp_path) as s:
        for victim in (s.relay_addr, s.aggregator_addr):
            async with strangers(victim, 3) as liars:
                for number in range(300):
                    unknown = os.urandom(32)
                    with contextlib.suppress(*GONE):
                        data = world.bundle([world.report(unknown)], unknown)
                        await liars[number % 3].publish(world.TOPIC, data)
        catalog = world.other_catalog(1)
        newer = world.record([world.CATALOG.id, catalog.id], previous=[s.record.id], time=s.later())
        fresh = [world.report(catalog.id) for _ in range(10)]
        async with stranger(s.relay_addr, source=HONEST) as person:
            said = await world.hand_in(person, [newer.raw, catalog.raw, *fresh], s.relay_addr)
            assert set(said) == {"ok"}
        s.sent += fresh
        await s.until_stored()


async def test_attack_catalog_bomb(tmp_path: Path) -> None:
    """The owner of a namespace publishes 100 catalogs, each listed for a moment. A node keeps a
    bounded number of them, and makes tables only for those with reports."""
    catalogs = [world.other_catalog(number) for number in range(100)]
    async with scene(tmp_path) as s, stranger(s.aggregator_addr) as owner:
        last = s.record
        for start in range(0, 100, 30):
            some = catalogs[start : start + 30]
            listed = [world.CATALOG.id, *(one.id for one in some)]
            last = world.record(listed, previous=[last.id], time=s.later())
            with contextlib.suppress(*GONE):
                await owner.publish(world.TOPIC, world.notice(last.raw))
                await owner.publish(world.TOPIC, *(world.notice(one.raw) for one in some))
            await trio.sleep(1)
        s.record = last
        await s.submit(10)
        await s.until_stored()
    with open_dataset(tmp_path / "aggregate.duckdb") as data:
        assert verify(data).mismatches == []
        tables = [one for one in data.tables() if "." in one]
        assert len(tables) < 60, "no tables of catalogs without reports"


async def test_attack_clock_skew(tmp_path: Path) -> None:
    """Reports from next week and from last year are ignored, and do not cost their sender what a
    forgery would: an honest node with a wrong clock sends them, too."""
    async with scene(tmp_path) as s, stranger(s.aggregator_addr) as skewed:
        for day in (2, 7, -60, -300):
            items = [world.report(day=day) for _ in range(5)]
            await skewed.publish(world.TOPIC, *(world.bundle([one]) for one in items))
        await skewed.publish(world.TOPIC, world.bundle(good := world.reports(5)))
        s.sent += good
        await s.until_stored()
        assert skewed.connected
    assert s.swarm("ignored") >= 20
    assert s.swarm("rejected") == 0

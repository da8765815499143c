"""Sybils in the mesh: silent, many, ungraftable, or too slow to read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import trio
from tests.attacks import world
from tests.attacks.mux import GONE
from tests.attacks.peer import HONEST, Peer, content_id, control, stranger, strangers
from tests.attacks.processes import aggregator
from tests.attacks.scene import scene, started

from methrics._vendor.libp2p.pubsub.pb import rpc_pb2

DEGREE_HIGH = 12


async def join_all(peers: list[Peer]) -> None:
    for peer in peers:
        with contextlib.suppress(*GONE):
            await peer.join(world.TOPIC)


async def offer_and_never_send(peer: Peer, count: int) -> None:
    """Say that there are messages, and answer no IWANT."""
    for number in range(count):
        ids = [content_id(world.TOPIC, b"%d" % number)]
        have = rpc_pb2.ControlIHave(topicID=world.TOPIC, messageIDs=ids)
        with contextlib.suppress(*GONE):
            await peer.send(control(ihave=[have]))


async def test_attack_withheld_messages(tmp_path: Path) -> None:
    """Thirty peers fill the meshes of relay and aggregator, offer what they do not send, and pass
    nothing on. Another aggregator that knows only the relay still gets everything."""
    async with (
        scene(tmp_path) as s,
        strangers(s.relay_addr, 20) as some,
        strangers(s.aggregator_addr, 10) as more,
    ):
        await join_all([*some, *more])
        for peer in (*some, *more):
            await offer_and_never_send(peer, 3)
        options = [*world.given(tmp_path, s.record), "--peer", s.relay_addr]
        late = aggregator(tmp_path, *options, name="late")
        async with started(late):
            await late.until("join", lambda: late.events("joined"))
            before = len(s.sent)
            await s.submit(60)
            await s.until_stored()

            def stored() -> int:
                return sum(int(one["reports"]) for one in late.events("commit"))

            wanted = len(s.sent) - before
            await late.until(f"store {wanted}", lambda: stored() >= wanted)


async def test_attack_eclipse_by_sixty_sybils(tmp_path: Path) -> None:
    """They are there before any honest peer, in the mesh of the relay, and pass nothing on."""
    async with scene(tmp_path, sybils=60, behave=join_all) as s:
        await s.submit(100)
        await s.until_stored()
        with trio.fail_after(60):  # they read in tasks of their own
            while sum(bool(one.grafted) and not one.pruned for one in s.sybils) > DEGREE_HIGH:
                await trio.sleep(0.05)


async def test_attack_sybils_that_claim_to_be_direct(tmp_path: Path) -> None:
    """A direct peer is never pruned and never ignored; only the victim says who is one. Peers that
    graft again and again are pruned, and lose their score."""
    async with scene(tmp_path) as s, strangers(s.relay_addr, 30) as peers:
        await join_all(peers)
        graft = control(graft=[rpc_pb2.ControlGraft(topicID=world.TOPIC)])
        for _ in range(6):
            for peer in peers:
                with contextlib.suppress(*GONE):
                    await peer.send(graft, graft)
            await s.submit(5)
            await trio.sleep(0.3)
        await s.until_stored()
        with trio.fail_after(60):  # they read in tasks of their own
            while sum(bool(peer.pruned) for peer in peers) < len(peers) - DEGREE_HIGH:
                await trio.sleep(0.05)
        pruned = [peer for peer in peers if peer.pruned]
        assert all(prune.backoff for peer in pruned for prune in peer.pruned)


async def slow_readers(folder: Path, count: int) -> None:
    """Peers in the mesh that read nothing: what they miss is counted, and nobody waits for them."""
    async with scene(folder) as s, strangers(s.relay_addr, count, reads=False) as peers:
        await join_all(peers)
        async with (
            stranger(s.relay_addr, source=HONEST) as reader,
            strangers(s.relay_addr, 2, source=HONEST) as honest,
        ):
            await reader.join(world.TOPIC)
            for number in range(400):
                items = world.reports(20)
                await honest[number % 2].publish(world.TOPIC, world.bundle(items))
                s.sent += items
            await s.until_stored()
            with trio.fail_after(60):
                while len(reader.contents) + len(reader.offered) < 400:
                    await trio.sleep(0.05)
            dropped = sum(not peer.connected for peer in peers)
    assert s.swarm("unsent") + dropped > 0


async def test_attack_one_slow_reader(tmp_path: Path) -> None:
    await slow_readers(tmp_path, 1)


async def test_attack_twenty_slow_readers(tmp_path: Path) -> None:
    await slow_readers(tmp_path, 20)

"""Stock peers of both languages take us into their meshes, and keep to the rules of ours."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pypeer
import pytest
import trio
from driving import StockPeer
from jspeer import js_peer
from ours import PATIENCE, TOPIC, Ours, bundles, ours

from methrics.node.mesh.limits import MeshSettings

ONE = MeshSettings(degree=1, degree_low=1, degree_high=1, degree_score=1, degree_out=0)
"""A mesh with room for one peer."""

Start = Callable[[int], AbstractAsyncContextManager[StockPeer]]


@pytest.fixture(params=["js", "python"])
def start(request: pytest.FixtureRequest, js_script: Path, stock_python: Path) -> Start:
    """Start a stock peer with a mesh degree."""

    def peer(degree: int = 6) -> AbstractAsyncContextManager[StockPeer]:
        if request.param == "js":
            return js_peer(js_script, "default", degree)
        return pypeer.stock_peer(stock_python, degree)

    return peer


@pytest.mark.parametrize("dialler", ["they", "we"])
async def test_fifty_messages_each_way_over_a_mesh(start: Start, dialler: str) -> None:
    """Each side takes the other's GRAFT and keeps it in its mesh, and checks its signatures."""
    rng = random.Random(dialler)
    theirs, own = bundles(50, rng), bundles(50, rng)
    async with ours() as it, start(6) as peer:
        await peer.order("join", topic=TOPIC)
        if dialler == "they":
            await peer.order("dial", addr=it.addr)
        else:
            await it.swarm.dial(peer.addr)
        await peer.until(event="joined", topic=TOPIC, peer=it.swarm.peer_id)
        await it.until_meshed(peer.peer_id)
        await peer.until_meshed(TOPIC, it.swarm.peer_id)
        for data in theirs:
            await peer.publish(TOPIC, data)
        await it.until_accepted(theirs)
        for data in own:
            assert await it.swarm.publish(TOPIC, data) == 1
        await peer.until_delivered(TOPIC, own)
        assert sorted(it.accepted) == sorted(theirs)
        assert peer.peer_id in it.meshed()
        assert it.swarm.peer_id in await peer.mesh(TOPIC)
        counts = it.swarm.statistics()
        assert (counts.accepted, counts.rejected, counts.malformed) == (50, 0, 0)
        assert counts.contained == 0


@contextlib.asynccontextmanager
async def three(start: Start, it: Ours, degree: int) -> AsyncIterator[list[StockPeer]]:
    """Three stock peers that have joined and dialled us."""
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(start(degree)) for _ in range(3)]
        for peer in peers:
            await peer.order("join", topic=TOPIC)
            await peer.order("dial", addr=it.addr)
        for peer in peers:
            await peer.until(
                event="joined",
                topic=TOPIC,
                peer=it.swarm.peer_id,
            )
        with trio.fail_after(PATIENCE):
            await it.swarm.wait_for_peers(TOPIC, 3)
        yield peers


async def test_our_prune_with_peers_and_backoff_is_tolerated(start: Start) -> None:
    """Our mesh has room for one of three. The others are pruned, are told of the first, and stay
    connected; flood publishing brings all of them what we publish. We get what js-libp2p publishes
    outside its mesh, too; py-libp2p may publish to its mesh only."""
    async with ours(mesh=ONE) as it, three(start, it, 6) as peers:
        with trio.fail_after(PATIENCE):
            while len(it.meshed()) != 1:
                await trio.sleep(0.1)
        (meshed,) = (peer for peer in peers if peer.peer_id in it.meshed())
        await meshed.until_meshed(TOPIC, it.swarm.peer_id)
        own = bundles(10, random.Random(1))
        for data in own:
            assert await it.swarm.publish(TOPIC, data) == 3
        for peer in peers:
            await peer.until_delivered(TOPIC, own)
        for n, data in enumerate(bundles(10, random.Random(2))):
            peer = peers[n % 3]
            await peer.publish(TOPIC, data)
            if peer.floods or peer is meshed:
                await it.until_accepted([data])
        assert it.swarm.statistics().rejected == 0
        assert len(it.swarm.peers(TOPIC)) == 3


async def test_their_prune_with_peers_and_backoff_is_tolerated(start: Start) -> None:
    """Their meshes have room for one. Whoever prunes us still gets our messages, and we get those
    of js-libp2p, which publishes to peers outside its mesh, too; py-libp2p does not."""
    async with ours() as it, three(start, it, 1) as peers:
        for one, two in zip(peers, [*peers[1:], peers[0]], strict=True):
            await one.order("dial", addr=two.addr)
        await trio.sleep(3)
        for n, peer in enumerate(peers):
            (data,) = bundles(2, random.Random(n))[:1]
            await peer.publish(TOPIC, data)
            if peer.floods or it.swarm.peer_id in await peer.mesh(TOPIC):
                await it.until_accepted([data])
        own = bundles(5, random.Random(9))
        for data in own:
            await it.swarm.publish(TOPIC, data)
        for peer in peers:
            await peer.until_delivered(TOPIC, own)
        counts = it.swarm.statistics()
        assert (counts.rejected, counts.malformed, counts.contained) == (0, 0, 0)

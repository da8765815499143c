"""Slow, idle and crawling peers take nothing away from others: places, slots, queues, streams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from attacker import Attacker, attack

from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.schema.errors import UnreachableError
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/shares-aaaaaaaaaaaaaaaa/cbor"
LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
ECHO = "/test/echo/1"
PATIENCE = 60


class Inbox:
    def __init__(self) -> None:
        self.got: set[bytes] = set()

    async def __call__(self, _: str, data: bytes) -> Decision:
        self.got.add(data)
        return Decision.ACCEPT


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.01)


async def echo(_: str, body: bytes) -> bytes:
    return body


@contextlib.asynccontextmanager
async def attackers(addr: str, n: int, **options: Any) -> AsyncIterator[list[Attacker]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(attack(addr, **options)) for _ in range(n)]


@pytest.mark.parametrize("quick", [4, pytest.param(39, marks=pytest.mark.slow)])
async def test_attack_slow_reader_delays_nobody(quick: int) -> None:
    """It takes a frame only when this test lets it, so no clock is involved: all others have all
    messages while it has taken three."""
    size, messages = 60_000, 36
    async with contextlib.AsyncExitStack() as stack:
        source = await stack.enter_async_context(open_swarm(listen=LOOPBACK))
        slow = await stack.enter_async_context(attack(source.addrs[0], hold_streams=True))
        await slow.join(TOPIC)
        inboxes = [Inbox() for _ in range(quick)]
        for inbox in inboxes:
            swarm = await stack.enter_async_context(open_swarm())
            await swarm.join(TOPIC, inbox)
            await swarm.dial(source.addrs[0])
        with trio.fail_after(PATIENCE):
            await source.wait_for_peers(TOPIC, quick + 1)
        sent = [b"%4d" % n + bytes(size - 4) for n in range(messages)]
        for n, data in enumerate(sent):
            await source.publish(TOPIC, data)
            if n % 12 == 0:
                await slow.held[0].read(size)
        for inbox in inboxes:
            await until(lambda inbox=inbox: set(sent) <= inbox.got)
        assert source.peers(TOPIC) >= {slow.peer_id}, "it is merely slow"


async def test_slow_peer_gets_later_what_found_no_room() -> None:
    """Its validators are stuck for a while, so it is not read. Then it asks for what it missed."""
    inbox, release = Inbox(), trio.Event()

    async def stuck(peer: str, data: bytes) -> Decision:
        await release.wait()
        return await inbox(peer, data)

    settings = GossipSettings(queue_frames=4)
    async with open_swarm(listen=LOOPBACK, settings=settings) as source, open_swarm() as slow:
        await slow.join(TOPIC, stuck)
        await slow.dial(source.addrs[0])
        with trio.fail_after(PATIENCE):
            await source.wait_for_peers(TOPIC, 1)
        sent = []
        while source.statistics().unsent < 10:
            sent.append(b"%4d" % len(sent) + bytes(100_000))
            await source.publish(TOPIC, sent[-1])
        release.set()
        await until(lambda: set(sent) <= inbox.got)


async def test_attack_idle_connections_lock_nobody_out() -> None:
    settings = GossipSettings(connections_max=20, connections_listed=2)
    async with (
        open_swarm(listen=LOOPBACK, settings=settings) as victim,
        attackers(victim.addrs[0], 10),
        contextlib.AsyncExitStack() as stack,
    ):
        host, port = victim.addrs[0].split("/")[2], int(victim.addrs[0].split("/")[4])
        for _ in range(30):  # and some that never begin the handshake
            await stack.enter_async_context(await trio.open_tcp_stream(host, port))
        victim.serve(ECHO, echo, request_max=100)
        async with open_swarm(settings=GossipSettings(redial_most=2)) as honest:
            honest.keep(victim.addrs[0])
            await until(lambda: honest.statistics().connections == 1)
            for n in range(20):
                body = b"%d" % n
                assert body == await honest.request(
                    victim.peer_id, ECHO, body, reply_max=9, timeout=PATIENCE
                )
        assert victim.statistics().evicted > 0
        assert len(victim._network.places) <= 20


async def test_kept_peer_finds_a_place_when_all_are_taken() -> None:
    settings = GossipSettings(connections_max=8, connections_listed=2)
    async with (
        open_swarm(listen=LOOPBACK) as friend,
        open_swarm(listen=LOOPBACK, settings=settings) as victim,
        attackers(victim.addrs[0], 6),
    ):
        await until(lambda: victim.statistics().connections == 6)
        with pytest.raises(UnreachableError):
            async with open_swarm() as seventh:
                await seventh.dial(victim.addrs[0])
                await seventh.request(victim.peer_id, ECHO, b"", reply_max=1, timeout=PATIENCE)
        assert await victim.dial(friend.addrs[0]) == friend.peer_id
        assert victim.statistics().evicted == 0


async def test_attack_forty_peers_at_a_byte_a_second() -> None:
    """Four requests each, which never get complete. Their streams are ended, and the honest peer
    is served all the time."""
    async with (
        open_swarm(listen=LOOPBACK) as victim,
        attackers(victim.addrs[0], 40) as crawlers,
        open_swarm() as honest,
        trio.open_nursery() as nursery,
    ):
        victim.serve(ECHO, echo, request_max=70_000)
        ended = 0

        async def crawl(peer: Attacker) -> None:
            nonlocal ended
            with contextlib.suppress(BaseLibp2pError):
                stream = await peer.stream(ECHO)
                await stream.write((70_000).to_bytes(4, "big"))
                while True:
                    await stream.write(b"x")
                    await trio.sleep(1)
            ended += 1

        for peer in crawlers:
            for _ in range(4):
                nursery.start_soon(crawl, peer)
        await honest.dial(victim.addrs[0])
        while ended < 160:
            body = bytes(60_000)
            assert body == await honest.request(
                victim.peer_id, ECHO, body, reply_max=70_000, timeout=PATIENCE
            )
            await trio.sleep(0.1)
        assert victim.statistics().requests_refused == 160


async def test_attack_trickling_streams_of_two_peers_keep_nobody_out() -> None:
    """On loopback, no peer has a known network. Both hold all the streams that they may."""
    settings = GossipSettings(streams_max=64)
    async with (
        open_swarm(listen=LOOPBACK, settings=settings) as victim,
        attackers(victim.addrs[0], 2) as peers,
        open_swarm() as honest,
        trio.open_nursery() as nursery,
    ):
        victim.serve(ECHO, echo, request_max=100)
        held = 0

        async def trickle(muxer: Any) -> None:
            nonlocal held
            with contextlib.suppress(BaseLibp2pError):
                stream = await muxer.open_stream()
                await stream.write(b"\x7f")
                held += 1
                while True:
                    await trio.sleep(0.5)
                    await stream.write(b"x")

        for peer in peers:
            for _ in range(settings.streams_per_peer):
                nursery.start_soon(trickle, peer.muxer)
        await until(lambda: held == 64)
        await honest.dial(victim.addrs[0])
        for n in range(5):
            body = b"%d" % n
            assert body == await honest.request(
                victim.peer_id, ECHO, body, reply_max=9, timeout=PATIENCE
            )
        nursery.cancel_scope.cancel()


async def test_all_connections_share_one_pool_of_streams() -> None:
    async with (
        open_swarm(listen=LOOPBACK) as victim,
        attackers(victim.addrs[0], 3),
    ):
        await until(lambda: victim.statistics().connections == 3)
        connections = victim._network.connections.values()
        muxers: list[Any] = [conn.muxed_conn for conns in connections for conn in conns]
        assert len({id(one._all_streams) for one in muxers}) == 1


async def test_attack_gossip_frame_that_is_never_finished() -> None:
    settings = GossipSettings(read_grace=0.5)
    async with (
        open_swarm(listen=LOOPBACK, settings=settings) as victim,
        attack(victim.addrs[0]) as peer,
    ):
        await victim.join(TOPIC, Inbox())
        await peer.send(b"\xff\xff\x03" + bytes(100))
        await until(lambda: not peer.connected)
        assert victim.statistics().malformed == 1


async def test_queues_of_all_peers_together_are_bounded() -> None:
    """Three stalled readers at different points hold different frames; the longest queue goes."""
    settings = GossipSettings(queue_bytes=2_000_000, queues_bytes=3_000_000)
    async with open_swarm(listen=LOOPBACK, settings=settings) as source:
        async with contextlib.AsyncExitStack() as stack:
            for n in range(3):
                staller = await stack.enter_async_context(
                    attack(source.addrs[0], hold_streams=True)
                )
                await staller.join(TOPIC)
                with trio.fail_after(PATIENCE):
                    await source.wait_for_peers(TOPIC, n + 1)
                for i in range(60):
                    await source.publish(TOPIC, b"%d %3d" % (n, i) + bytes(100_000))
                    assert source._gossip._held.bytes <= 3_000_000
        assert source.statistics().unsent > 0


async def test_closing_swarm_sends_what_it_has_queued() -> None:
    inbox = Inbox()
    sent = {b"%d" % n + bytes(60_000) for n in range(60)}
    async with open_swarm(listen=LOOPBACK) as receiver:
        await receiver.join(TOPIC, inbox)
        async with open_swarm() as source:
            await source.dial(receiver.addrs[0])
            with trio.fail_after(PATIENCE):
                await source.wait_for_peers(TOPIC, 1)
            for data in sent:
                await source.publish(TOPIC, data)
        await until(lambda: sent <= inbox.got)

"""Our muxer and libp2p's own, over real TCP and Noise, each in both roles."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stock
import trio
from multiaddr import Multiaddr

from methrics._vendor.libp2p.network.stream.exceptions import StreamError
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import info_from_p2p_addr
from methrics._vendor.libp2p.stream_muxer.yamux.yamux import Yamux
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.libp2p.muxer import Muxer
from methrics.schema.wire.verdict import Decision

LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
ECHO = "/test/echo/1"
SIZE = 2_000_000
"""Eight times the window of a new stream."""


async def read_exactly(stream: Any, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        data += await stream.read(n - len(data))
    return bytes(data)


async def echo(stream: Any) -> None:
    length = int.from_bytes(await read_exactly(stream, 4), "big")
    body = await read_exactly(stream, length)
    await stream.write(length.to_bytes(4, "big") + body[::-1])
    await stream.close()


@contextlib.asynccontextmanager
async def connected(dialler: str) -> AsyncIterator[tuple[Any, stock.Node]]:
    """We and a stock peer, connected by one of the two, which takes the odd stream numbers."""

    async def reverse(_: str, body: bytes) -> bytes:
        return body[::-1]

    async def accept(_: str, __: bytes) -> Decision:
        return Decision.ACCEPT

    async with open_swarm(listen=LOOPBACK) as ours, stock.node() as other:
        ours.serve(ECHO, reverse, request_max=SIZE)
        other.host.set_stream_handler(ECHO, echo)
        await ours.join(stock.TOPIC, accept)
        await other.pubsub.subscribe(stock.TOPIC)
        if dialler == "we":
            await ours.dial(str(other.host.get_addrs()[0]))
        else:
            await other.host.connect(info_from_p2p_addr(Multiaddr(ours.addrs[0])))
        with trio.fail_after(60):
            await ours.wait_for_peers(stock.TOPIC, 1)
        yield ours, other


def muxers(ours: Any, other: stock.Node) -> tuple[Muxer, Yamux]:
    here = ours._host.get_network().get_connections(other.host.get_id())[0].muxed_conn
    there = other.host.get_network().get_connections(ID.from_string(ours.peer_id))[0].muxed_conn
    assert isinstance(here, Muxer)
    assert isinstance(there, Yamux)
    return here, there


@pytest.mark.parametrize("dialler", ["we", "stock"])
async def test_megabytes_go_both_ways_through_many_windows(dialler: str) -> None:
    body = random.Random(dialler).randbytes(SIZE)
    async with connected(dialler) as (ours, other):
        muxers(ours, other)
        peer = str(other.host.get_id())
        replies: list[bytes] = []

        async def we_ask() -> None:
            replies.append(await ours.request(peer, ECHO, body, reply_max=SIZE, timeout=60))

        async def stock_asks() -> None:
            stream = await other.host.new_stream(ID.from_string(ours.peer_id), [ECHO])
            await stream.write(len(body).to_bytes(4, "big") + body)
            replies.append((await read_exactly(stream, 4 + len(body)))[4:])
            await stream.close()

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(we_ask)
                    nursery.start_soon(stock_asks)
        assert replies == [body[::-1]] * 4


@pytest.mark.parametrize("dialler", ["we", "stock"])
async def test_streams_come_and_go_and_nothing_is_left(dialler: str) -> None:
    """More of them than either side takes at once, ended in every way there is."""
    async with connected(dialler) as (ours, other):
        here, there = muxers(ours, other)
        peer = other.host.get_id()
        before = len(here._streams)
        for n in range(90):
            body = b"%d" % n
            assert await ours.request(str(peer), ECHO, body, reply_max=9, timeout=60) == body[::-1]
            stream = await other.host.new_stream(ID.from_string(ours.peer_id), [ECHO])
            await stream.write(b"\0\0\0\1")
            await stream.reset()
            stream = await ours._host.new_stream(peer, [ECHO])
            await stream.write(b"\0\0\0\2xy")
            await stream.close_write()
            assert await read_exactly(stream, 6) == b"\0\0\0\2yx"
            with pytest.raises(StreamError):
                await stream.read(1)
            await stream.close()
        with trio.fail_after(60):
            while len(here._streams) > before:
                await trio.sleep(0.02)
        assert ours.peers(stock.TOPIC) == {str(peer)}
        assert there.is_established


@pytest.mark.parametrize("leaver", ["we", "stock"])
async def test_leaving_is_noticed_at_once(leaver: str) -> None:
    async with connected("stock") as (ours, other):
        here, there = muxers(ours, other)
        with trio.fail_after(60):
            if leaver == "we":
                await here.close()
                await there.event_shutting_down.wait()
            else:
                await there.close()
                await here.event_closed.wait()

"""Muxers over a pipe in memory: two that talk to each other, or one that talks to the test."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import trio
import trio.testing

from methrics._vendor.libp2p.peer.id import ID
from methrics.node.network.libp2p import frames
from methrics.node.network.libp2p.frames import Flag, Type
from methrics.node.network.libp2p.muxer import Muxer, Unread
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.shares import Shares

PEER = ID(b"\x00\x01x")


class Pipe:
    """A secure connection over a trio stream in memory."""

    def __init__(self, stream: trio.StapledStream[Any, Any], is_initiator: bool) -> None:
        self.stream = stream
        self.is_initiator = is_initiator

    async def read(self, n: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(n))

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()


class Ends:
    def __init__(self, nursery: trio.Nursery, settings: GossipSettings | None = None) -> None:
        left, right = trio.testing.memory_stream_pair()
        self.one = Muxer(Pipe(left, True), PEER, settings)  # type: ignore[arg-type]
        self.two = Muxer(Pipe(right, False), PEER, settings)  # type: ignore[arg-type]
        nursery.start_soon(self.one.start)
        nursery.start_soon(self.two.start)

    async def stream(self) -> tuple[Any, Any]:
        opened = await self.one.open_stream()
        with trio.fail_after(5):
            return opened, await self.two.accept_stream()


class Raw:
    """One end is a muxer; the other is the test, which writes bytes."""

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: GossipSettings | None = None,
        *,
        all_unread: Unread | None = None,
        all_streams: Shares[Muxer] | None = None,
        peer_id: ID = PEER,
        listed: Container[ID] = (),
        narrow: bool = False,
    ) -> None:
        left, self.wire = (
            trio.testing.lockstep_stream_pair() if narrow else trio.testing.memory_stream_pair()
        )
        self.muxer = Muxer(
            Pipe(left, False),  # type: ignore[arg-type]
            peer_id,
            settings,
            all_unread,
            all_streams,
            listed=listed,
        )
        nursery.start_soon(self.muxer.start)

    async def answers(self) -> list[frames.Piece]:
        """What the muxer has sent since the last look."""
        await trio.testing.wait_all_tasks_blocked()
        data = b""
        with trio.move_on_after(0.001):
            while part := await self.wire.receive_some():
                data += part
        return list(frames.Parser().feed(data))

    async def accepted(self, stream_id: int = 1) -> Any:
        await self.wire.send_all(frames.pack(Type.WINDOW, Flag.SYN, stream_id, 0))
        return await self.muxer.accept_stream()

    async def opens(self, stream_id: int) -> bool:
        """Open a stream; tell whether it was accepted."""
        await self.wire.send_all(frames.pack(Type.WINDOW, Flag.SYN, stream_id, 0))
        await trio.testing.wait_all_tasks_blocked()
        return stream_id in self.muxer._streams

    async def until_closed(self) -> None:
        with trio.fail_after(200):
            await self.muxer.event_closed.wait()


async def read_all(stream: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        data += await stream.read(65_536)
    return data

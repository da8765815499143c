"""Yamux for one connection: many streams over it, each with bounded memory.

In place of libp2p's own (0.8.1), which keeps whatever a peer sends past its window, takes any
number of streams from a peer, breaks a stream whose reader pauses for 5 s, and formats several log
lines per frame. The protocol is that of https://github.com/hashicorp/yamux/blob/master/spec.md;
`frames.py` is its pure part, `stream.py` one stream. Any breach of it closes the connection:
nothing here is ever raised into the host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamError,
)
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from methrics.node.gossip import frames
from methrics.node.gossip.frames import Flag, Header, Type
from methrics.node.gossip.settings import GossipSettings
from methrics.node.gossip.stream import Stream

_REPLIES_MAX = 256
"""Answers waiting to be sent to one peer."""

UNREAD_MAX = 2 * 1024 * 1024
"""Bytes received and not yet read, over all streams of one connection, before it is closed."""


class Muxer(IMuxedConn):
    """The connection. `start` runs it until it ends and then tells `on_close`, once."""

    on_close: Callable[[], Awaitable[Any]] | None

    def __init__(
        self, conn: ISecureConn, peer_id: ID, settings: GossipSettings | None = None
    ) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.settings = settings or GossipSettings()
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close = None
        self.unread = 0
        self._initiator = conn.is_initiator
        self._next_id = 1 if conn.is_initiator else 2
        self._streams: dict[int, Stream] = {}
        self._accept_send, self._accept_receive = trio.open_memory_channel[Stream](
            self.settings.streams_per_peer
        )
        self._send_lock = trio.Lock()
        self._replies_send, self._replies = trio.open_memory_channel[tuple[Type, int, int, int]](
            _REPLIES_MAX
        )
        self._heard = trio.current_time()
        self._scope = trio.CancelScope()

    @property
    def is_initiator(self) -> bool:
        return self._initiator

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self.is_closed

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self.secured_conn.get_connection_type()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.secured_conn.get_remote_address()

    async def start(self) -> None:
        """Carry the connection until it closes. Raises nothing."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_alive)
                    nursery.start_soon(self._reply)
                    self.event_started.set()
                    await self._receive()
                    nursery.cancel_scope.cancel()
        except Exception:  # noqa: BLE001 - whatever breaks a connection ends that connection only
            pass
        finally:
            with trio.CancelScope(shield=True):
                await self.close()

    async def close(self) -> None:
        """End the connection and everything on it; may be called again."""
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        self.event_started.set()
        for stream in list(self._streams.values()):
            stream.abandon()
        self._streams.clear()
        self._accept_send.close()
        self._scope.cancel()
        with trio.move_on_after(1) as scope, contextlib.suppress(Exception):
            scope.shield = True
            await self.secured_conn.close()
        with contextlib.suppress(Exception):
            if self.on_close is not None:
                await self.on_close()

    async def open_stream(self) -> Stream:
        if self.is_closed:
            raise MuxedStreamError("the connection is closed")
        stream = Stream(self, self._next_id, inbound=False)
        self._next_id += 2
        self._streams[stream.stream_id] = stream
        await self.send(Type.WINDOW, Flag.SYN, stream.stream_id, 0)
        return stream

    async def accept_stream(self) -> Stream:
        try:
            return await self._accept_receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise MuxedConnUnavailable("the connection is closed") from None

    async def send(
        self, kind: Type, flags: int, stream_id: int, length: int, payload: bytes = b""
    ) -> None:
        """Write one frame whole. A frame cut short would garble all streams, so that cancelling
        waits for its end, or for the connection to be given up as stuck."""
        frame = frames.pack(kind, flags, stream_id, length) + payload
        async with self._send_lock:
            if self.is_closed:
                raise MuxedStreamClosed("the connection is closed")
            with trio.move_on_after(self.settings.write_time_max) as scope:
                scope.shield = True
                try:
                    await self.secured_conn.write(frame)
                except (BaseLibp2pError, OSError, trio.BrokenResourceError):
                    self._scope.cancel()
                    raise MuxedStreamClosed("the connection broke") from None
        if scope.cancelled_caught:
            self._scope.cancel()
            raise MuxedStreamError("the peer has stopped reading")

    def forget_if_done(self, stream: Stream) -> None:
        if stream.done:
            stream.closed = True
            self._streams.pop(stream.stream_id, None)

    async def _receive(self) -> None:
        pending = bytearray()
        while True:
            data = await self.secured_conn.read(None)
            if not data:
                return
            self._heard = trio.current_time()
            pending += data
            at = 0
            while (header := frames.unpack(pending, at)) is not None:
                if not frames.allowed(header):
                    return
                body = at + frames.HEADER
                end = body + (header.length if header.kind is Type.DATA else 0)
                if end > len(pending):
                    break
                if not self._handle(header, bytes(memoryview(pending)[body:end])):
                    return
                at = end
            del pending[:at]
            if frames.broken(pending):
                return

    def _handle(self, header: Header, payload: bytes) -> bool:
        """Act on one frame; False, or any error, ends the connection."""
        if header.kind is Type.PING:
            if header.flags & Flag.SYN:
                self._replies_send.send_nowait((Type.PING, Flag.ACK, 0, header.length))
            return True
        if header.kind is Type.GO_AWAY:
            return False
        if header.flags & Flag.SYN and not self._accept(header.stream_id):
            return True
        stream = self._streams.get(header.stream_id)
        if stream is None:
            return True  # for a stream we have already dropped
        if header.kind is Type.WINDOW:
            stream.granted(header.length)
        elif payload and not stream.take(payload):
            return False
        if header.flags & Flag.FIN:
            stream.ended()
        if header.flags & Flag.RST:
            stream.abandon()
        self.forget_if_done(stream)
        return self.unread <= UNREAD_MAX

    def _accept(self, stream_id: int) -> bool:
        """A new stream of the peer's; refused with a reset if it holds too many."""
        held = sum(stream.inbound for stream in self._streams.values())
        stream = Stream(self, stream_id, inbound=True)
        taken = stream_id in self._streams or (stream_id % 2 == 1) == self._initiator
        if not taken and held < self.settings.streams_per_peer:
            try:
                self._accept_send.send_nowait(stream)
            except trio.WouldBlock:
                taken = True
            else:
                self._streams[stream_id] = stream
                self._replies_send.send_nowait((Type.WINDOW, Flag.ACK, stream_id, 0))
                return True
        self._replies_send.send_nowait((Type.WINDOW, Flag.RST, stream_id, 0))
        return False

    async def _reply(self) -> None:
        """Answer the peer's frames apart from reading them, so that two full sockets cannot wait
        for each other. A peer that asks faster than it reads fills the queue and is dropped."""
        async for reply in self._replies:
            await self.send(*reply)

    async def _keep_alive(self) -> None:
        """Ping, and give up a connection that has been silent for three pings."""
        nonce = 0
        while trio.current_time() - self._heard < 3 * self.settings.keepalive:
            await trio.sleep(self.settings.keepalive)
            nonce = (nonce + 1) % 2**32
            await self.send(Type.PING, Flag.SYN, 0, nonce)
        self._scope.cancel()

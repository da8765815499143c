"""Yamux: many streams over one connection, each with bounded memory.

It replaces the muxer of libp2p 0.8.1, which buffers any number of bytes that a peer sends past its
window, accepts any number of streams from a peer, breaks a stream whose reader pauses for 5 s, and
formats several log lines per frame. https://github.com/hashicorp/yamux/blob/master/spec.md defines
the protocol. `frames.py` packs and parses frames, and `stream.py` is one stream. If a peer breaks
the protocol, its connection is closed. No error is raised into the host.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Container
from typing import Any

import trio
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from methrics._vendor.libp2p.abc import ISecureConn
from methrics._vendor.libp2p.connection_types import ConnectionType
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamError,
)
from methrics.node.network.libp2p import frames
from methrics.node.network.libp2p.carrier import Carrier
from methrics.node.network.libp2p.compat import override
from methrics.node.network.libp2p.frames import Flag, GoAway, Piece, Type
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.stream import Stream
from methrics.node.shares import Shares

_QUEUE_MAX = 512
"""Most frames without payload that wait to be sent to one peer. With more, the connection is
closed, because the peer sends faster than it reads."""

_OPENED_MAX = 256
"""Most streams that this side may have open on one connection: as many as go-libp2p accepts."""

UNREAD_MAX = 4 * 1024 * 1024
"""Most bytes received and not yet read, over all streams of one connection. With more, the
connection is closed. They are enough for an honest peer's gossip window, an unfinished frame and a
few replies."""


class Unread:
    """Counts the bytes received and not yet read over all connections of a host. If there are more
    than `most`, the connection with the most unread bytes is closed."""

    def __init__(self, most: int) -> None:
        self.total = 0
        self._most = most
        self._muxers: set[Muxer] = set()

    def add(self, muxer: Muxer, n: int) -> None:
        self.total += n
        if muxer.unread:
            self._muxers.add(muxer)
        else:
            self._muxers.discard(muxer)
        if self.total > self._most:
            max(self._muxers, key=lambda one: one.unread).end(GoAway.INTERNAL_ERROR)


def stream_shares(settings: GossipSettings) -> Shares[Muxer]:
    """Return the pool of all streams that peers may open to a host. A connection that must make
    room is closed."""
    return Shares(
        settings.streams_max,
        per_holder=settings.streams_per_peer,
        reserve=settings.streams_listed,
        per_listed=settings.streams_per_peer,
    )


def _ignore(_: int) -> None: ...


def _nothing() -> None: ...


class Muxer(Carrier):
    """One connection. `start` runs it until it ends and then calls `on_close`, once.

    `origin`: a token of the network that the peer comes from, or b"". `identified`: whether the
    peer was asked for its signed record. `moved` is called with the number of bytes that a stream
    has received or sent, and `left` when the connection has ended.
    """

    on_close: Callable[[], Awaitable[Any]] | None

    def __init__(
        self,
        conn: ISecureConn,
        peer_id: ID,
        settings: GossipSettings | None = None,
        all_unread: Unread | None = None,
        all_streams: Shares[Muxer] | None = None,
        origin: bytes = b"",
        listed: Container[ID] = (),
    ) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.origin = origin
        self.identified = False
        self.moved: Callable[[int], None] = _ignore
        self.left: Callable[[], None] = _nothing
        self.settings = settings or GossipSettings()
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close = None
        self.unread = 0
        self._all_unread = Unread(self.settings.unread_max) if all_unread is None else all_unread
        self._all_streams = stream_shares(self.settings) if all_streams is None else all_streams
        self._listed = listed
        self._initiator = conn.is_initiator
        self._next_id = 1 if conn.is_initiator else 2
        self._streams: dict[int, Stream] = {}
        self._accept_send, self._accept_receive = trio.open_memory_channel[Stream](
            self.settings.streams_per_peer
        )
        self._send_lock = trio.Lock()
        self._queue: deque[bytes] = deque()
        self._grants: dict[int, int] = {}
        self._queued = trio.Event()
        self._heard = trio.current_time()
        self._farewell: GoAway | None = GoAway.NORMAL
        self._scope = trio.CancelScope()

    @property
    @override
    def is_initiator(self) -> bool:
        return self._initiator

    @property
    @override
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self.is_closed

    @property
    @override
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    @override
    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.secured_conn.get_transport_addresses()

    @override
    def get_connection_type(self) -> ConnectionType:
        return self.secured_conn.get_connection_type()

    @override
    def get_remote_address(self) -> tuple[str, int] | None:
        return self.secured_conn.get_remote_address()

    @override
    async def start(self) -> None:
        """Run the connection until it closes. Raises nothing."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for part in (self._keep_alive, self._send_queued, self._receive):
                        nursery.start_soon(self._carry, part)
                    self.event_started.set()
        finally:
            with trio.CancelScope(shield=True):
                await self.close()

    async def _carry(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run one of the connection's tasks. When the task ends or raises, the connection ends; no
        error is raised. (A nursery would raise it in an exception group.)"""
        try:
            await part()
        except Exception:  # noqa: BLE001 - see above
            self._farewell = GoAway.INTERNAL_ERROR
        self._scope.cancel()

    @property
    def is_ending(self) -> bool:
        """Whether the connection has ended, or will end soon."""
        return self.is_closed or self._scope.cancel_called

    def end(self, reason: GoAway) -> None:
        """Close the connection soon, and send the reason to the peer if it still reads."""
        self._farewell = reason
        self._scope.cancel()

    @override
    async def close(self) -> None:
        """End the connection and all its streams; may be called again."""
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        self.event_started.set()
        self.left()
        self._all_streams.give(self)
        self.count_unread(-self.unread)
        for stream in list(self._streams.values()):
            stream.cut()
        self._streams.clear()
        self._accept_send.close()
        self._scope.cancel()
        with trio.move_on_after(0.5) as scope, contextlib.suppress(Exception):
            scope.shield = True
            await self._say_farewell()
        with trio.move_on_after(1) as scope, contextlib.suppress(Exception):
            scope.shield = True
            await self.secured_conn.close()
        with contextlib.suppress(Exception):
            if self.on_close is not None:
                await self.on_close()

    async def _say_farewell(self) -> None:
        if self._farewell is not None and not self._send_lock.locked():
            async with self._send_lock:
                await self.secured_conn.write(frames.pack(Type.GO_AWAY, 0, 0, self._farewell))

    @override
    async def open_stream(self) -> Stream:
        """Open a new stream. Raises `MuxedStreamError` if the connection is closed, or if this side
        has too many open streams."""
        opened = sum(not stream.inbound for stream in self._streams.values())
        if self.is_closed or opened >= _OPENED_MAX or self._next_id >= 2**32:
            raise MuxedStreamError("the connection is closed, or carries too many streams")
        stream = Stream(self, self._next_id, inbound=False)
        self._next_id += 2
        self._streams[stream.stream_id] = stream
        try:
            await self.send(Type.WINDOW, Flag.SYN, stream.stream_id, 0)
        except BaseException:  # also when cancelled: the peer does not know the stream
            self._streams.pop(stream.stream_id, None)
            raise
        return stream

    @override
    async def accept_stream(self) -> Stream:
        try:
            return await self._accept_receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise MuxedConnUnavailable("the connection is closed") from None

    @override
    async def send(
        self, kind: Type, flags: int, stream_id: int, length: int, payload: bytes = b""
    ) -> None:
        """Write one whole frame. Half a frame would break all streams, so a cancelled caller waits
        until the frame is written, or until the connection is closed because the peer does not
        read."""
        await self._write(frames.pack(kind, flags, stream_id, length) + payload)
        self.progress(len(payload))

    def progress(self, n: int) -> None:
        """Note that `n` bytes of a stream have moved."""
        if n:
            self.moved(n)
            self._all_streams.progress(self, n, trio.current_time())

    async def _write(self, frame: bytes) -> None:
        async with self._send_lock:
            if self.is_closed:
                raise MuxedStreamClosed("the connection is closed")
            with trio.move_on_after(self.settings.write_time_max) as scope:
                scope.shield = True
                try:
                    await self.secured_conn.write(frame)
                except (
                    BaseLibp2pError,
                    OSError,
                    trio.BrokenResourceError,
                    trio.ClosedResourceError,
                ):
                    self._scope.cancel()
                    raise MuxedStreamClosed("the connection broke") from None
        if scope.cancelled_caught:
            self._scope.cancel()
            raise MuxedStreamError("the peer has stopped reading")

    @override
    def queue(self, kind: Type, flags: int, stream_id: int, length: int) -> None:
        """Queue a frame without payload; never waits. `_send_queued` sends the frames in order."""
        if len(self._queue) >= _QUEUE_MAX:
            self.end(GoAway.PROTOCOL_ERROR)
        elif not self.is_closed:
            self._queue.append(frames.pack(kind, flags, stream_id, length))
            self._queued.set()

    @override
    def grant(self, stream_id: int, increment: int) -> None:
        """Allow the peer to send `increment` more bytes on a stream; never waits."""
        if stream_id in self._streams:
            self._grants[stream_id] = self._grants.get(stream_id, 0) + increment
            self._queued.set()

    @override
    def count_unread(self, n: int) -> None:
        """Count `n` more unread bytes; a negative `n` counts bytes as read."""
        if self.is_closed:
            n = -self.unread
        if n:
            self.unread += n
            self._all_unread.add(self, n)

    @override
    def forget(self, stream_id: int) -> None:
        """Drop a finished stream."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.inbound:
            self._all_streams.give(self, 1)

    async def _receive(self) -> None:
        """Read and handle frames until the peer ends the connection or breaks the protocol."""
        parser = frames.Parser()
        while data := await self.secured_conn.read(None):
            self._heard = trio.current_time()
            try:
                for piece in parser.feed(data):
                    if piece.header.kind is Type.GO_AWAY:
                        self._farewell = None
                        return
                    if not self._handle(piece):
                        raise frames.BrokenError("not a frame that may come now")
            except frames.BrokenError:
                self._farewell = GoAway.PROTOCOL_ERROR
                return
        self._farewell = None

    def _handle(self, piece: Piece) -> bool:
        """Handle a frame or a part of one. Return False if it breaks the protocol."""
        kind, flags, stream_id, length = piece.header
        if kind is Type.PING:
            if flags & Flag.SYN:
                self.queue(Type.PING, Flag.ACK, 0, length)
            return True
        if piece.first and flags & Flag.SYN and not self._accept(stream_id):
            return False
        stream = self._streams.get(stream_id)
        if stream is None:
            return True  # the stream was dropped or refused here
        if kind is Type.WINDOW:
            stream.granted(length)
        elif piece.payload and not stream.take(piece.payload):
            return False
        self.progress(len(piece.payload))
        if piece.last and flags & Flag.FIN:
            stream.ended()
        if piece.last and flags & Flag.RST:
            stream.abandon()
        stream.forget_if_done()
        return self.unread <= UNREAD_MAX

    def _accept(self, stream_id: int) -> bool:
        """Accept a new stream of the peer, or reset it if the peer has too many. Return False if
        the stream's number is in use, or if only this side may use that number."""
        if stream_id in self._streams or (stream_id % 2 == 1) == self._initiator:
            return False
        inbound = sum(stream.inbound for stream in self._streams.values())
        stream = Stream(self, stream_id, inbound=True)
        if inbound < self.settings.streams_per_peer and self._may_take_stream():
            try:
                self._accept_send.send_nowait(stream)
            except trio.WouldBlock:
                self._all_streams.give(self, 1)
            else:
                self._streams[stream_id] = stream
                self.queue(Type.WINDOW, Flag.ACK, stream_id, 0)
                return True
        self.queue(Type.WINDOW, Flag.RST, stream_id, 0)
        return True

    def _may_take_stream(self) -> bool:
        """Take a stream of the host's pool. Connections that must make room for it are closed.

        A peer of no known network counts for itself: behind a proxy, all peers would share one
        portion. Its key costs nothing, but there are no more peers than places for connections.
        """
        if self.is_ending:
            return False
        listed, now = self.peer_id in self._listed, trio.current_time()
        origin = self.origin or self.peer_id.to_bytes()
        taken = self._all_streams.take(self, origin, now, listed=listed)
        for muxer in taken.evicted:
            muxer.end(GoAway.NORMAL)
        return taken.granted

    async def _send_queued(self) -> None:
        """Send queued frames in a task apart from reading, so that two peers with full sockets do
        not wait for each other."""
        while True:
            await self._queued.wait()
            self._queued = trio.Event()
            parts = list(self._queue)
            self._queue.clear()
            for stream_id, increment in self._grants.items():
                if stream_id in self._streams:
                    parts.append(frames.pack(Type.WINDOW, 0, stream_id, increment))
            self._grants.clear()
            if parts:
                await self._write(b"".join(parts))

    async def _keep_alive(self) -> None:
        """Send pings, and end the connection if no data arrive for three ping intervals.

        Also reset streams that were closed here and are no longer read, but that the peer leaves
        open.
        """
        nonce = 0
        while trio.current_time() - self._heard < 3 * self.settings.keepalive:
            await trio.sleep(self.settings.keepalive)
            nonce = (nonce + 1) % 2**32
            await self.send(Type.PING, Flag.SYN, 0, nonce)
            since = trio.current_time() - self.settings.close_wait_max
            for stream in [one for one in self._streams.values() if one.awaits_close(since)]:
                stream.break_off()

"""Sends and answers requests: one request and its reply on a stream of their own.

A request or reply is a length (four bytes, big-endian) and then that many bytes. The protocol name
of the stream defines their meaning. If a request is not answered (it is refused, oversize or too
slow, or its handler fails), the stream is reset without a reason.

Handlers share a bounded number of slots, of which no network gets more than its portion. A request
takes a slot only when it has arrived whole, so that slow peers hold none. While it arrives, it must
keep a least pace, and holds a part of a bounded number of bytes. When these are all taken, the
slowest request makes room, from the network that holds most.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

import trio

from methrics._vendor.libp2p.abc import INetStream
from methrics._vendor.libp2p.custom_types import TProtocol
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.host.basic_host import BasicHost
from methrics._vendor.libp2p.io.exceptions import IOException
from methrics._vendor.libp2p.peer.id import ID
from methrics.node.network.guards import run_handler
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.muxer import Muxer
from methrics.node.network.libp2p.network import GuardedSwarm
from methrics.node.network.libp2p.pace import Pace
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.swarm import Body, Handler, PeerId, bytes_of
from methrics.node.shares import Shares
from methrics.schema.errors import UnreachableError

_LENGTH = 4


class OversizeError(Exception):
    """The peer announced more bytes than are allowed."""


async def read_message(
    stream: INetStream,
    most: int,
    begun: Callable[[int], None] = lambda _: None,
    moved: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Return the body of the next message on `stream`, and read no byte after it. `begun` is called
    with the length of the body, and `moved` with the number of bytes whenever some arrive.

    Raises OversizeError for a length over `most` bytes, and IOException if the stream ends early.
    """
    header = await _read_exactly(stream, _LENGTH, moved)
    length = int.from_bytes(header, "big")
    if length > most:
        raise OversizeError
    begun(length)
    return await _read_exactly(stream, length, moved)


async def _read_exactly(stream: INetStream, n: int, moved: Callable[[int], None]) -> bytes:
    data = bytearray()
    while len(data) < n:
        part = await stream.read(n - len(data))
        if not part:
            raise IOException("the stream ended early")
        data += part
        moved(len(part))
    return bytes(data)


async def _write_message(stream: INetStream, body: bytes) -> None:
    await stream.write(len(body).to_bytes(_LENGTH, "big") + body)


class _NoRoomError(Exception):
    """Too many bytes of requests are arriving."""


class _Arriving:
    """A request whose bytes arrive. `scope` ends when they are too slow, or must make room."""

    def __init__(self, settings: GossipSettings) -> None:
        now = trio.current_time()
        self.pace = Pace(now, grace=settings.read_grace, rate=settings.rate_least)
        self.scope = trio.CancelScope(deadline=self.pace.deadline)


class Requests:
    """Sends and answers requests on one host."""

    def __init__(
        self,
        host: BasicHost,
        network: GuardedSwarm,
        settings: GossipSettings,
        counters: Counters,
    ) -> None:
        self._host = host
        self._network = network
        self._settings = settings
        self._counters = counters
        self._running: Counter[ID] = Counter()
        self._slots: Shares[ID] = Shares(
            settings.requests_max,
            per_holder=settings.requests_per_peer,
            reserve=settings.requests_listed,
            per_listed=settings.requests_per_peer,
            evicts=False,
        )
        self._arriving: Shares[_Arriving] = Shares(
            settings.requests_bytes,
            per_holder=settings.requests_bytes // 4,
            reserve=settings.requests_bytes // 8,
            floor=settings.rate_least,
        )

    def serve(self, protocol: str, handler: Handler, request_max: int) -> None:
        """Answer requests of `protocol` with `handler` from now on."""

        async def answer(stream: INetStream) -> None:
            peer_id = stream.muxed_conn.peer_id
            if self._running[peer_id] >= self._settings.requests_per_peer:
                self._counters.requests_refused += 1
                await stream.reset()
                return
            self._running[peer_id] += 1
            try:
                if not await self._answer(stream, handler, request_max):
                    await stream.reset()
            finally:
                self._running[peer_id] -= 1
                if not self._running[peer_id]:
                    del self._running[peer_id]

        self._host.set_stream_handler(TProtocol(protocol), answer)

    async def _answer(self, stream: INetStream, handler: Handler, request_max: int) -> bool:
        """Answer one request; return whether the peer got a reply."""
        with trio.move_on_after(self._settings.request_time_max):
            try:
                body = await self._read(stream, request_max)
                if body is not None and self._take_slot(stream):
                    try:
                        reply = await self._handle(stream, handler, body)
                    finally:
                        self._slots.give(stream.muxed_conn.peer_id, 1)
                    if reply is None:
                        self._counters.handler_errors += 1
                        return False
                    await _write_message(stream, reply)
                    await stream.close()
                    self._counters.requests += 1
                    return True
            except (BaseLibp2pError, OversizeError):
                pass  # counted below
        self._counters.requests_refused += 1
        return False

    async def _handle(self, stream: INetStream, handler: Handler, body: bytes) -> bytes | None:
        peer = str(stream.muxed_conn.peer_id)
        return await run_handler(handler, peer, body, self._settings.request_time_max)

    def _holder(self, stream: INetStream) -> tuple[bytes, bool]:
        """Return the network of the peer (or the peer, if that is not known), and whether the peer
        is listed."""
        muxer = stream.muxed_conn
        origin = muxer.origin if isinstance(muxer, Muxer) else b""
        return origin or muxer.peer_id.to_bytes(), muxer.peer_id in self._network.listed

    def _take_slot(self, stream: INetStream) -> bool:
        origin, listed = self._holder(stream)
        peer_id, now = stream.muxed_conn.peer_id, trio.current_time()
        return self._slots.take(peer_id, origin, now, listed=listed).granted

    async def _read(self, stream: INetStream, request_max: int) -> bytes | None:
        """Read a request. Return None if its bytes arrive too slowly, or there is no room."""
        one = _Arriving(self._settings)
        origin, listed = self._holder(stream)

        def begun(length: int) -> None:
            now = trio.current_time()
            taken = self._arriving.take(one, origin, now, max(length, 1), listed=listed)
            for other in taken.evicted:
                self._counters.evicted += 1
                other.scope.cancel()
            if not taken.granted:
                raise _NoRoomError

        def moved(n: int) -> None:
            now = trio.current_time()
            one.pace.moved(n, now)
            one.scope.deadline = one.pace.deadline
            self._arriving.progress(one, n, now)

        try:
            with one.scope:
                return await read_message(stream, request_max, begun, moved)
        except _NoRoomError:
            pass  # the caller counts it
        finally:
            self._arriving.give(one)
        return None

    async def ask(self, peer_id: ID, protocol: str, body: Body, reply_max: int) -> bytes:
        """Send a request and return the peer's reply. Raises `UnreachableError` if there is no
        reply of at most `reply_max` bytes, whatever the peer does, and passes on what `body`
        raises. The caller limits the time."""
        with self._unreachable(protocol, reply_max):
            stream = await self._host.new_stream(peer_id, [TProtocol(protocol)])
        done = False
        try:
            data = await bytes_of(body)
            with self._unreachable(protocol, reply_max):
                await _write_message(stream, data)
                reply = await read_message(stream, reply_max)
                await stream.close()
                done = True
                return reply
        finally:
            if not done:
                with trio.move_on_after(1) as scope, contextlib.suppress(Exception):
                    scope.shield = True
                    await stream.reset()

    @contextlib.contextmanager
    def _unreachable(self, protocol: str, reply_max: int) -> Iterator[None]:
        """Raise `UnreachableError` instead of any error. One that the peer's bytes should not cause
        is counted: callers expect none, and it would end them."""
        try:
            yield
        except OversizeError:
            raise UnreachableError(
                "reply-oversize", f"the peer's reply is over {reply_max} bytes"
            ) from None
        except Exception as error:  # noqa: BLE001 - the edge towards strangers
            self._counters.contained += not isinstance(error, BaseLibp2pError)
            raise UnreachableError(
                "no-reply", f"the peer gave no reply to {protocol}", "it may not serve it"
            ) from None


def parse_peer(peer: PeerId) -> ID | None:
    """Return the peer id whose text form is `peer`, or None if it is not one."""
    try:
        return ID.from_string(peer)
    except Exception:  # noqa: BLE001 - three parsers, each with errors of its own
        return None

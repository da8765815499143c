"""Sends and answers requests: one request and its reply on a stream of their own.

A request or reply is a length (four bytes, big-endian) and then that many bytes. The protocol name
of the stream defines their meaning. If a request is not answered (it is refused, oversize or too
slow, or its handler fails), the stream is reset without a reason.
"""

from __future__ import annotations

import trio

from methrics._vendor.libp2p.abc import INetStream
from methrics._vendor.libp2p.custom_types import TProtocol
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.host.basic_host import BasicHost
from methrics._vendor.libp2p.io.exceptions import IOException
from methrics._vendor.libp2p.peer.id import ID
from methrics.node.network.guards import run_handler
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.swarm import Body, Handler, PeerId, bytes_of
from methrics.schema.errors import UnreachableError

_LENGTH = 4


class OversizeError(Exception):
    """The peer announced more bytes than are allowed."""


async def read_message(stream: INetStream, most: int) -> bytes:
    """Return the body of the next message on `stream`, and read no byte after it.

    Raises OversizeError for a length over `most` bytes, and IOException if the stream ends early.
    """
    header = await _read_exactly(stream, _LENGTH)
    length = int.from_bytes(header, "big")
    if length > most:
        raise OversizeError
    return await _read_exactly(stream, length)


async def _read_exactly(stream: INetStream, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        part = await stream.read(n - len(data))
        if not part:
            raise IOException("the stream ended early")
        data += part
    return bytes(data)


async def _write_message(stream: INetStream, body: bytes) -> None:
    await stream.write(len(body).to_bytes(_LENGTH, "big") + body)


class Requests:
    """Sends and answers requests on one host."""

    def __init__(self, host: BasicHost, settings: GossipSettings, counters: Counters) -> None:
        self._host = host
        self._settings = settings
        self._counters = counters
        self._running: dict[ID, int] = {}

    def serve(self, protocol: str, handler: Handler, request_max: int) -> None:
        """Answer requests of `protocol` with `handler` from now on."""

        async def answer(stream: INetStream) -> None:
            peer_id = stream.muxed_conn.peer_id
            mine = self._running.get(peer_id, 0)
            busy = sum(self._running.values()) >= self._settings.requests_max
            if busy or mine >= self._settings.requests_per_peer:
                self._counters.requests_refused += 1
                await stream.reset()
                return
            self._running[peer_id] = mine + 1
            try:
                await self._answer(stream, handler, request_max)
            finally:
                self._running[peer_id] -= 1
                if not self._running[peer_id]:
                    del self._running[peer_id]

        self._host.set_stream_handler(TProtocol(protocol), answer)

    async def _answer(self, stream: INetStream, handler: Handler, request_max: int) -> None:
        limit = self._settings.request_time_max
        with trio.move_on_after(limit):
            try:
                body = await read_message(stream, request_max)
                peer = str(stream.muxed_conn.peer_id)
                reply = await run_handler(handler, peer, body, limit)
                if reply is None:
                    self._counters.handler_errors += 1
                    await stream.reset()
                    return
                await _write_message(stream, reply)
                await stream.close()
            except (BaseLibp2pError, OversizeError):
                self._counters.requests_refused += 1
                await stream.reset()
                return
            self._counters.requests += 1
            return
        self._counters.requests_refused += 1
        await stream.reset()

    async def ask(self, peer_id: ID, protocol: str, body: Body, reply_max: int) -> bytes:
        """Send a request and return the peer's reply. Raises `UnreachableError` if there is no
        reply of at most `reply_max` bytes. The caller limits the time."""
        stream: INetStream | None = None
        try:
            stream = await self._host.new_stream(peer_id, [TProtocol(protocol)])
            await _write_message(stream, await bytes_of(body))
            reply = await read_message(stream, reply_max)
            await stream.close()
        except BaseLibp2pError:
            raise UnreachableError(
                "no-reply", f"the peer gave no reply to {protocol}", "it may not serve it"
            ) from None
        except OversizeError:
            raise UnreachableError(
                "reply-oversize", f"the peer's reply is over {reply_max} bytes"
            ) from None
        else:
            stream, done = None, reply
            return done
        finally:
            if stream is not None:
                with trio.move_on_after(1) as scope:
                    scope.shield = True
                    await stream.reset()


def parse_peer(peer: PeerId) -> ID | None:
    """Return the peer id whose text form is `peer`, or None if it is not one."""
    try:
        return ID.from_string(peer)
    except Exception:  # noqa: BLE001 - three parsers, each with errors of its own
        return None

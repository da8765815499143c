"""A small HTTP/1.1 server for an ASGI application, on trio and h11.

It keeps the promises of trio, which other servers do not: each write can be cancelled and has a
deadline, so a reader that stalls is disconnected, and delays no shutdown
(`docs/decisions/0021-http-stack.md`). It has no WebSockets. TLS is a matter of the listeners
(`methrics.node.http.tls`): a handshake counts as part of the first request's head.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import h11
import trio
from trio.abc import HalfCloseableStream, Stream

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application, as the ASGI specification describes it."""

_PIECE = 65_536

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 5\r\n"
    b"Content-Length: 20\r\nConnection: close\r\n\r\ntoo many connections"
)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a connection may take."""

    connections: int = 64
    """Connections at the same time. Further ones are answered 503."""
    per_origin: int = 64
    """Connections of one network (IPv4 /24, IPv6 /48) at the same time. Further ones, too. Networks
    are told apart only where `serve_http` is told how."""
    refusals: int = 16
    """Connections that are being answered 503 at the same time. Further ones are closed."""
    head_bytes: int = 16 * 1024
    """Maximum size of a request's first line and headers."""
    head_seconds: float = 15.0
    """Time for them to arrive, and for a connection to be idle between two requests."""
    stall_seconds: float = 30.0
    """A reader that takes no byte for so long is disconnected."""


class CutError(Exception):
    """Raised by an application that cannot complete an answer that has begun. The connection is
    closed, so that the reader sees that the answer is not whole."""


class _GoneError(Exception):
    """The other side has left, or is too slow: the connection ends."""


Origin = Callable[[str | None], bytes]
"""Returns the token of the network of a host, or b"" for a host that is counted with nobody."""


async def serve_http(
    app: ASGIApp,
    listeners: Sequence[trio.abc.Listener[Any]],
    limits: HttpLimits | None = None,
    origin: Origin | None = None,
) -> None:
    """Serve `app` until cancelled. An error in the application ends its request only."""
    await trio.serve_listeners(handler_of(app, limits or HttpLimits(), origin), list(listeners))


def handler_of(
    app: ASGIApp, limits: HttpLimits, origin: Origin | None = None
) -> Callable[[Stream], Awaitable[None]]:
    """Return what serves a connection, within the limit of their number.

    Connections over the limit are not read: each takes a file descriptor, and without those the
    process could not go on.
    """
    room = trio.CapacityLimiter(limits.connections)
    refusals = trio.CapacityLimiter(limits.refusals)
    held: Counter[bytes] = Counter()

    async def handle(stream: Stream) -> None:
        token = origin(host_of(stream)) if origin else b""
        if token and held[token] >= limits.per_origin:
            await _refuse(stream, refusals)
            return
        try:
            room.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            await _refuse(stream, refusals)
            return
        held[token] += 1
        try:
            await serve_stream(app, stream, limits)
        finally:
            room.release_on_behalf_of(stream)
            held[token] -= 1
            if not held[token]:
                del held[token]

    return handle


def host_of(stream: Stream) -> str | None:
    """Return the IP address of the other side, or None if the stream is no socket."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return None
    try:
        name = stream.socket.getpeername()
    except OSError:  # it has left
        return None
    return name[0] if isinstance(name, tuple) else None


async def _refuse(stream: Stream, refusals: trio.CapacityLimiter) -> None:
    """Answer 503 and close; only close if many are being refused."""
    try:
        refusals.acquire_on_behalf_of_nowait(stream)
    except trio.WouldBlock:
        await trio.aclose_forcefully(stream)
        return
    try:
        with trio.move_on_after(1):
            await stream.send_all(_FULL)
            await _end(stream)
            while await stream.receive_some(_PIECE):
                pass  # a socket closed with unread bytes would take the answer back
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        refusals.release_on_behalf_of(stream)
        await trio.aclose_forcefully(stream)


async def _end(stream: Stream) -> None:
    """Say that no more bytes follow. TLS ends both ways at once."""
    if isinstance(stream, HalfCloseableStream):
        await stream.send_eof()
    elif isinstance(stream, trio.SSLStream):
        await stream.unwrap()


async def serve_stream(app: ASGIApp, stream: Stream, limits: HttpLimits) -> None:
    """Answer the requests of one connection, then close it."""
    await _Connection(app, stream, limits).run()


async def _plain(send: Any, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class _Connection:
    def __init__(self, app: ASGIApp, stream: Stream, limits: HttpLimits) -> None:
        self._app = app
        self._stream = stream
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._host = host_of(stream)
        self._head_only = False

    async def run(self) -> None:
        """Answer requests until one side closes the connection."""
        try:
            while await self._one():
                self._http.start_next_cycle()
            await self._linger()
        except _GoneError:
            pass
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _one(self) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            with _at_most(self._limits.head_seconds):
                request = await self._event()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await _plain(self._send, error.error_status_hint, b"this is no request")
            return False
        if not isinstance(request, h11.Request):
            return False
        if _is_ambiguous(request):
            await _plain(self._send, 400, b"this request has two lengths")
            return False
        self._head_only = request.method == b"HEAD"
        try:
            await self._app(self._scope(request), self._receive, self._send)
        except Exception as error:
            if _ends(error):
                raise _GoneError from None
            log.exception("a request failed")
            if self._http.our_state is not h11.SEND_RESPONSE:
                raise _GoneError from None  # the reader sees an answer that is cut short
            await _plain(self._send, 500, b"a fault of the server")
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _scope(self, request: h11.Request) -> Scope:
        target, _, query = request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "https" if isinstance(self._stream, trio.SSLStream) else "http",
            "path": unquote(target.decode("ascii")),
            "raw_path": target,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": None if self._host is None else (self._host, 0),
            "server": None,
        }

    async def _event(self) -> Any:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._read())

    async def _receive(self) -> Message:
        """ASGI's `receive`: the body, then the moment at which the reader has left."""
        if self._http.their_state is h11.SEND_BODY:
            try:
                event = await self._event()
            except h11.RemoteProtocolError:
                return {"type": "http.disconnect"}
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        elif data := await self._read():
            self._http.receive_data(data)  # the next request, sent early: nobody watches from here
            await trio.sleep_forever()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            head = h11.Response(status_code=message["status"], headers=message["headers"])
            await self._write(self._http.send(head) or b"")
            return
        body = message.get("body", b"")
        if body and not self._head_only:
            for part in self._http.send_with_data_passthrough(h11.Data(data=body)) or []:
                await self._write(part)
        if not message.get("more_body", False):
            await self._write(self._http.send(h11.EndOfMessage()) or b"")

    async def _read(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(_PIECE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            with _at_most(self._limits.stall_seconds):
                try:
                    await self._stream.send_all(data[start : start + _PIECE])
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    raise _GoneError from None

    async def _linger(self) -> None:
        """Let the last answer arrive: a socket closed with unread bytes would take it back."""
        with trio.move_on_after(1):
            try:
                await _end(self._stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            for _ in range(16):
                if not await self._read():
                    return


def _is_ambiguous(request: h11.Request) -> bool:
    """Whether a proxy in front may read another length than h11 does (request smuggling)."""
    names = {name for name, _ in request.headers}
    return {b"content-length", b"transfer-encoding"} <= names


def _ends(error: Exception) -> bool:
    """Whether an error is no fault: the reader has left, or the answer was cut on purpose."""
    if isinstance(error, ExceptionGroup):
        return error.split((_GoneError, CutError))[1] is None
    return isinstance(error, _GoneError | CutError)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise _GoneError

"""An HTTP/1.1 client that sends one request over a connection of its own.

It says the least: no header that is not needed, no cookie, nothing kept between two requests, and
no session of TLS. Redirects are not followed, because a relay has no reason to send one, and the
person has agreed to the address that they know.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import h11
import trio
from trio.abc import Stream

from methrics.node.http.url import Address, Proxy, proxy_of
from methrics.schema.errors import RefusedError, RemoteError, UnreachableError
from methrics.schema.wire.verdict import Reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

HEAD_MAX = 16 * 1024
"""Most bytes of the first line and the headers of an answer."""

CONNECT_TIME = 15.0
"""Most seconds to connect, handshakes included."""

_PIECE = 65_536

Content = Callable[[], Awaitable[bytes]]
"""Returns the content of a request. It is called immediately before the bytes leave."""

Connect = Callable[[str, int], Awaitable[Stream]]
"""Opens a connection to a host and port. Raises OSError."""


class Answer(NamedTuple):
    """What a server answered. `retry`: the seconds of its header Retry-After, None without one."""

    status: int
    kind: str
    content: bytes
    retry: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `content` is None for a GET; `answer_max`: most bytes of the answer's content.
    `time`: most seconds from the first byte sent to the last byte received."""

    path: str
    content: Content | None = None
    kind: str = ""
    answer_max: int = 1_048_576
    time: float = 30.0


class HttpClient:
    """Asks the server at `address`. `context` makes the TLS context of each connection."""

    def __init__(
        self,
        address: Address,
        *,
        context: Callable[[], ssl.SSLContext] | None = None,
        connect: Connect | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self.address = address
        self._context = context
        self._connect = connect or _tcp
        self._env = env

    async def ask(self, ask: Ask) -> Answer:
        """Send one request and return the answer.

        Raises UnreachableError (`connect`, `proxy`, `tls`, `too-slow`, `cut`), RefusedError
        `malformed` or `oversize` for an answer that breaks the rules, and what `ask.content`
        raises. If it is cancelled, the connection is closed at once.
        """
        async with self._connected() as stream:
            # Nothing is waited for from here until the bytes leave, so consent is asked here.
            content = b"" if ask.content is None else await ask.content()
            try:
                with trio.fail_after(ask.time):
                    return await _exchange(stream, self._head(ask, content), content, ask)
            except trio.TooSlowError:
                raise UnreachableError("too-slow", "the relay did not answer in time") from None
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise _cut() from None

    def _head(self, ask: Ask, content: bytes) -> h11.Request:
        headers = [(b"Host", self.address.authority)]
        if ask.content is not None:
            headers.append((b"Content-Type", ask.kind.encode("ascii")))
            headers.append((b"Content-Length", b"%d" % len(content)))
        headers.append((b"Connection", b"close"))
        method = b"GET" if ask.content is None else b"POST"
        return h11.Request(method=method, target=ask.path.encode("ascii"), headers=headers)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Stream]:
        """Connect, through the proxy of the environment if it names one. At the end the connection
        is closed at once: no farewell is waited for."""
        open_streams: list[Stream] = []
        try:
            try:
                with trio.fail_after(CONNECT_TIME):
                    stream = await self._open(open_streams)
            except trio.TooSlowError:
                raise UnreachableError("too-slow", "connecting took too long") from None
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise UnreachableError("connect", f"cannot connect: {reason}") from None
            yield stream
        finally:
            for one in reversed(open_streams):
                await trio.aclose_forcefully(one)

    async def _open(self, open_streams: list[Stream]) -> Stream:
        proxy = proxy_of(self.address, self._env)
        host, port = proxy[:2] if proxy else self.address[1:]
        stream = await self._connect(host, port)
        open_streams.append(stream)
        if proxy:
            await _tunnel(stream, proxy, self.address)
        if not self.address.secure:
            return stream
        wrapped = trio.SSLStream(
            stream, self._new_context(), server_hostname=self.address.host, https_compatible=True
        )
        open_streams.append(wrapped)
        try:
            await wrapped.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            words = str(getattr(error.__cause__, "verify_message", "") or "the handshake failed")
            raise UnreachableError("tls", f"no secure connection: {words}") from None
        return wrapped

    def _new_context(self) -> ssl.SSLContext:
        if self._context is not None:
            return self._context()
        from methrics.node.http.tls import client_context

        return client_context()


async def _tcp(host: str, port: int) -> Stream:
    return await trio.open_tcp_stream(host, port)


async def _tunnel(stream: Stream, proxy: Proxy, address: Address) -> None:
    """Ask a proxy for a connection to the address (CONNECT, RFC 9110, section 9.3.6)."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    target = f"{host}:{address.port}".encode("ascii")
    headers = [(b"Host", target)]
    if proxy.authorization:
        headers.append((b"Proxy-Authorization", proxy.authorization))
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    request = h11.Request(method=b"CONNECT", target=target, headers=headers)
    try:
        await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
        answer = await _response(stream, http)
    except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteError) as error:
        raise UnreachableError("proxy", "the proxy does not answer as a proxy does") from error
    if not 200 <= answer.status_code < 300:
        raise UnreachableError("proxy", f"the proxy refuses: {answer.status_code}")
    if http.trailing_data[0]:
        raise UnreachableError("proxy", "the proxy sent bytes of its own")


async def _exchange(stream: Stream, head: h11.Request, content: bytes, ask: Ask) -> Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    sent = [http.send(head), http.send(h11.Data(data=content)), http.send(h11.EndOfMessage())]
    await stream.send_all(b"".join(part or b"" for part in sent))
    response = await _response(stream, http)
    found, size = list[bytes](), 0
    while isinstance(event := await _event(stream, http), h11.Data):
        found.append(bytes(event.data))
        size += len(event.data)
        if size > ask.answer_max:
            raise RefusedError(Reason.OVERSIZE, f"an answer has at most {ask.answer_max} bytes")
    if not isinstance(event, h11.EndOfMessage):
        raise _cut()
    headers = dict(response.headers)
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return Answer(
        response.status_code, kind, b"".join(found), _seconds(headers.get(b"retry-after", b""))
    )


async def _response(stream: Stream, http: h11.Connection) -> h11.Response:
    while isinstance(event := await _event(stream, http), h11.InformationalResponse):
        pass
    if not isinstance(event, h11.Response):
        raise _cut()
    return event


async def _event(stream: Stream, http: h11.Connection) -> Any:
    ended = False
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            data = await stream.receive_some(_PIECE)
            ended = not data
            http.receive_data(data)
    except h11.RemoteProtocolError:
        if ended:
            raise _cut() from None
        raise RefusedError(Reason.MALFORMED, "the answer is no HTTP") from None
    return event


def _seconds(text: bytes) -> int | None:
    """Return the seconds of Retry-After; None for a date, which a clock would have to judge."""
    return int(text) if 0 < len(text) <= 6 and text.isdigit() else None


def _cut() -> UnreachableError:
    return UnreachableError("cut", "the relay closed the connection before its answer was whole")

"""The HTTP client on streams in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from methrics.node.http.client import HEAD_MAX, Answer, Ask, HttpClient
from methrics.node.http.server import HttpLimits, serve_stream
from methrics.node.http.url import read_address
from methrics.schema.errors import RemoteError, UnreachableError

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=x\r\nContent-Length: 2\r\n\r\nhi"
Peer = Callable[[trio.abc.Stream], Awaitable[None]]


async def asked(
    peer: Peer, ask: Ask, url: str = "http://localhost", env: Mapping[str, str] | None = None
) -> Answer:
    """Ask a peer over streams in memory."""
    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            nursery.start_soon(peer, theirs)
            return ours

        client = HttpClient(read_address(url), connect=connect, env=env or {})
        found: Answer | Exception
        try:
            found = await client.ask(ask)
        except Exception as error:  # noqa: BLE001 - raised below, outside of a group
            found = error
        nursery.cancel_scope.cancel()
    if isinstance(found, Exception):
        raise found
    return found


def says(data: bytes, heard: list[bytes] | None = None) -> Peer:
    """Return a peer that answers any request with `data`, and then ends."""

    async def peer(stream: trio.abc.Stream) -> None:
        found = await stream.receive_some(65_536)
        if heard is not None:
            heard.append(found)
        await stream.send_all(data)
        await stream.aclose()

    return peer


async def four() -> bytes:
    return b"four"


async def test_a_request_says_the_least(autojump_clock: MockClock) -> None:
    heard: list[bytes] = []
    answer = await asked(says(OK, heard), Ask("/boxes", four, "application/cbor"))
    assert answer == Answer(200, "text/plain", b"hi")
    assert heard == [
        b"POST /boxes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cbor\r\n"
        b"Content-Length: 4\r\nConnection: close\r\n\r\nfour"
    ]
    await asked(says(OK, heard), Ask("/descriptors"))
    assert heard[1] == b"GET /descriptors HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_it_understands_our_own_server(autojump_clock: MockClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        head = [(b"retry-after", b"7")]
        await send({"type": "http.response.start", "status": 503, "headers": head})
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})

    async def peer(stream: trio.abc.Stream) -> None:
        await serve_stream(app, stream, HttpLimits())

    assert await asked(peer, Ask("/", four)) == Answer(503, "", b"four!", 7)


async def test_the_content_is_asked_for_only_when_it_can_leave(autojump_clock: MockClock) -> None:
    connected = trio.Event()

    async def refused(host: str, port: int) -> trio.abc.Stream:
        raise OSError(111, "Connection refused")

    async def never() -> bytes:
        raise AssertionError("asked too early")

    client = HttpClient(read_address("http://localhost"), connect=refused, env={})
    with pytest.raises(UnreachableError, match="Connection refused"):
        await client.ask(Ask("/", never))

    class HeldError(Exception):
        pass

    async def held() -> bytes:
        assert connected.is_set()
        raise HeldError

    async def peer(stream: trio.abc.Stream) -> None:
        connected.set()
        assert await stream.receive_some() == b"", "nothing leaves"

    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            nursery.start_soon(peer, theirs)
            await connected.wait()
            return ours

        with pytest.raises(HeldError):
            await HttpClient(read_address("http://localhost"), connect=connect, env={}).ask(
                Ask("/", held)
            )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "cut"),
        (OK[:-1], "cut"),
        (b"HTTP/1.1 200 OK\r\n", "cut"),
        (b"nonsense\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2 * HEAD_MAX, "malformed"),
        (OK.replace(b"Length: 2", b"Length: 9999") + b"x" * 2000, "oversize"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000, "oversize"),
    ],
)
async def test_attack_by_a_wrong_answer(autojump_clock: MockClock, data: bytes, code: str) -> None:
    with pytest.raises(RemoteError) as caught:
        await asked(says(data), Ask("/", four, answer_max=1000))
    assert caught.value.code == code


async def test_attack_by_a_server_that_dribbles(autojump_clock: MockClock) -> None:
    async def peer(stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            for byte in OK:
                await stream.send_all(bytes([byte]))
                await trio.sleep(5)

    began = trio.current_time()
    with pytest.raises(UnreachableError) as caught:
        await asked(peer, Ask("/", four, time=30))
    assert caught.value.code == "too-slow"
    assert trio.current_time() - began == 30


async def test_a_cancelled_request_closes_its_connection(autojump_clock: MockClock) -> None:
    ended = trio.Event()

    async def peer(stream: trio.abc.Stream) -> None:
        while await stream.receive_some(1000):
            pass
        ended.set()

    async with trio.open_nursery() as nursery:

        async def connect(host: str, port: int) -> trio.abc.Stream:
            ours, theirs = memory_stream_pair()
            nursery.start_soon(peer, theirs)
            return ours

        client = HttpClient(read_address("http://localhost"), connect=connect, env={})
        with trio.move_on_after(1) as scope:
            await client.ask(Ask("/", four))
        assert scope.cancelled_caught
        await ended.wait()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(OK)))
def test_any_answer_is_an_answer_or_a_remote_error(noise: bytes, at: int) -> None:
    async def main() -> None:
        try:
            await asked(says(OK[:at] + noise + OK[at:]), Ask("/", four))
        except RemoteError as error:
            assert error.code in {"cut", "malformed", "oversize"}

    trio.run(main, clock=MockClock(autojump_threshold=0))


PROXY = {"HTTPS_PROXY": "http://me:secret@proxy:3128"}


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 407 No\r\n\r\n", b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nextra bytes"],
)
async def test_a_proxy_that_refuses_is_named(autojump_clock: MockClock, data: bytes) -> None:
    heard: list[bytes] = []
    with pytest.raises(UnreachableError) as caught:
        await asked(says(data, heard), Ask("/", four), "https://relay.example", PROXY)
    assert caught.value.code == "proxy"
    assert heard == [
        b"CONNECT relay.example:443 HTTP/1.1\r\nHost: relay.example:443\r\n"
        b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"
    ]


async def test_an_informational_answer_is_passed_over(autojump_clock: MockClock) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    assert (await asked(says(early + OK), Ask("/"))).content == b"hi"


async def test_attack_by_endless_informational_answers(autojump_clock: MockClock) -> None:
    async def peer(stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10)
                await trio.sleep(1)

    with pytest.raises(UnreachableError):
        await asked(peer, Ask("/"))


def test_a_redirect_is_not_followed() -> None:
    async def main() -> None:
        moved = b"HTTP/1.1 302 Found\r\nLocation: https://other/\r\nContent-Length: 0\r\n\r\n"
        assert (await asked(says(moved), Ask("/"))).status == 302

    trio.run(main)

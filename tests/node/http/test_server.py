"""The HTTP server on streams in memory: no sockets, and a clock that jumps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import h11
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import lockstep_stream_pair, memory_stream_pair

from methrics.node.http.server import CutError, HttpLimits, handler_of, serve_stream

GET = b"GET /a%20b?c=1 HTTP/1.1\r\nHost: x\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path, the query and the body."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    text = scope["path"].encode() + b"|" + scope["query_string"] + b"|" + body
    head = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": text})


def answers(data: bytes, methods: list[bytes]) -> list[tuple[int, bytes]]:
    """Decode the bytes of several answers. Raises h11.RemoteProtocolError if one is cut short."""
    client, found = h11.Connection(h11.CLIENT), []
    client.receive_data(data)
    client.receive_data(b"")
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        body, status = b"", 0
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
        found.append((status, body))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    return found


async def talk(app: Any, data: bytes, limits: HttpLimits | None = None) -> bytes:
    """Send `data` and then nothing more; return all that comes back."""
    ours, theirs = memory_stream_pair()
    found = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, app, theirs, limits or HttpLimits())
        await ours.send_all(data)
        while more := await ours.receive_some(65_536):
            found += more
    return found


async def test_requests_follow_each_other(autojump_clock: trio.testing.MockClock) -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    found = await talk(echo, GET + post)
    assert answers(found, [b"GET", b"POST"]) == [(200, b"/a b|c=1|"), (200, b"/||abc")]


async def test_a_head_request_has_no_body(autojump_clock: trio.testing.MockClock) -> None:
    found = await talk(echo, GET.replace(b"GET", b"HEAD"))
    assert answers(found, [b"HEAD"]) == [(200, b"")]


async def test_a_client_is_told_to_go_on(autojump_clock: trio.testing.MockClock) -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\na"
    assert answers(await talk(echo, post), [b"POST"]) == [(200, b"/||a")]
    head, body = post[:-1], post[-1:]
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, echo, theirs, HttpLimits())
        await ours.send_all(head)
        assert (await ours.receive_some(1000)).startswith(b"HTTP/1.1 100")
        await ours.send_all(body)
        assert (await ours.receive_some(1000)).startswith(b"HTTP/1.1 200")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000, 431),
    ],
)
async def test_attack_by_a_wrong_request_gets_an_error(
    autojump_clock: trio.testing.MockClock, data: bytes, status: int
) -> None:
    assert answers(await talk(echo, data), [b"GET"])[0][0] == status


async def test_attack_by_a_request_that_never_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began = trio.current_time()
    assert await talk(echo, b"GET / HTTP/1.1\r\nHost:") == b""
    assert trio.current_time() - began <= HttpLimits().head_seconds + 2


async def failing(scope: Any, receive: Any, send: Any) -> None:
    """Fails before its answer, or in the middle of it."""
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("a fault")


async def test_a_fault_ends_its_request_only(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    [(status, body)] = answers(await talk(failing, GET), [b"GET"])
    assert (status, body) == (500, b"a fault of the server")
    cut = await talk(failing, GET.replace(b"/a%20b", b"/late"))
    assert b"half" in cut
    with pytest.raises(h11.RemoteProtocolError):
        answers(cut, [b"GET"])
    assert caplog.text.count("RuntimeError: a fault") == 2


async def cutting(scope: Any, receive: Any, send: Any) -> None:
    """Cuts its answer, from a nursery."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    async with trio.open_nursery():
        raise CutError


async def test_an_answer_that_is_cut_is_never_whole_and_no_fault(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    found = await talk(cutting, GET)
    assert b"half" in found
    with pytest.raises(h11.RemoteProtocolError):
        answers(found, [b"GET"])
    assert caplog.text == ""


def endless(sent: list[int]) -> Callable[..., Awaitable[None]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            sent.append(100_000)

    return app


@pytest.mark.parametrize("stops", ["stall", "cancel"])
async def test_attack_by_a_reader_that_stalls(
    autojump_clock: trio.testing.MockClock, stops: str
) -> None:
    """It is disconnected after a while, and does not delay a shutdown until then."""
    sent: list[int] = []
    ours, theirs = lockstep_stream_pair()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, endless(sent), theirs, HttpLimits())
        await ours.send_all(GET)
        await ours.receive_some(150_000)
        if stops == "cancel":
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    took = trio.current_time() - began
    assert took <= (2 if stops == "cancel" else HttpLimits().stall_seconds + 2)
    assert sum(sent) <= 200_000, "no more is made than the reader takes"


async def test_the_application_learns_that_its_reader_has_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    left = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, app, theirs, HttpLimits())
        await ours.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        assert not left.is_set()
        await ours.aclose()
        await left.wait()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(GET)))
def test_any_bytes_end_in_an_answer_or_a_closed_connection(noise: bytes, at: int) -> None:
    async def main() -> None:
        found = await talk(echo, GET[:at] + noise + GET[at:])
        assert found == b"" or found.startswith(b"HTTP/1.1 ")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_attack_by_more_connections_than_can_be_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever is over the limit is not waited for: the number of open connections is bounded."""
    handle = handler_of(echo, HttpLimits(connections=2, refusals=1))
    open_now: list[int] = []

    async def served(stream: Any) -> None:
        open_now.append(1)
        await handle(stream)
        open_now.pop()

    async with trio.open_nursery() as nursery:
        clients = []
        for _ in range(50):
            ours, theirs = memory_stream_pair()
            clients.append(ours)
            nursery.start_soon(served, theirs)
            await trio.testing.wait_all_tasks_blocked()
        assert len(open_now) == 3, "two that are served, and one that is refused"
        assert (await clients[2].receive_some()).startswith(b"HTTP/1.1 503 ")
        assert await clients[3].receive_some() == b""
        await trio.sleep(2)
        assert len(open_now) == 2
        await clients[0].send_all(GET)
        assert (await clients[0].receive_some()).startswith(b"HTTP/1.1 200 ")
        nursery.cancel_scope.cancel()

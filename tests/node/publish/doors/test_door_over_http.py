"""The HTTP door of a publisher, against the doors of a relay and against liars, in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from methrics.node.http.server import HttpLimits, serve_stream
from methrics.node.network.origins import Origins
from methrics.node.publish.doors.http import AGAIN, HttpDoor
from methrics.node.publish.doors.interface import Door
from methrics.node.relay import doors
from methrics.node.relay.doors import Descriptors, DoorReply
from methrics.node.relay.http_door import HttpDoor as RelayDoor
from methrics.node.relay.http_door import HttpParts
from methrics.node.relay.pool_shares import Submitter
from methrics.schema.errors import ConfigError, RefusedError, RemoteError

EXIT_ID = bytes(range(32))
TOLD = Descriptors(1_700_000_000, (b"one", b"two"))
Peer = Callable[[trio.abc.Stream], Awaitable[None]]


class Echo:
    """An entry whose exit answers each box with its own bytes, backwards."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, tuple[bytes, ...]]] = []

    async def forward(self, who: Submitter, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        await trio.lowlevel.checkpoint()
        self.got.append((exit_id, tuple(boxes)))
        if boxes[0] == b"full":
            return DoorReply(again=300)
        return DoorReply(tuple(box[::-1] for box in boxes))


def relay(entry: Echo) -> Peer:
    parts = HttpParts(
        lambda name, origin: Submitter(name.encode(), origin),
        lambda: doors.encode_descriptors(TOLD),
        entry=entry,
    )
    app = RelayDoor(parts, Origins(bytes(32))).app

    async def peer(stream: trio.abc.Stream) -> None:
        await serve_stream(app, stream, HttpLimits())

    return peer


def says(data: bytes) -> Peer:
    async def peer(stream: trio.abc.Stream) -> None:
        await stream.receive_some(65_536)
        await stream.send_all(data)
        await stream.aclose()

    return peer


def door_to(peer: Peer, nursery: trio.Nursery) -> HttpDoor:
    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(peer, theirs)
        await trio.lowlevel.checkpoint()
        return ours

    return HttpDoor("http://127.0.0.1:8080/", connect=connect, env={})


def answer(status: str, body: bytes = b"", kind: str = "application/cbor", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
    return f"{head}\r\n".encode() + body


async def test_boxes_go_and_answers_come(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    echo = Echo()
    door = door_to(relay(echo), nursery)
    assert isinstance(door, Door)
    assert door.addr == "http://127.0.0.1:8080/"
    assert await door.descriptors() == TOLD
    assert await door.exchange(EXIT_ID, [b"abc", b"de"]) == DoorReply((b"cba", b"ed"))

    async def boxes() -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        return [b"fgh"]

    assert await door.exchange(EXIT_ID, boxes) == DoorReply((b"hgf",))
    assert await door.exchange(EXIT_ID, [b"full"]) == DoorReply(again=300)
    assert echo.got[:2] == [(EXIT_ID, (b"abc", b"de")), (EXIT_ID, (b"fgh",))]


async def test_nothing_leaves_if_the_boxes_are_held_back(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class HeldError(Exception):
        pass

    async def held() -> Sequence[bytes]:
        await trio.lowlevel.checkpoint()
        raise HeldError

    echo = Echo()
    with pytest.raises(HeldError):
        await door_to(relay(echo), nursery).exchange(EXIT_ID, held)
    assert echo.got == []


@pytest.mark.parametrize(
    ("data", "again"),
    [
        (answer("503 No", more="Retry-After: 90\r\n"), 90),
        (answer("429 No", more="Retry-After: 999999\r\n"), doors.AGAIN_MAX),
        (answer("503 No", more="Retry-After: Mon, 30 Nov 2026 22:00:00 GMT\r\n"), AGAIN),
        (answer("503 No", b"<html>", "text/html"), AGAIN),
    ],
)
async def test_a_proxy_before_a_busy_relay_may_say_so(
    autojump_clock: MockClock, nursery: trio.Nursery, data: bytes, again: int
) -> None:
    door = door_to(says(data), nursery)
    assert await door.exchange(EXIT_ID, [b"x"]) == DoorReply(again=again)
    with pytest.raises(RemoteError):
        await door.descriptors()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (answer("502 No"), "relay-fault"),
        (answer("404 No"), "malformed"),
        (answer("302 Found", more="Location: https://other/\r\n"), "malformed"),
        (answer("200 OK", b"<html>", "text/html"), "malformed"),
        (answer("200 OK", b"nonsense"), "malformed"),
        (answer("200 OK", doors.encode_reply(DoorReply((b"1", b"2")))), "malformed"),
        (answer("200 OK", bytes(doors.REPLY_MAX + 1)), "oversize"),
    ],
)
async def test_attack_by_an_entry_that_answers_wrongly(
    autojump_clock: MockClock, nursery: trio.Nursery, data: bytes, code: str
) -> None:
    door = door_to(says(data), nursery)
    with pytest.raises(RemoteError) as caught:
        await door.exchange(EXIT_ID, [b"x"])
    assert caught.value.code == code


async def test_attack_by_descriptors_that_are_too_many(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    door = door_to(says(answer("200 OK", bytes(doors.DESCRIPTORS_SIZE + 1))), nursery)
    with pytest.raises(RefusedError):
        await door.descriptors()


def test_a_wrong_address_is_refused_at_once() -> None:
    with pytest.raises(ConfigError):
        HttpDoor("http://relay.example/")

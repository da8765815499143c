"""The HTTP doors of a relay, asked over streams in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h11
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from methrics.node.http.server import HttpLimits, handler_of, serve_stream
from methrics.node.network.origins import Origins
from methrics.node.ohttp.key_config import ExitKey, decode_key_configs
from methrics.node.relay import doors
from methrics.node.relay.doors import DoorReply
from methrics.node.relay.http_door import BODY_TIME, OHTTP_KEY, HttpDoor, HttpParts
from methrics.node.relay.pool_shares import Submitter
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

EXIT_ID = bytes(range(32))
KEY = ExitKey.from_seed(7, bytes(32))
BOX = b"a box"


class Served:
    """An exit and an entry that note what they get, and answer as they are told."""

    def __init__(self) -> None:
        self.reply = DoorReply((b"sealed",))
        self.got: list[tuple[Submitter, bytes, tuple[bytes, ...]]] = []

    async def serve(self, who: Submitter, boxes: Sequence[bytes]) -> DoorReply:
        await trio.lowlevel.checkpoint()
        self.got.append((who, b"", tuple(boxes)))
        return self.reply

    async def forward(self, who: Submitter, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        await trio.lowlevel.checkpoint()
        if boxes == (b"odd",):
            raise RefusedError(Reason.MALFORMED, "a box has a whole number of steps")
        self.got.append((who, exit_id, tuple(boxes)))
        return self.reply


def door_of(served: Served, roles: str = "entry exit", behind: str | None = None) -> HttpDoor:
    parts = HttpParts(
        submitter=lambda name, origin: Submitter(name.encode(), origin),
        descriptors=lambda: doors.encode_descriptors(doors.Descriptors(99, (b"one",))),
        exit=served if "exit" in roles else None,
        entry=served if "entry" in roles else None,
        keys=lambda: [KEY.config],
    )
    return HttpDoor(parts, Origins(bytes(32)), behind)


async def raw(door: HttpDoor, data: bytes, *, end: bool = False) -> bytes:
    """Send `data` and return all that comes back."""
    ours, theirs = memory_stream_pair()
    found = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, door.app, theirs, HttpLimits())
        await ours.send_all(data)
        if end:
            await ours.send_eof()
        while more := await ours.receive_some(65_536):
            found += more
    return found


def request(method: str, path: str, kind: str = "", body: bytes = b"", more: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: relay\r\n{more}"
    if method == "POST":
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


async def ask(door: HttpDoor, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and content of the answer."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=data.split()[0], target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(await raw(door, data))
    client.receive_data(b"")
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return response.status_code, headers, body


REQ, RES = "message/ohttp-req", "message/ohttp-res"
PROXY_PATH = f"/ohttp/{EXIT_ID.hex()}"


@pytest.mark.parametrize(
    ("path", "exit_id"), [("/", b""), ("/.well-known/ohttp-gateway", b""), (PROXY_PATH, EXIT_ID)]
)
async def test_gateway_and_relay_take_one_box(
    autojump_clock: MockClock, path: str, exit_id: bytes
) -> None:
    served = Served()
    status, headers, body = await ask(door_of(served), request("POST", path, REQ, BOX))
    assert (status, body) == (200, b"sealed")
    assert headers == {
        "content-type": RES,
        "content-length": "6",
        "cache-control": "no-store",
    }, "nothing else, such as a date, a cookie or the name of a program"
    assert [(one, boxes) for _, one, boxes in served.got] == [(exit_id, (BOX,))]


async def test_the_keys_are_told_where_rfc_9540_looks(autojump_clock: MockClock) -> None:
    status, headers, body = await ask(
        door_of(Served()), request("GET", "/.well-known/ohttp-gateway")
    )
    assert (status, headers["content-type"]) == (200, "application/ohttp-keys")
    assert decode_key_configs(body) == [KEY.config]


async def test_the_entry_takes_several_boxes(autojump_clock: MockClock) -> None:
    served = Served()
    served.reply = DoorReply((b"1", b""), 5)
    body = doors.encode_entry_request(EXIT_ID, [BOX, b"other"])
    status, headers, content = await ask(
        door_of(served), request("POST", "/boxes", "application/cbor", body)
    )
    assert (status, headers["content-type"]) == (200, "application/cbor")
    assert doors.decode_reply(content, boxes=2) == served.reply
    assert served.got[0][1:] == (EXIT_ID, (BOX, b"other"))


async def test_the_descriptors_are_told(autojump_clock: MockClock) -> None:
    status, _, body = await ask(door_of(Served()), request("GET", "/descriptors"))
    assert status == 200
    assert doors.decode_descriptors(body) == doors.Descriptors(99, (b"one",))
    assert (await ask(door_of(Served()), request("HEAD", "/descriptors")))[::2] == (200, b"")


@pytest.mark.parametrize("path", ["/", PROXY_PATH])
async def test_a_wrong_key_is_the_problem_of_rfc_9458(autojump_clock: MockClock, path: str) -> None:
    served = Served()
    served.reply = DoorReply((b"",))
    status, headers, body = await ask(door_of(served), request("POST", path, REQ, BOX))
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert OHTTP_KEY.encode() in body


async def test_a_full_relay_says_when_to_come_back(autojump_clock: MockClock) -> None:
    served = Served()
    served.reply = DoorReply(again=70)
    status, headers, _ = await ask(door_of(served), request("POST", PROXY_PATH, REQ, BOX))
    assert (status, headers["retry-after"]) == (503, "70")
    body = doors.encode_entry_request(EXIT_ID, [BOX])
    answer = await ask(door_of(served), request("POST", "/boxes", "application/cbor", body))
    assert answer[0] == 200
    assert doors.decode_reply(answer[2], boxes=1) == served.reply


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/nothing"), 404),
        (request("GET", "/ohttp/" + "A" * 64), 404),
        (request("POST", "/ohttp/" + "ab" * 31, REQ, BOX), 404),
        (request("GET", "/"), 405),
        (request("GET", "/boxes"), 405),
        (request("POST", "/descriptors", REQ, BOX), 405),
        (request("POST", "/", "text/plain", BOX), 415),
        (request("POST", "/", "message/ohttp-chunked-req", BOX), 415),
        (request("POST", "/", REQ, b""), 400),
        (request("POST", "/", REQ, b"x" * (doors.BOX_MAX + 1)), 413),
        (request("POST", PROXY_PATH, REQ, b"x" * (doors.BOX_MAX + 1)), 413),
        (request("POST", "/boxes", "application/cbor", b"nonsense"), 400),
        (request("POST", "/boxes", "application/cbor", b"x" * 300_000), 413),
    ],
)
async def test_what_is_wrong_is_told(autojump_clock: MockClock, data: bytes, status: int) -> None:
    served = Served()
    found, headers, _ = await ask(door_of(served), data)
    assert (found, headers["content-type"]) == (status, "application/problem+json")
    assert served.got == []


async def test_a_role_that_the_relay_does_not_have_is_not_there(autojump_clock: MockClock) -> None:
    served = Served()
    gateway, proxy = request("POST", "/", REQ, BOX), request("POST", PROXY_PATH, REQ, BOX)
    keys = request("GET", "/.well-known/ohttp-gateway")
    assert [(await ask(door_of(served, "entry"), one))[0] for one in (gateway, proxy, keys)] == [
        404,
        200,
        404,
    ]
    assert [(await ask(door_of(served, "exit"), one))[0] for one in (gateway, proxy, keys)] == [
        200,
        404,
        200,
    ]


async def test_attack_by_a_box_that_no_app_makes(autojump_clock: MockClock) -> None:
    body = doors.encode_entry_request(EXIT_ID, [b"odd"])
    answer = await ask(door_of(Served()), request("POST", "/boxes", "application/cbor", body))
    assert answer[0] == 400


async def test_attack_by_a_content_that_never_ends(autojump_clock: MockClock) -> None:
    """Each byte comes in time, and the whole does not."""
    ours, theirs = memory_stream_pair()
    served = Served()
    head = request("POST", "/", REQ, bytes(1000))[:-1000]
    found = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_stream, door_of(served).app, theirs, HttpLimits())
        await ours.send_all(head)
        began = trio.current_time()
        with trio.move_on_after(BODY_TIME + 1):
            while True:
                await ours.send_all(b"x")
                await trio.sleep(1)
        while more := await ours.receive_some(1000):
            found += more
        assert trio.current_time() - began < BODY_TIME + 5
    assert found.startswith(b"HTTP/1.1 408 ")
    assert served.got == []


SMUGGLED = request("POST", PROXY_PATH, REQ, BOX)


@pytest.mark.parametrize(
    "data",
    [
        request("POST", "/", REQ, b"0\r\n\r\n" + SMUGGLED, "Transfer-Encoding: chunked\r\n"),
        request("POST", "/", REQ, BOX, "Content-Length: 100\r\n"),
        request("POST", "/", REQ, BOX, "Transfer-Encoding: chunked, identity\r\n"),
        request("POST", "/", REQ, BOX, "Transfer-Encoding : chunked\r\n"),
        request("POST", "/", REQ, BOX, "Transfer-Encoding: \x0bchunked\r\n"),
        request("POST", "/", REQ, BOX, "X: y\rContent-Length: 0\r\n"),
        request("POST", "/", REQ, BOX, "Content-Length: +5\r\n"),
        request("POST", "/", REQ, BOX).replace(b" HTTP/1.1", b" HTTP/1.1\x00"),
    ],
)
async def test_attack_by_request_smuggling(autojump_clock: MockClock, data: bytes) -> None:
    """What a proxy may read in another way is refused, and nothing behind it is read."""
    served = Served()
    found = await raw(door_of(served), data)
    assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert found.count(b"HTTP/1.1") == 1
    assert served.got == []


async def test_attack_by_a_giant_head(autojump_clock: MockClock) -> None:
    more = "".join(f"X-{n}: {'y' * 100}\r\n" for n in range(1000))
    found = await raw(door_of(Served()), request("GET", "/descriptors", more=more))
    assert found.startswith(b"HTTP/1.1 431 ")


async def asked_from(door: HttpDoor, client: str | None, forwarded: str = "") -> None:
    """Call the application as the server does for a client at an address."""
    headers = [(b"content-type", REQ.encode())]
    if forwarded:
        headers.append((b"x-forwarded-for", forwarded.encode()))

    async def receive() -> Any:
        return {"type": "http.request", "body": BOX, "more_body": False}

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": headers,
        "client": client and (client, 0),
    }
    await door.app(scope, receive, send)


async def test_clients_are_counted_by_network_under_a_token() -> None:
    served = Served()
    door = door_of(served)
    for host in (
        "8.8.8.1",
        "8.8.8.200",
        "8.8.9.1",
        "2a00:1450::1",
        "2a00:1450:0:99::1",
        "10.0.0.1",
    ):
        await asked_from(door, host)
    origins = [who.origin for who, _, _ in served.got]
    assert origins[0] == origins[1] != origins[2]
    assert origins[3] == origins[4] not in origins[:3]
    assert origins[5] == b"", "a private address says nothing about a network"
    assert all(b"8.8" not in who.name + who.origin for who, _, _ in served.got)


async def test_only_the_named_proxy_may_say_who_asks() -> None:
    served = Served()
    door = door_of(served, behind="127.0.0.1")
    await asked_from(door, "8.8.8.8", "9.9.9.9")
    await asked_from(door, "8.8.8.8")
    await asked_from(door, "127.0.0.1", "9.9.9.9, 8.8.8.9")
    await asked_from(door, "127.0.0.1", "8.8.8.9, nonsense")
    await asked_from(door, "127.0.0.1")
    origins = [who.origin for who, _, _ in served.got]
    assert origins[0] == origins[1] == origins[2] != b""
    assert origins[3:] == [b"", b""]
    assert door.origin("127.0.0.1") == b""
    assert door.origin("8.8.8.8") == origins[0]


async def test_attack_by_many_connections_of_one_network(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ["8.8.8.1"] * 5 + ["9.9.9.9"]
    monkeypatch.setattr("methrics.node.http.server.host_of", lambda _: hosts[0])
    door = door_of(Served())
    handle = handler_of(door.app, HttpLimits(connections=10, per_origin=3), door.origin)
    answers = []
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            ours, theirs = memory_stream_pair()
            nursery.start_soon(handle, theirs)
            await trio.testing.wait_all_tasks_blocked()
            hosts.pop(0)
            hosts.append("")
            await ours.send_all(request("GET", "/descriptors"))
            answers.append((await ours.receive_some(12))[9:])
        nursery.cancel_scope.cancel()
    assert answers == [b"200", b"200", b"200", b"503", b"503", b"200"]


PIECES = st.sampled_from(
    [
        *(b"POST ", b"/ ", b"/boxes ", b"HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"5\r\n"),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
        b"Content-Type: message/ohttp-req\r\n",
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_bytes_only_end_their_connection(data: bytes) -> None:
    async def main() -> None:
        door = door_of(Served())
        found = await raw(door, data, end=True)
        assert found == b"" or found.startswith(b"HTTP/1.1 ")
        assert (await ask(door, request("GET", "/descriptors")))[0] == 200

    trio.run(main, clock=MockClock(autojump_threshold=0))

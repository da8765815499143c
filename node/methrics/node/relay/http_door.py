"""The HTTP doors of a relay: the exit and the entry, for clients that speak no libp2p.

    POST /                            the exit as a gateway of Oblivious HTTP (RFC 9458)
    GET, POST /.well-known/ohttp-gateway   the same, found by RFC 9540; GET gives its keys
    POST /ohttp/<exit id, 64 hex digits>   the entry as a relay of Oblivious HTTP, for that exit
    POST /boxes                       the entry, several boxes at once (`relay.doors`)
    POST /visits                      the entry, the boxes of a visit (`relay.visits`)
    GET  /descriptors                 the descriptors that this relay knows (`relay.doors`)

A resource whose role the relay does not have is not there. What goes wrong before a box is opened
is told in the status and a problem (RFC 9457); everything else is inside the sealed answer. Answers
say nothing about the client: they carry no cookie, tag or date, and are not to be stored. Clients
are counted by network, under a token that reveals no address, and no line is logged about them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import trio

from methrics.node.http.server import Message, Receive, Scope, Send
from methrics.node.network.origins import Origins
from methrics.node.ohttp.key_config import MEDIA_TYPE as KEYS
from methrics.node.ohttp.key_config import KeyConfig, encode_key_configs
from methrics.node.relay import doors, visits
from methrics.node.relay.doors import DoorReply
from methrics.node.relay.pool_shares import Submitter
from methrics.node.relay.visits import VisitReply, VisitRequest
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

REQUEST, RESPONSE = "message/ohttp-req", "message/ohttp-res"
CBOR = "application/cbor"
PROBLEM = "application/problem+json"

GATEWAY = "/.well-known/ohttp-gateway"

OHTTP_KEY = "https://iana.org/assignments/http-problem-types#ohttp-key"
"""The type of the problem that a box is sealed for a key which the exit does not have (RFC 9458
section 5.3)."""

BODY_TIME = 30.0
"""Seconds for the content of a request to arrive."""


class Exit(Protocol):
    """The exit of a relay."""

    async def serve(self, who: Submitter, boxes: Sequence[bytes]) -> DoorReply:
        """Open the boxes; return an answer for each, or none and when to come back."""
        ...


class Entry(Protocol):
    """The entry of a relay."""

    async def forward(self, who: Submitter, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        """Hand the boxes to an exit; return its answers, or none and when to come back."""
        ...


class Spreader(Protocol):
    """The part of an entry that keeps the boxes of visits."""

    async def visit(self, who: Submitter, request: VisitRequest) -> VisitReply:
        """Take the boxes of a visit, and tell the answers that are there."""
        ...


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the doors lead to. `exit`, `entry` and `spreader` are None if the relay does not have
    that role.

    `keys()` returns the key configurations to seal for, the best first. `descriptors()` returns the
    reply of `/methrics/descriptors/1`. `submitter(name, origin)` returns how a client is counted.
    """

    submitter: Callable[[str, bytes], Submitter]
    descriptors: Callable[[], bytes]
    exit: Exit | None = None
    entry: Entry | None = None
    spreader: Spreader | None = None
    keys: Callable[[], Sequence[KeyConfig]] = tuple


class Answer(NamedTuple):
    """One answer. `again`: seconds for the header Retry-After. `allow`: for the header Allow."""

    status: int
    kind: str
    content: bytes
    again: int | None = None
    allow: str = ""


class _Request(NamedTuple):
    """A request, and how to read its content of at most so many bytes."""

    who: Submitter
    kind: str
    read: Callable[[int], Awaitable[bytes]]


class _StopError(Exception):
    """The request is answered with a problem."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class _LeftError(Exception):
    """The client has left before its request was whole."""


class HttpDoor:
    """The ASGI application of a relay's HTTP doors. `behind`: the address of a proxy whose header
    X-Forwarded-For is believed; its last entry is the client."""

    def __init__(self, parts: HttpParts, origins: Origins, behind: str | None = None) -> None:
        self._parts = parts
        self._origins = origins
        self._behind = behind

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answered(scope, receive)
        except _StopError as stop:
            answer = stop.answer
        except RefusedError as error:
            status = 413 if error.code == Reason.OVERSIZE else 400
            answer = problem(status, error.message)
        except _LeftError:
            return
        await _send(send, answer)

    def origin(self, host: str | None) -> bytes:
        """Return the token of a connection's network: b"" for the proxy, which brings many."""
        return b"" if host == self._behind else self._origins.token(host)

    async def _answered(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        token = self._origins.token(self._client(scope["client"], headers))
        request = _Request(
            who=self._parts.submitter(f"http:{token.hex()}", token),
            kind=_one(headers, b"content-type").partition(";")[0].strip().lower(),
            read=_reader(receive, _one(headers, b"content-length")),
        )
        gets, posts = self._get(path), self._post(path)
        if method in ("GET", "HEAD") and gets is not None:
            await trio.lowlevel.checkpoint()
            return gets()
        if method == "POST" and posts is not None:
            return await posts(request)
        if gets is None and posts is None:
            raise _StopError(problem(404, "there is nothing here"))
        allow = ", ".join(["GET, HEAD"] * (gets is not None) + ["POST"] * (posts is not None))
        raise _StopError(problem(405, "another method is needed")._replace(allow=allow))

    def _client(
        self, client: tuple[str, int] | None, headers: Sequence[tuple[bytes, str]]
    ) -> str | None:
        host = client[0] if client else None
        if host is None or host != self._behind:
            return host
        return _one(headers, b"x-forwarded-for").rpartition(",")[2].strip()

    def _get(self, path: str) -> Callable[[], Answer] | None:
        if path == "/descriptors":
            return lambda: Answer(200, CBOR, self._parts.descriptors())
        if path == GATEWAY and self._parts.exit is not None:
            return lambda: Answer(200, KEYS, encode_key_configs(self._parts.keys()))
        return None

    def _post(self, path: str) -> Callable[[_Request], Awaitable[Answer]] | None:
        leave, entry, spreader = self._parts.exit, self._parts.entry, self._parts.spreader
        if path in ("/", GATEWAY) and leave is not None:
            return lambda request: _one_box(request, lambda box: leave.serve(request.who, [box]))
        if path == "/visits" and spreader is not None:
            return lambda request: _visit(request, spreader)
        if entry is None:
            return None
        if path == "/boxes":
            return lambda request: _boxes(request, entry)
        exit_id = _exit_id(path)
        if exit_id is None:
            return None
        return lambda request: _one_box(
            request, lambda box: entry.forward(request.who, exit_id, [box])
        )


def problem(status: int, title: str, kind: str = "about:blank") -> Answer:
    """Return an answer that tells what is wrong (RFC 9457)."""
    return Answer(status, PROBLEM, json.dumps({"type": kind, "title": title}).encode())


async def _one_box(request: _Request, hand: Callable[[bytes], Awaitable[DoorReply]]) -> Answer:
    """Answer as a gateway or a relay of Oblivious HTTP."""
    box = await _content(request, REQUEST, doors.BOX_MAX)
    if not box:
        raise _StopError(problem(400, "there is no box"))
    reply = await hand(box)
    if not reply.answers:
        return problem(503, "come back later")._replace(again=reply.again)
    if not reply.answers[0]:
        return problem(400, "the box does not open with any key of today", OHTTP_KEY)
    return Answer(200, RESPONSE, reply.answers[0])


async def _boxes(request: _Request, entry: Entry) -> Answer:
    body = await _content(request, CBOR, doors.ENTRY_REQUEST_MAX)
    asked = doors.decode_entry_request(body)
    reply = await entry.forward(request.who, asked.exit, asked.boxes)
    return Answer(200, CBOR, doors.encode_reply(reply))


async def _visit(request: _Request, spreader: Spreader) -> Answer:
    body = await _content(request, CBOR, visits.REQUEST_SIZE)
    reply = await spreader.visit(request.who, visits.decode_visit_request(body))
    return Answer(200, CBOR, visits.encode_visit_reply(reply))


async def _content(request: _Request, kind: str, limit: int) -> bytes:
    """Return the content. It is not read if it is of another kind."""
    if request.kind != kind:
        raise _StopError(problem(415, f"the content must be {kind}"))
    with trio.move_on_after(BODY_TIME):
        return await request.read(limit)
    raise _StopError(problem(408, "the content took too long"))


def _reader(receive: Receive, length: str) -> Callable[[int], Awaitable[bytes]]:
    async def read(limit: int) -> bytes:
        too_large = _StopError(problem(413, f"at most {limit} bytes"))
        if length.isdecimal() and int(length[:20]) > limit:
            raise too_large
        found = bytearray()
        while True:
            message: Message = await receive()
            if message["type"] != "http.request":
                raise _LeftError
            found += message.get("body", b"")
            if len(found) > limit:
                raise too_large
            if not message.get("more_body", False):
                return bytes(found)

    return read


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.kind.encode("ascii")),
        (b"content-length", b"%d" % len(answer.content)),
        (b"cache-control", b"no-store"),
    ]
    if answer.again is not None:
        headers.append((b"retry-after", b"%d" % answer.again))
    if answer.allow:
        headers.append((b"allow", answer.allow.encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})


def _one(headers: Sequence[tuple[bytes, str]], name: bytes) -> str:
    """Return the value of a header, of several the last."""
    return next((value for key, value in reversed(headers) if key == name), "")


def _exit_id(path: str) -> bytes | None:
    text = path.removeprefix("/ohttp/")
    if text == path or len(text) != 2 * doors.EXIT_ID_SIZE:
        return None
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if found.hex() == text else None

"""The HTTP door of an entry: the same bytes as over libp2p, as the content of HTTP requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from methrics.node.http.client import Answer, Ask, Connect, HttpClient
from methrics.node.http.url import read_address
from methrics.node.publish.doors.interface import (
    Boxes,
    Descriptors,
    DoorReply,
    Visiting,
    VisitReply,
    boxes_of,
)
from methrics.node.relay import doors, visits
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.wire.verdict import Reason

if TYPE_CHECKING:
    import ssl

REQUEST_TIME = 30.0
"""Most seconds for one request, after the connection is made."""

CBOR = "application/cbor"

AGAIN = 60
"""Seconds after which a full entry that names no time is asked again."""


class HttpDoor:
    """The entry at `url`: `https://host[:port]/`, or `http://` on this machine.

    Each request has a connection of its own, so an entry cannot tell from the connection that two
    requests come from one app. Raises ConfigError `bad-address` for a wrong URL. `context`,
    `connect` and `env` replace TLS, sockets and the environment in tests.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = REQUEST_TIME,
        context: Callable[[], ssl.SSLContext] | None = None,
        connect: Connect | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self.addr = url
        self._timeout = timeout
        self._client = HttpClient(read_address(url), context=context, connect=connect, env=env)

    async def descriptors(self) -> Descriptors:
        """See `Door`."""
        ask = Ask("/descriptors", answer_max=doors.DESCRIPTORS_SIZE, time=self._timeout)
        answer = await self._client.ask(ask)
        if answer.status in (429, 503):
            raise UnreachableError("busy", "the relay is busy")
        return doors.decode_descriptors(_content(answer))

    async def exchange(self, exit_id: bytes, boxes: Boxes) -> DoorReply:
        """See `Door`. An entry that is full, or a proxy before it that says so, gives a reply
        without answers."""
        count = 0

        async def content() -> bytes:
            nonlocal count
            going = await boxes_of(boxes)
            count = len(going)
            return doors.encode_entry_request(exit_id, going)

        ask = Ask("/boxes", content, CBOR, doors.REPLY_MAX, self._timeout)
        answer = await self._client.ask(ask)
        if answer.status in (429, 503):
            return DoorReply((), min(answer.retry or AGAIN, doors.AGAIN_MAX))
        return doors.decode_reply(_content(answer), boxes=count)

    async def visit(self, request: Visiting) -> VisitReply:
        """See `VisitingDoor`."""

        async def content() -> bytes:
            return visits.encode_visit_request(await request())

        ask = Ask("/visits", content, CBOR, visits.REPLY_MAX, self._timeout)
        answer = await self._client.ask(ask)
        if answer.status in (429, 503):
            raise UnreachableError("busy", "the relay is busy")
        return visits.decode_visit_reply(_content(answer))


def _content(answer: Answer) -> bytes:
    if answer.status == 200 and answer.kind == CBOR:
        return answer.content
    if answer.status in (500, 502, 504):
        raise UnreachableError("relay-fault", f"the relay cannot answer now: {answer.status}")
    raise RefusedError(Reason.MALFORMED, f"this is no relay: it answers {answer.status}")

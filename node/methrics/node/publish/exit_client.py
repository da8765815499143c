"""Asks the exit of one relay directly, without an entry in between.

So the relay sees this machine's address together with what it is asked. That is right only where
the address is no secret: the owner of a namespace asks about its records, and hands out new ones.
Reports never go this way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import Sealed, seal
from methrics.node.ohttp.inner import Answer
from methrics.node.ohttp.key_config import MEDIA_TYPE, decode_key_config, decode_key_configs
from methrics.node.ohttp.key_config import encode_key_config as encode_key
from methrics.node.publish.doors.interface import Descriptors
from methrics.node.publish.entry import is_url
from methrics.node.publish.known_relays import known_relays, shown
from methrics.node.publish.ways import KnownRelay
from methrics.node.relay import doors
from methrics.node.relay.doors import DoorReply
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.wire.verdict import Reason

REQUEST_TIME = 30.0
"""Seconds for one request to a relay."""

AGAIN = 60
"""Seconds after which a full exit that names no time is asked again."""

NO_EXIT = "the relay opens no boxes"
"""Says that a relay answers, but is no exit today."""


class Line(Protocol):
    """A way to the doors of one relay. The methods raise UnreachableError, and RefusedError for
    what breaks the rules."""

    async def descriptors(self) -> Descriptors:
        """Return the descriptors that the relay knows."""
        ...

    async def own(self) -> Callable[[KnownRelay], bool]:
        """Return what tells the relay from the others that it knows."""
        ...

    async def boxes(self, boxes: Sequence[bytes]) -> DoorReply:
        """Hand boxes to the relay's exit; as many as one request holds."""
        ...


class ExitClient:
    """The exit of the relay at `addr`, a multiaddress or a URL. The methods raise UnreachableError
    if it cannot be reached, and RefusedError if it is no exit or its answers break the rules."""

    def __init__(self, addr: str, swarm: Swarm) -> None:
        self.addr = addr
        self._line: Line = HttpLine(addr) if is_url(addr) else SwarmLine(addr, swarm)
        self._relay: KnownRelay | None = None

    async def relay(self) -> KnownRelay:
        """Return the relay as it describes itself today, by its own clock."""
        if self._relay is None:
            told = await self._line.descriptors()
            is_own = await self._line.own()
            known = known_relays([shown(told.raws, told.time)])
            found = [one for one in known if is_own(one) and one.key and "exit" in one.roles]
            if not found:
                raise RefusedError(Reason.FOREIGN, NO_EXIT)
            self._relay = found[0]
        return self._relay

    async def ask(self, resource: str, contents: Sequence[bytes]) -> list[Answer]:
        """Ask one question for each of `contents`, in their order; return the answers. An exit that
        is full answers `quota`."""
        config = decode_key_config((await self.relay()).key)
        sealed = [seal(config, inner.encode_question(resource, content)) for content in contents]
        left, answers = iter(sealed), list[Answer]()
        for boxes in doors.split_boxes([one.box for one in sealed]):
            reply = await self._line.boxes(boxes)
            asked = [next(left) for _ in boxes]
            answers += (
                [_answer(one, raw, resource) for one, raw in zip(asked, reply.answers, strict=True)]
                if reply.answers
                else [Answer(Reason.QUOTA, 0, reply.again)] * len(boxes)
            )
        return answers


def _answer(sealed: Sealed, raw: bytes, resource: str) -> Answer:
    return inner.decode_answer(sealed.open(raw), box=resource == inner.BOX)


class SwarmLine:
    """The relay at a multiaddress, whose peer id names it."""

    def __init__(self, addr: str, swarm: Swarm) -> None:
        self._addr = addr
        self._swarm = swarm

    async def descriptors(self) -> Descriptors:
        """See `Line`."""
        reply = await self._ask(doors.DESCRIPTORS, b"", doors.DESCRIPTORS_SIZE)
        return doors.decode_descriptors(reply)

    async def own(self) -> Callable[[KnownRelay], bool]:
        """See `Line`."""
        key = key_of(await self._swarm.dial(self._addr))
        return lambda relay: relay.id == key

    async def boxes(self, boxes: Sequence[bytes]) -> DoorReply:
        """See `Line`."""
        body = doors.encode_exit_request(boxes)
        reply = await self._ask(doors.EXIT, body, doors.REPLY_MAX)
        return doors.decode_reply(reply, boxes=len(boxes))

    async def _ask(self, protocol: str, body: bytes, reply_max: int) -> bytes:
        peer = await self._swarm.dial(self._addr)
        return await self._swarm.request(
            peer, protocol, body, reply_max=reply_max, timeout=REQUEST_TIME
        )


class HttpLine:
    """The relay at a URL, as a gateway of Oblivious HTTP; the key that it names there is in its
    descriptor."""

    GATEWAY = "/.well-known/ohttp-gateway"

    def __init__(self, url: str) -> None:
        from methrics.node.http.client import HttpClient
        from methrics.node.http.url import read_address
        from methrics.node.publish.doors.http import HttpDoor

        self._door = HttpDoor(url)
        self._client = HttpClient(read_address(url))

    async def descriptors(self) -> Descriptors:
        """See `Line`."""
        return await self._door.descriptors()

    async def own(self) -> Callable[[KnownRelay], bool]:
        """See `Line`."""
        from methrics.node.http.client import Ask

        answer = await self._client.ask(Ask(self.GATEWAY, time=REQUEST_TIME))
        if answer.status != 200 or answer.kind != MEDIA_TYPE:
            raise RefusedError(Reason.FOREIGN, NO_EXIT)
        keys = {encode_key(config) for config in decode_key_configs(answer.content)}
        return lambda relay: relay.key in keys

    async def boxes(self, boxes: Sequence[bytes]) -> DoorReply:
        """See `Line`. Each box is a request of its own."""
        answers: list[bytes] = []
        for box in boxes:
            reply = await self._box(box)
            if not reply.answers:
                return reply
            answers += reply.answers
        return DoorReply(tuple(answers))

    async def _box(self, box: bytes) -> DoorReply:
        from methrics.node.http.client import Ask

        async def content() -> bytes:
            return box

        ask = Ask(self.GATEWAY, content, "message/ohttp-req", doors.ANSWER_MAX, REQUEST_TIME)
        answer = await self._client.ask(ask)
        if answer.status in (429, 503):
            return DoorReply((), answer.retry or AGAIN)
        if answer.status != 200 or answer.kind != "message/ohttp-res":
            raise UnreachableError("relay-fault", f"the relay cannot answer: {answer.status}")
        return DoorReply((answer.content,))

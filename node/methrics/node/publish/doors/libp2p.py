"""The door of an entry over libp2p: requests on a connection that a swarm keeps."""

from __future__ import annotations

import trio

from methrics.node.network.swarm import Body, PeerId, Swarm
from methrics.node.publish.doors.interface import Boxes, Visiting, boxes_of
from methrics.node.relay import doors, visits
from methrics.node.relay.doors import Descriptors, DoorReply
from methrics.node.relay.visits import VisitReply
from methrics.schema.errors import ConfigError, UnreachableError

REQUEST_TIME = 30.0
"""Seconds for one request to an entry: more than it gives an exit to answer."""


class Libp2pDoor:
    """The entry at the multiaddress `addr`, asked over `swarm`. Each request takes at most
    `timeout` seconds, and so does connecting. `stranger`: whether other relays named the address,
    so that it must not lead into a private network."""

    def __init__(
        self, swarm: Swarm, addr: str, timeout: float = REQUEST_TIME, *, stranger: bool = False
    ) -> None:
        self._addr = addr
        self._swarm = swarm
        self._timeout = timeout
        self._stranger = stranger
        self._peer: PeerId | None = None

    @property
    def addr(self) -> str:
        """The multiaddress."""
        return self._addr

    async def descriptors(self) -> Descriptors:
        """See `Door`."""
        reply = await self._ask(doors.DESCRIPTORS, b"", doors.DESCRIPTORS_SIZE)
        return doors.decode_descriptors(reply)

    async def exchange(self, exit_id: bytes, boxes: Boxes) -> DoorReply:
        """See `Door`."""
        going: list[bytes] = []

        async def body() -> bytes:
            going.extend(await boxes_of(boxes))
            return doors.encode_entry_request(exit_id, going)

        reply = await self._ask(doors.ENTRY, body, doors.REPLY_MAX)
        return doors.decode_reply(reply, boxes=len(going))

    async def visit(self, request: Visiting) -> VisitReply:
        """See `VisitingDoor`."""

        async def body() -> bytes:
            return visits.encode_visit_request(await request())

        reply = await self._ask(visits.VISIT, body, visits.REPLY_MAX)
        return visits.decode_visit_reply(reply)

    async def _ask(self, protocol: str, body: Body, reply_max: int) -> bytes:
        try:
            peer = self._peer = self._peer or await self._connected()
            return await self._swarm.request(
                peer, protocol, body, reply_max=reply_max, timeout=self._timeout
            )
        except UnreachableError:
            self._peer = None  # so that the next request connects again
            raise

    async def _connected(self) -> PeerId:
        """Return the entry's peer id once it is connected. Raises UnreachableError."""
        try:
            with trio.fail_after(self._timeout):
                if not self._stranger:
                    return await self._swarm.dial(self._addr)
                peer = self._addr.rpartition("/p2p/")[2]
                await self._swarm.connect(peer, [self._addr])
                return peer
        except trio.TooSlowError:
            raise UnreachableError("too-slow", "the relay did not answer in time") from None
        except ConfigError as error:
            # One app may have named it and others use it, so it is no fault of this one.
            raise UnreachableError(error.code, error.message) from error

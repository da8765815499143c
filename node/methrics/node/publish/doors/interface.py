"""The interface of a door: a way to talk to one relay, the entry of this machine.

There are two kinds: over libp2p and over HTTP. Both carry the same bytes
(`methrics.node.relay.doors`), so that a route need not know which one it uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from methrics.node.relay.doors import Descriptors, DoorReply
from methrics.node.relay.visits import VisitReply, VisitRequest

__all__ = [
    "Boxes",
    "Descriptors",
    "Door",
    "DoorReply",
    "VisitReply",
    "VisitRequest",
    "Visiting",
    "VisitingDoor",
    "boxes_of",
]

Boxes = Sequence[bytes] | Callable[[], Awaitable[Sequence[bytes]]]
"""Sealed boxes, or a function that returns them. The function is called immediately before the
bytes are handed over, when the connection waits for nothing else, so it may ask again whether they
may leave. If it raises, nothing is sent, and the error goes to the caller. It returns at least one
box, and no more than one request holds (`methrics.node.relay.doors.split_boxes`)."""

Visiting = Callable[[], Awaitable[VisitRequest]]
"""Returns what a visit hands over. It is called immediately before the bytes leave, as the function
in `Boxes` is."""


async def boxes_of(boxes: Boxes) -> tuple[bytes, ...]:
    """Return the boxes, after asking for them if need be."""
    return tuple(await boxes()) if callable(boxes) else tuple(boxes)


@runtime_checkable
class Door(Protocol):
    """The entry at `addr`, as a publisher uses it.

    Both methods take a bounded time and may be cancelled. They raise UnreachableError if the entry
    cannot be reached or does not answer in time, and RefusedError if its answer breaks the rules.
    """

    @property
    def addr(self) -> str:
        """The address that the person or the app gave: a multiaddr or a URL."""
        ...

    async def descriptors(self) -> Descriptors:
        """Ask the entry for the descriptors of relays that it knows. They are not checked yet."""
        ...

    async def exchange(self, exit_id: bytes, boxes: Boxes) -> DoorReply:
        """Hand boxes to the entry for the relay whose id is `exit_id` (32 bytes), and return its
        reply: one answer for each box, or none and when to come back. A cancelled call may or may
        not have handed them over."""
        ...


@runtime_checkable
class VisitingDoor(Door, Protocol):
    """The door of an entry that keeps the boxes of a visit, and spreads them over hours."""

    async def visit(self, request: Visiting) -> VisitReply:
        """Hand over the boxes of a visit, and ask for the answers to these and to earlier ones. A
        cancelled call, or one that raises UnreachableError, may or may not have handed them
        over."""
        ...

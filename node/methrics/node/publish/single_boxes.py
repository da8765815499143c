"""Makes a visit to a relay that takes one box per request and answers at once.

Somebody else's OHTTP relay and an exit's own gateway know no visits. They get as many boxes as an
entry does, in random order.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio

from methrics.node.publish.doors.interface import Door, Visiting, VisitReply
from methrics.node.publish.leaving import HeldError
from methrics.node.relay.visits import VisitBox, handle_of
from methrics.schema.errors import RemoteError, UnreachableError

BOXES_AT_ONCE = 4
"""Boxes that wait for an answer at the same time, so that a visit does not take minutes."""


class SingleBoxes:
    """Hands the boxes of a visit over one by one. `still`: awaited immediately before each leaves;
    it raises HeldError if the box with this handle may not leave."""

    def __init__(
        self, door: Door, still: Callable[[bytes], Awaitable[object]], rng: random.Random
    ) -> None:
        self._door = door
        self._still = still
        self._rng = rng

    async def visit(self, request: Visiting) -> VisitReply:
        """See `VisitingDoor`. A box without an answer will never get one. Raises UnreachableError
        if no box got any."""
        answers: dict[bytes, bytes] = {}
        going = await request()
        boxes = self._rng.sample(going.boxes, len(going.boxes))
        problems: list[RemoteError] = []

        async def work() -> None:
            while boxes:
                one = boxes.pop()
                try:
                    answers[handle_of(one.box)] = await self._hand(one)
                except HeldError:
                    continue
                except RemoteError as error:
                    problems.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(min(BOXES_AT_ONCE, len(boxes))):
                nursery.start_soon(work)
        if problems and not answers:
            raise UnreachableError(problems[0].code, problems[0].message)
        return VisitReply(tuple(answers.get(handle, b"") for handle in going.asked), 0)

    async def _hand(self, one: VisitBox) -> bytes:
        async def leave() -> list[bytes]:
            await self._still(handle_of(one.box))
            return [one.box]

        reply = await self._door.exchange(one.exit, leave)
        return reply.answers[0] if reply.answers else b""

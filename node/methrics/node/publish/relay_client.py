"""Talks to one relay: asks for its description and its records, and hands it sealed items."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import trio

from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.publish.leaving import HeldError, Leave, leave_all, leaving
from methrics.node.relay import submit
from methrics.node.relay.boxes import seal
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

REQUEST_TIME = 30.0
"""Seconds for one request to a relay."""

NOT_CARRIED = "the relay does not carry this app"
"""Says that a relay answers, but carries no topic of the namespace."""


class Answers(NamedTuple):
    """What a relay said. `reasons`: its reason for each item, by id, without the items that might
    not leave. `again`: the seconds after which a full relay wants to be asked again, 0 if it named
    none."""

    reasons: dict[bytes, Reason]
    again: int = 0


class RelayClient:
    """The relay at `addr`, asked over `swarm`. Each request takes at most `timeout` seconds.

    Every method raises UnreachableError if the relay cannot be reached, and RefusedError if its
    answer is not one of a relay, or if it does not carry the topic.
    """

    def __init__(self, swarm: Swarm, addr: str, timeout: float = REQUEST_TIME) -> None:
        self.addr = addr
        self.peer: PeerId = ""
        self._swarm = swarm
        self._timeout = timeout
        self._described: submit.Description | None = None
        self._at = 0.0

    @property
    def time(self) -> int:
        """The relay's clock now (Unix seconds), by its last description; 0 before the first."""
        if self._described is None:
            return 0
        return self._described.time + int(trio.current_time() - self._at)

    async def describe(self, topic: str) -> submit.Description:
        """Ask for the description, with the records of the topic's namespace; without records if
        `topic` is empty."""
        self.peer = await self._swarm.dial(self.addr)
        reply = await self._swarm.request(
            self.peer,
            submit.RELAY,
            submit.encode_describe_request(topic or None),
            reply_max=submit.DESCRIPTION_MAX,
            timeout=self._timeout,
        )
        found = submit.decode_description(reply)
        if topic and topic not in found.topics:
            raise RefusedError(Reason.FOREIGN, NOT_CARRIED)
        self._described, self._at = found, trio.current_time()
        return found

    async def description(self, topic: str) -> submit.Description:
        """Return the description of an earlier call while it is valid, or else ask for it."""
        found = self._described
        if found is not None and trio.current_time() < self._at + found.life:
            await trio.lowlevel.checkpoint()
            return found
        return await self.describe(topic)

    async def hand(
        self, topic: str, items: Mapping[bytes, bytes], leave: Leave = leave_all
    ) -> Answers:
        """Hand over the items, by id, that `leave` lets go."""
        key = (await self.description(topic)).box
        boxes = {item_id: seal(raw, key) for item_id, raw in items.items()}
        answers: dict[bytes, Reason] = {}
        again, ids = 0, iter(boxes)
        for request in submit.split_request(list(boxes.values())):
            asked = {next(ids): box for box in request}
            going: list[bytes] = []
            try:
                reply = await self._swarm.request(
                    self.peer,
                    submit.SUBMIT,
                    partial(_request, asked, leave, going),
                    reply_max=submit.REPLY_MAX,
                    timeout=self._timeout,
                )
            except HeldError:
                continue
            said = submit.decode_reply(reply, boxes=len(going))
            answers |= zip(going, said.answers, strict=True)
            again = max(again, said.again or 0)
        return Answers(answers, again)


async def _request(boxes: Mapping[bytes, bytes], leave: Leave, going: list[bytes]) -> bytes:
    """Return a submit request with the boxes that may leave now, and add their ids to `going`.
    Raises HeldError if there is none."""
    going += await leaving(boxes, leave)
    return submit.encode_request([boxes[item_id] for item_id in going])

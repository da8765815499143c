"""The routes over which reports reach their topic, and the outcome for each report.

`RelayRoute` (the default) seals every item for up to two relays: the relays see this machine's
address, and the topic sees only theirs. `DirectRoute` publishes on the topic itself, so its peers
see this machine's address; it needs a consent of its own. Sending an item twice does no harm,
because its id is a hash of its content: an item that was not acknowledged may be sent again, over
any route.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import trio

from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay import submit
from methrics.node.relay.boxes import seal
from methrics.node.relay.mixer import chunks
from methrics.schema.errors import ConfigError, RefusedError, RemoteError, UnreachableError
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.verdict import Reason

RELAYS_AT_A_TIME = 2
"""Relays that get each item. One is not enough, because it may fail or lie; and each further relay
learns this machine's address."""

REQUEST_TIME = 30.0
"""Seconds for one request to a relay."""

SETTLE_TIME = 3.0
"""Seconds for which connections stay open after the last bundle was queued for them."""


class Fate(StrEnum):
    """The outcome for one item."""

    ACKNOWLEDGED = "acknowledged"
    """A relay accepted the item, or it was sent to a peer of the topic."""
    RETRY = "retry"
    """The item was not accepted now; a later attempt may succeed."""
    REFUSED = "refused"
    """No relay or peer will ever accept the item."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one item and its reason code (`ok`, or the relay's answer)."""

    fate: Fate
    reason: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Items of one namespace that a route is to deliver.

    `items`: pairs of (id, exact bytes), for `topic`. `catalog`: the bytes of their catalog, which
    is also sent if the receiver may not know it.
    """

    topic: str
    catalog: bytes
    items: tuple[tuple[bytes, bytes], ...]


class Route(Protocol):
    """A way to reach the topic. `name` is its name in the consent and the journal."""

    @property
    def name(self) -> str: ...

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """Try once to deliver; return an outcome for every id. A network error is not raised; its
        items get the outcome RETRY."""
        ...


_RETRIED = frozenset({Reason.QUOTA, Reason.EARLY, Reason.UNKNOWN_CATALOG, Reason.FOREIGN})
"""Reasons of a refusal that depend on the relay or the time, not on the item."""


def outcome_of(reason: Reason) -> Outcome:
    """Return the outcome that follows from a relay's reason code for an item."""
    if reason in (Reason.OK, Reason.DUPLICATE):
        return Outcome(Fate.ACKNOWLEDGED, str(reason))
    return Outcome(Fate.RETRY if reason in _RETRIED else Fate.REFUSED, str(reason))


def merge(one: Outcome | None, two: Outcome) -> Outcome:
    """Return the better of two relays' outcomes: acknowledged is better than retry, and retry
    better than refused."""
    order = (Fate.ACKNOWLEDGED, Fate.RETRY, Fate.REFUSED)
    return two if one is None or order.index(two.fate) < order.index(one.fate) else one


class DirectRoute:
    """Publishes this machine's own bundles on the topic without joining it (fanout).

    Gossip has no confirmations. An item counts as acknowledged when its bundle was queued for at
    least one peer of the topic and the connection then stayed open for `settle` seconds.
    """

    name = "direct"

    def __init__(
        self,
        swarm: Swarm,
        addrs: Sequence[str],
        *,
        peers_time: float = REQUEST_TIME,
        settle: float = SETTLE_TIME,
    ) -> None:
        self._swarm = swarm
        self._addrs = tuple(addrs)
        self._peers_time = peers_time
        self._settle = settle

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """See `Route`. The first bundle starts with the catalog, for peers that lack it."""
        outcomes = {item_id: Outcome(Fate.RETRY, "unreachable") for item_id, _ in outgoing.items}
        for addr in self._addrs:
            await _dial(self._swarm, addr)
        with trio.move_on_after(self._peers_time):
            await self._swarm.wait_for_peers(outgoing.topic, 1)
        leading = [outgoing.catalog]
        with contextlib.suppress(UnreachableError):
            for chunk in chunks(outgoing.items):
                await self._swarm.publish(outgoing.topic, pack(leading + [raw for _, raw in chunk]))
                outcomes |= {item_id: outcome_of(Reason.OK) for item_id, _ in chunk}
                leading = []
        if not leading:
            await trio.sleep(self._settle)
        return outcomes


class RelayRoute:
    """Sends every item, sealed, to up to two of the relays at `addrs`."""

    name = "relay"

    def __init__(
        self,
        swarm: Swarm,
        addrs: Sequence[str],
        *,
        clock: Clock,
        rng: random.Random,
        timeout: float = REQUEST_TIME,
    ) -> None:
        if not addrs:
            raise ConfigError(
                "no-relay", "no relay is known", "give one with --relay, or METHRICS_RELAYS"
            )
        self._swarm = swarm
        self._addrs = tuple(dict.fromkeys(addrs))
        self._clock = clock
        self._rng = rng
        self._timeout = timeout

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """See `Route`. Relays are tried in random order until two have answered or none is left."""
        outcomes = {item_id: Outcome(Fate.RETRY, "unreachable") for item_id, _ in outgoing.items}
        answered: dict[bytes, Outcome] = {}
        waiting = self._rng.sample(self._addrs, len(self._addrs))

        async def visit() -> None:
            while waiting:
                addr = waiting.pop()
                try:
                    found = await self._hand_to(addr, outgoing)
                except RemoteError:
                    continue
                for item_id, outcome in found.items():
                    answered[item_id] = merge(answered.get(item_id), outcome)
                return

        async with trio.open_nursery() as nursery:
            for _ in range(min(RELAYS_AT_A_TIME, len(waiting))):
                nursery.start_soon(visit)
        return outcomes | answered

    async def _hand_to(self, addr: str, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """Send all items to one relay and return its outcome for each. Raises RemoteError if the
        relay cannot be used."""
        with trio.move_on_after(self._timeout):
            peer = await self._swarm.dial(addr)
            box_key = await self._describe(peer, outgoing.topic)
            boxes = {item_id: seal(raw, box_key) for item_id, raw in outgoing.items}
            reasons = await self._submit(peer, boxes)
            unknown = {i: boxes[i] for i, reason in reasons.items() if reason is _UNKNOWN}
            if unknown:
                await self._submit(peer, {b"": seal(outgoing.catalog, box_key)})
                reasons |= await self._submit(peer, unknown)
            return {item_id: outcome_of(reason) for item_id, reason in reasons.items()}
        raise UnreachableError("too-slow", "the relay did not answer in time")

    async def _describe(self, peer: PeerId, topic: str) -> bytes:
        """Ask a relay for its description and return its box key. Raises RefusedError if the relay
        does not carry `topic`, or if its description has expired."""
        reply = await self._swarm.request(
            peer,
            submit.RELAY,
            submit.DESCRIBE_REQUEST,
            reply_max=submit.DESCRIPTION_MAX,
            timeout=self._timeout,
        )
        description = submit.decode_description(reply)
        if topic not in description.topics:
            raise RefusedError(Reason.FOREIGN, "the relay does not carry this topic")
        if description.expires <= self._clock.now():
            raise RefusedError(Reason.EXPIRED, "the relay's description is out of date")
        return description.box

    async def _submit(self, peer: PeerId, boxes: Mapping[bytes, bytes]) -> dict[bytes, Reason]:
        answers: dict[bytes, Reason] = {}
        ids = iter(boxes)
        for request in submit.split_request(list(boxes.values())):
            reply = await self._swarm.request(
                peer,
                submit.SUBMIT,
                submit.encode_request(request),
                reply_max=submit.REPLY_MAX,
                timeout=self._timeout,
            )
            reasons = submit.decode_reply(reply, boxes=len(request))
            answers |= {next(ids): reason for reason in reasons}
        return answers


_UNKNOWN = Reason.UNKNOWN_CATALOG


async def _dial(swarm: Swarm, addr: str) -> None:
    """Connect to `addr`. If the peer cannot be reached, do nothing."""
    try:
        await swarm.dial(addr)
    except UnreachableError:
        return

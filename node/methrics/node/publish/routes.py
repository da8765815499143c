"""The routes over which reports reach their topic, and the outcome for each report.

`RelayRoute` (the default) seals every item for up to two relays: the relays see this machine's
address, and the topic sees only theirs. `DirectRoute` publishes on the topic itself, so its peers
see this machine's address; it needs a consent of its own. Sending an item twice does no harm,
because its id is a hash of its content: an item that was not acknowledged may be sent again, over
any route.

A connection may take long to make, and consent may be withdrawn meanwhile. So a route asks
`Outgoing.leave` immediately before the bytes of an item leave, for each relay and each bundle.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

import trio

from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay import submit
from methrics.node.relay.boxes import seal
from methrics.node.relay.mixer import chunks
from methrics.schema.errors import ConfigError, RefusedError, RemoteError, UnreachableError
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import split
from methrics.schema.wire.verdict import Reason

RELAYS_AT_A_TIME = 2
"""Relays that get each item. One is not enough, because it may fail or lie; and each further relay
learns this machine's address."""

REQUEST_TIME = 30.0
"""Seconds for one request to a relay."""

RELAYS_MORE = 1
"""Further relays that each of these two may be replaced by, if it refused an item for a reason that
depends on its clock."""

REFUSALS = 2
"""Relays that must refuse an item for good before it is given up. This machine accepted the item
itself, so one relay may be wrong."""

SETTLE_TIME = 3.0
"""Seconds for which connections stay open after the last bundle was queued for them."""


class Fate(StrEnum):
    """The outcome for one item."""

    ACKNOWLEDGED = "acknowledged"
    """A relay accepted the item, or it was sent to a peer of the topic."""
    RETRY = "retry"
    """The item was not accepted now; a later attempt may succeed."""
    REFUSED = "refused"
    """Several relays said that they will never accept the item."""
    HELD = "held"
    """`Outgoing.leave` did not let the item leave."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one item and its reason code (`ok`, or the relay's answer)."""

    fate: Fate
    reason: str


Leave = Callable[[Collection[bytes]], Awaitable[Collection[bytes]]]
"""`leave(ids)` returns the ids of the items that may leave now."""


async def leave_all(ids: Collection[bytes]) -> Collection[bytes]:
    """Let all items leave: for items that need no consent."""
    await trio.lowlevel.checkpoint()
    return ids


def ignore_time(_time: int) -> None:
    """Do nothing with a relay's time."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Items of one namespace that a route is to deliver.

    `items`: pairs of (id, exact bytes), for `topic`. `catalog`: the bytes of their catalog, which
    is also sent if the receiver may not know it. `leave`: asked immediately before bytes leave;
    from then on others may have the items. `told`: called with each relay's time (unix seconds).
    """

    topic: str
    catalog: bytes
    items: tuple[tuple[bytes, bytes], ...]
    leave: Leave = leave_all
    told: Callable[[int], None] = ignore_time


class HeldError(Exception):
    """None of the items of a request or bundle may leave."""


HELD = Outcome(Fate.HELD, "held")


class Route(Protocol):
    """A way to reach the topic. `name` is its name in the consent and the journal."""

    @property
    def name(self) -> str: ...

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """Try once to deliver; return an outcome for every id. A network error is not raised; its
        items get the outcome RETRY."""
        ...


_BY_CLOCK = frozenset({Reason.EARLY, Reason.LATE, Reason.EXPIRED})
"""Reasons of a refusal that depend on the relay's clock. Before each attempt this machine judges
the item by its own clock, so the relay's may be wrong, and another relay is tried."""

_RETRIED = _BY_CLOCK | {
    Reason.QUOTA,
    Reason.UNKNOWN_CATALOG,
    Reason.UNLISTED,
    Reason.FOREIGN,
}
"""Reasons of a refusal that depend on the relay or the time, not on the item."""


def outcome_of(reason: Reason) -> Outcome:
    """Return the outcome that follows from a relay's reason code for an item."""
    if reason in (Reason.OK, Reason.DUPLICATE):
        return Outcome(Fate.ACKNOWLEDGED, str(reason))
    return Outcome(Fate.RETRY if reason in _RETRIED else Fate.REFUSED, str(reason))


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome for an item from the outcomes at the relays that answered, at least one.

    The best one counts: acknowledged is better than retry, and retry better than refused. If fewer
    than `REFUSALS` relays refused the item and none gave another answer, it is tried again."""
    found = list(outcomes)
    for fate in (Fate.ACKNOWLEDGED, Fate.RETRY):
        for one in found:
            if one.fate is fate:
                return one
    if len(found) < REFUSALS:
        return Outcome(Fate.RETRY, found[0].reason)
    return Outcome(Fate.REFUSED, Counter(one.reason for one in found).most_common(1)[0][0])


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
        """See `Route`. A notice of the catalog goes first, for peers that lack it."""
        outcomes = {item_id: Outcome(Fate.RETRY, "unreachable") for item_id, _ in outgoing.items}
        for addr in self._addrs:
            await _dial(self._swarm, addr)
        with trio.move_on_after(self._peers_time):
            await self._swarm.wait_for_peers(outgoing.topic, 1)
        about, leading = split(outgoing.catalog).id, True
        with contextlib.suppress(UnreachableError):
            for chunk in chunks(outgoing.items):
                going: list[bytes] = []
                bundle = partial(_bundle, about, dict(chunk), outgoing.leave, going)
                with contextlib.suppress(HeldError):
                    if leading:
                        await self._swarm.publish(outgoing.topic, pack_notice(outgoing.catalog))
                    await self._swarm.publish(outgoing.topic, bundle)
                    leading = False
                for item_id, _ in chunk:
                    kept = outcome_of(Reason.OK) if item_id in going else HELD
                    outcomes[item_id] = kept
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
        rng: random.Random,
        timeout: float = REQUEST_TIME,
    ) -> None:
        if not addrs:
            raise ConfigError(
                "no-relay", "no relay is known", "give one with --relay, or METHRICS_RELAYS"
            )
        self._swarm = swarm
        self._addrs = tuple(dict.fromkeys(addrs))
        self._rng = rng
        self._timeout = timeout

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """See `Route`. Relays are tried in random order until two have answered or none is left.
        A relay that refuses items because of its clock is replaced by another for these items."""
        answered: dict[bytes, list[Outcome]] = {item_id: [] for item_id, _ in outgoing.items}
        waiting = self._rng.sample(self._addrs, len(self._addrs))

        async def visit() -> None:
            items, answers = dict(outgoing.items), 0
            while waiting and items and answers <= RELAYS_MORE:
                addr = waiting.pop()
                try:
                    reasons = await self._hand_to(addr, items, outgoing)
                except RemoteError:
                    continue
                answers += 1
                for item_id, reason in reasons.items():
                    answered[item_id].append(HELD if reason is None else outcome_of(reason))
                items = {i: raw for i, raw in items.items() if reasons.get(i) in _BY_CLOCK}

        async with trio.open_nursery() as nursery:
            for _ in range(min(RELAYS_AT_A_TIME, len(waiting))):
                nursery.start_soon(visit)
        return {
            item_id: _of_all(outcomes, unanswered=Outcome(Fate.RETRY, "unreachable"))
            for item_id, outcomes in answered.items()
        }

    async def _hand_to(
        self, addr: str, items: Mapping[bytes, bytes], outgoing: Outgoing
    ) -> dict[bytes, Reason | None]:
        """Send the items to one relay; return its reason for each, None for an item that might not
        leave. Raises RemoteError if the relay cannot be used."""
        with trio.move_on_after(self._timeout):
            peer = await self._swarm.dial(addr)
            box_key = await self._describe(peer, outgoing)
            boxes = {item_id: seal(raw, box_key) for item_id, raw in items.items()}
            reasons = await self._submit(peer, boxes, outgoing.leave)
            unknown = {i: boxes[i] for i, reason in reasons.items() if reason is _UNKNOWN}
            if unknown:
                await self._submit(peer, {b"": seal(outgoing.catalog, box_key)}, leave_all)
                reasons |= await self._submit(peer, unknown, outgoing.leave)
            return {item_id: reasons.get(item_id) for item_id in items}
        raise UnreachableError("too-slow", "the relay did not answer in time")

    async def _describe(self, peer: PeerId, outgoing: Outgoing) -> bytes:
        """Ask a relay for its description and return its box key. Raises RefusedError if the relay
        does not carry the topic."""
        reply = await self._swarm.request(
            peer,
            submit.RELAY,
            submit.DESCRIBE_REQUEST,
            reply_max=submit.DESCRIPTION_MAX,
            timeout=self._timeout,
        )
        description = submit.decode_description(reply)
        outgoing.told(description.time)
        if outgoing.topic not in description.topics:
            raise RefusedError(Reason.FOREIGN, "the relay does not carry this topic")
        return description.box

    async def _submit(
        self, peer: PeerId, boxes: Mapping[bytes, bytes], leave: Leave
    ) -> dict[bytes, Reason]:
        """Send the boxes in requests that keep the limits; return the reason for each box that
        `leave` let go."""
        answers: dict[bytes, Reason] = {}
        ids = iter(boxes)
        for request in submit.split_request(list(boxes.values())):
            asked = {next(ids): box for box in request}
            going: list[bytes] = []
            try:
                reply = await self._swarm.request(
                    peer,
                    submit.SUBMIT,
                    partial(_request, asked, leave, going),
                    reply_max=submit.REPLY_MAX,
                    timeout=self._timeout,
                )
            except HeldError:
                continue
            answered = submit.decode_reply(reply, boxes=len(going)).answers
            answers |= zip(going, answered, strict=True)
        return answers


_UNKNOWN = Reason.UNKNOWN_CATALOG


async def _request(boxes: Mapping[bytes, bytes], leave: Leave, going: list[bytes]) -> bytes:
    """Return a submit request with the boxes that may leave now, and add their ids to `going`.
    Raises HeldError if there is none."""
    going += await _going(boxes, leave)
    return submit.encode_request([boxes[item_id] for item_id in going])


async def _bundle(
    about: bytes, items: Mapping[bytes, bytes], leave: Leave, going: list[bytes]
) -> bytes:
    """Return a bundle of those items of the catalog `about` that may leave now, and add their ids
    to `going`. Raises HeldError if there is none."""
    going += await _going(items, leave)
    return pack(about, [items[item_id] for item_id in going])


async def _going(items: Mapping[bytes, bytes], leave: Leave) -> list[bytes]:
    allowed = await leave(list(items))
    going = [item_id for item_id in items if item_id in allowed]
    if not going:
        raise HeldError
    return going


def _of_all(outcomes: Sequence[Outcome], unanswered: Outcome) -> Outcome:
    """Return the outcome for an item from those of the relays that were asked."""
    answers = [one for one in outcomes if one.fate is not Fate.HELD]
    if answers:
        return merge(answers)
    return HELD if outcomes else unanswered


async def _dial(swarm: Swarm, addr: str) -> None:
    """Connect to `addr`. If the peer cannot be reached, do nothing."""
    try:
        await swarm.dial(addr)
    except UnreachableError:
        return

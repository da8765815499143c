"""The route without a relay: bundles go to the topic, whose peers see this machine's address."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial

import trio

from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.publish.doors.libp2p import REQUEST_TIME
from methrics.node.publish.leaving import HeldError, Leave, leaving
from methrics.node.publish.routes import HELD, UNREACHABLE, Fate, Outcome, Outgoing, outcome_of
from methrics.node.publish.standing import heads_of
from methrics.node.relay.mixer import chunks
from methrics.node.relay.record_exchange import (
    PROTOCOL,
    REPLY_MAX,
    REPLY_TIME,
    decode_records,
)
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import split
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

SETTLE_TIME = 3.0
"""Seconds for which connections stay open after the last bundle was queued for them."""

PEERS_ASKED = 4
"""Most peers that are asked for their records."""


class DirectRoute:
    """Publishes this machine's own bundles on the topic without joining it (fanout).

    Gossip has no confirmations. An item counts as acknowledged when its bundle was queued for at
    least one peer of the topic and the connection then stayed open for `settle` seconds. `unusable`
    is filled with the peers that could not be used, by address: why, in words.
    """

    name = "direct"

    def __init__(
        self,
        swarm: Swarm,
        addrs: Sequence[str],
        *,
        peers_time: float = REQUEST_TIME,
        settle: float = SETTLE_TIME,
        unusable: dict[str, str] | None = None,
    ) -> None:
        self._swarm = swarm
        self._addrs = tuple(addrs)
        self._peers_time = peers_time
        self._settle = settle
        self._unusable = {} if unusable is None else unusable

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """See `Route`. The peers of the topic are asked; a record goes to all of them."""
        await self._connect(topic)
        held = await self._ask(topic)
        raws = [*known, *(raw for found in held.values() for raw in found)]
        newest = heads_of(raws, parse_topic(topic)[1])
        lacking = [raw for raw in newest if any(raw not in found for found in held.values())]
        if lacking:
            with contextlib.suppress(UnreachableError):
                for raw in lacking:
                    await self._swarm.publish(topic, pack_notice(raw))
                await trio.sleep(self._settle)
        return list(held.values())

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """See `Route`. The catalog follows the bundles, for peers that lack it."""
        outcomes = {item_id: Outcome(Fate.RETRY, UNREACHABLE) for item_id, _ in outgoing.items}
        await self._connect(outgoing.topic)
        (catalog,) = outgoing.catalogs
        about, sent = split(catalog).id, False
        with contextlib.suppress(UnreachableError):
            for chunk in chunks(outgoing.items):
                going: list[bytes] = []
                bundle = partial(_bundle, about, dict(chunk), outgoing.leave, going)
                with contextlib.suppress(HeldError):
                    await self._swarm.publish(outgoing.topic, bundle)
                    sent = True
                for item_id, _ in chunk:
                    outcomes[item_id] = outcome_of(Reason.OK) if item_id in going else HELD
            if sent:
                await self._swarm.publish(outgoing.topic, pack_notice(catalog))
        if sent:
            await trio.sleep(self._settle)
        return outcomes

    async def _connect(self, topic: str) -> None:
        for addr in self._addrs:
            try:
                await self._swarm.dial(addr)
            except UnreachableError as error:
                self._unusable[addr] = error.message
        with trio.move_on_after(self._peers_time):
            await self._swarm.wait_for_peers(topic, 1)

    async def _ask(self, topic: str) -> dict[PeerId, tuple[bytes, ...]]:
        """Return the records of each peer that answers."""
        held: dict[PeerId, tuple[bytes, ...]] = {}

        async def ask(peer: PeerId) -> None:
            with contextlib.suppress(UnreachableError, RefusedError):
                reply = await self._swarm.request(
                    peer, PROTOCOL, topic.encode(), reply_max=REPLY_MAX, timeout=REPLY_TIME
                )
                held[peer] = tuple(decode_records(reply))

        async with trio.open_nursery() as nursery:
            for peer in sorted(self._swarm.peers(topic))[:PEERS_ASKED]:
                nursery.start_soon(ask, peer)
        return held


async def _bundle(
    about: bytes, items: Mapping[bytes, bytes], leave: Leave, going: list[bytes]
) -> bytes:
    """Return a bundle of the items that may leave now, and add their ids to `going`. Raises
    HeldError if there is none."""
    going += await leaving(items, leave)
    return pack(about, (items[item_id] for item_id in going))

"""Finds relays, and the topics that they carry, from the addresses that the operator named.

An aggregator learns descriptors of relays as relays do, hands them on, and stays connected to a few
of those relays. So it goes on when the peer that its operator named is gone. Which topics it joins
is never a stranger's word: only a relay that the operator named tells it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from random import SystemRandom

import trio

from methrics.node.backoff import Backoff
from methrics.node.clock import Clock, system_rng
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import Swarm
from methrics.node.relay import doors
from methrics.node.relay.descriptor_exchange import DescriptorExchange
from methrics.node.relay.directory import Directory
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.wire.descriptor import read_descriptor

_ASKED_AGAIN = Backoff(2.0, 60.0)
"""How long to wait until the named peers are asked for topics again, in seconds."""

_REPLY_TIME = 20.0
"""Seconds within which a peer must reply."""

_log = logging.getLogger(__name__)


def discovery_of(
    swarm: Swarm, peers: Sequence[str], topics: Collection[str], clock: Clock
) -> DescriptorExchange:
    """Return the exchange of descriptors of an aggregator of `topics` whose operator named the
    addresses `peers`. Relays that carry one of its topics are dialled first."""
    found = [key_of(_peer_id(one)) for one in peers]
    directory = Directory([key for key in found if key is not None])
    return DescriptorExchange(swarm, directory, clock=clock, rng=SystemRandom(), topics=topics)


async def topics_told(
    swarm: Swarm, peers: Sequence[str], clock: Clock, stop: trio.Event
) -> frozenset[str]:
    """Ask the relays at `peers` which topics they carry, until one names some; return these.

    Returns no topic if `stop` is set before. Only a relay's own descriptor counts.
    """
    failures = 0
    while not stop.is_set():
        for address in peers:
            topics = await _topics_at(swarm, address, clock.now())
            if topics:
                return topics
        if not failures:
            _log.warning("no relay of --peer names a topic yet; asking on")
        with trio.move_on_after(_ASKED_AGAIN.drawn(failures, system_rng())):
            await stop.wait()
        failures += 1
    return frozenset()


async def _topics_at(swarm: Swarm, address: str, now: int) -> frozenset[str]:
    relay, found = key_of(_peer_id(address)), set[str]()
    with suppress(UnreachableError, RefusedError):
        peer = await swarm.dial(address)
        reply = await swarm.request(
            *(peer, doors.DESCRIPTORS, b""),
            reply_max=doors.DESCRIPTORS_SIZE,
            timeout=_REPLY_TIME,
        )
        for raw in doors.decode_descriptors(reply).raws:
            with suppress(RefusedError):
                signed = read_descriptor(raw, now)
                if signed.relay == relay:
                    found.update(signed.descriptor.topics)
    return frozenset(found)


def _peer_id(address: str) -> str:
    return address.rpartition("/p2p/")[2]

"""Starts a whole relay on a swarm that a test has opened: with descriptors and doors."""

from __future__ import annotations

import random
from functools import partial

import trio

from methrics.node.clock import Clock
from methrics.node.network.swarm import Swarm
from methrics.node.process.worker import Worker
from methrics.node.relay.own_doors import OwnDoors
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.schema.judging.book import CatalogBook

SEED = b"relay".ljust(32, b".")
"""The seed of the key of a relay, with which its swarm has to be opened."""


async def serve_relay(
    nursery: trio.Nursery,
    swarm: Swarm,
    book: CatalogBook,
    settings: RelaySettings,
    *,
    clock: Clock,
    seed: bytes = SEED,
    worker: Worker | None = None,
) -> Relay:
    """Start a relay on `swarm`, whose key has the seed `seed`; return it once it answers. It keeps
    nothing on disk."""
    rng = random.Random(1)
    own = OwnDoors(swarm, settings, seed, files=None, clock=clock, rng=rng)
    started = partial(
        run_relay, swarm, book, settings, clock=clock, rng=rng, worker=worker, own=own
    )
    relay: Relay = await nursery.start(started)
    return relay

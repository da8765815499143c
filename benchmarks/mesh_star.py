"""The star of `bench_mesh.py`, on real sockets: listeners that are connected to one relay alone."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

import trio

from methrics.node.network.libp2p import open_swarm
from methrics.schema.wire.verdict import Decision

_TOPIC = "/methrics/1/bench-aaaaaaaaaaaaaaaa/cbor"
_ARRIVE = 30.0
"""Most seconds until the last bundle has arrived everywhere."""


def star_delivered(*, listeners: int, bundles: int, size: int = 2000) -> float:
    """Return the share of deliveries that happened: two relays, all listeners on the first alone,
    half of the bundles published by the second, one a tenth of a second."""
    return trio.run(_star, listeners, bundles, size)


async def _star(listeners: int, bundles: int, size: int) -> float:
    got: list[set[bytes]] = [set() for _ in range(listeners)]

    async def accept(_: str, data: bytes) -> Decision:
        return Decision.ACCEPT

    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]))
            for _ in range(2)
        ]
        await first.join(_TOPIC, accept)
        await second.join(_TOPIC, accept)
        second.keep(first.addrs[0])
        for mine in got:
            listener = await stack.enter_async_context(open_swarm())

            async def note(_: str, data: bytes, mine: set[bytes] = mine) -> Decision:
                mine.add(data)
                return Decision.ACCEPT

            await listener.join(_TOPIC, note)
            listener.keep(first.addrs[0])
        await first.wait_for_peers(_TOPIC, listeners + 1)
        await trio.sleep(2)
        for number in range(bundles):
            await (first, second)[number % 2].publish(_TOPIC, os.urandom(size))
            await trio.sleep(0.1)
        with trio.move_on_after(_ARRIVE):
            while min(len(mine) for mine in got) < bundles:
                await trio.sleep(0.1)
    return sum(len(mine) for mine in got) / (listeners * bundles)

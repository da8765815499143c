"""Dialling a peer that is known by several addresses, over real sockets."""

from __future__ import annotations

import random
import socket

import trio

from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import Swarm
from methrics.schema.errors import UnreachableError

LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
ROUNDS = 20


async def dial(swarm: Swarm, addr: str, reached: list[str]) -> None:
    try:
        await swarm.dial(addr)
    except UnreachableError:
        return
    reached.append(addr)


async def test_a_peer_with_a_dead_address_beside_its_own_is_always_reached() -> None:
    """Both addresses are dialled at once, as a publisher does with its relays."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with open_swarm(listen=LOOPBACK) as relay:
        live = relay.addrs[0]
        dead = f"/ip4/127.0.0.1/tcp/{port}/p2p/{relay.peer_id}"
        for _ in range(ROUNDS):
            reached: list[str] = []
            async with open_swarm() as app, trio.open_nursery() as nursery:
                for addr in random.sample([live, dead], 2):
                    nursery.start_soon(dial, app, addr, reached)
            assert live in reached

"""Addresses of a peer that listens on all interfaces, or is known by several, over real sockets."""

from __future__ import annotations

import random
import socket

import pytest
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


@pytest.mark.parametrize(("wide", "loopback"), [("ip4/0.0.0.0", "127.0.0.1"), ("ip6/::", "::1")])
async def test_each_address_of_a_peer_on_all_interfaces_is_dialled(
    wide: str, loopback: str
) -> None:
    if ":" in loopback and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    name = wide.partition("/")[0]
    async with open_swarm(listen=[f"/{wide}/tcp/0"]) as relay:
        addrs = relay.addrs
        for addr in addrs:
            async with open_swarm() as app:
                assert await app.dial(addr) == relay.peer_id
        (listens,) = relay.listens
    assert addrs[-1].startswith(f"/{name}/{loopback}/tcp/")
    assert listens.startswith(f"/{wide}/tcp/")
    async with open_swarm(listen=[listens]) as again:
        assert again.listens == (listens,)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True

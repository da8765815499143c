"""Stock libp2p 0.8.1: a peer with its own GossipSub, and its host under one attack.

`python stock.py <case>` runs a case in a process of its own and prints one JSON object if it is
still alive at the end. The tests expect the flaw to be there, so that whoever takes up a newer
libp2p learns which of our overrides are no longer needed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import multiaddr
import trio

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from methrics._vendor.libp2p.custom_types import TProtocol
from methrics._vendor.libp2p.host.basic_host import BasicHost
from methrics._vendor.libp2p.network.config import ConnectionConfig
from methrics._vendor.libp2p.network.swarm import Swarm
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import info_from_p2p_addr
from methrics._vendor.libp2p.peer.peerstore import PeerStore
from methrics._vendor.libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from methrics._vendor.libp2p.security.noise.transport import Transport as Noise
from methrics._vendor.libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from methrics._vendor.libp2p.stream_muxer.yamux.yamux import Yamux
from methrics._vendor.libp2p.tools.anyio_service import background_trio_service
from methrics._vendor.libp2p.transport.tcp.tcp import TCP
from methrics._vendor.libp2p.transport.upgrader import TransportUpgrader

sys.path.insert(0, str(Path(__file__).parents[1] / "_vendor"))

from stock_libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from stock_libp2p.pubsub.pubsub import Pubsub

LOOPBACK = [multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]
TOPIC = "t"


def new_host(config: ConnectionConfig | None = None) -> BasicHost:
    """A host of libp2p's own parts over TCP, Noise and Yamux, with libp2p's own settings."""
    key_pair = create_new_key_pair()
    peer_id = ID.from_pubkey(key_pair.public_key)
    noise = Noise(key_pair, noise_privkey=create_new_x25519_key_pair().private_key)
    upgrader = TransportUpgrader({TProtocol(NOISE): noise}, {TProtocol(YAMUX): Yamux})
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    return BasicHost(Swarm(peer_id, peerstore, upgrader, [TCP()], connection_config=config))


class Node:
    def __init__(self, host: Any, pubsub: Pubsub) -> None:
        self.host = host
        self.pubsub = pubsub

    @property
    def info(self) -> Any:
        return info_from_p2p_addr(self.host.get_addrs()[0])


@contextlib.asynccontextmanager
async def node(config: ConnectionConfig | None = None, **options: Any) -> AsyncIterator[Node]:
    host = new_host(config)
    spam = options.pop("spam_protection_enabled", False)
    router = GossipSub(
        [PROTOCOL_ID_V11], 6, 4, 12, heartbeat_interval=1, spam_protection_enabled=spam
    )
    pubsub = Pubsub(host, router, **options)
    async with background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        async with host.run(listen_addrs=LOOPBACK):
            try:
                yield Node(host, pubsub)
            finally:
                with trio.move_on_after(2):
                    await host.close()


@contextlib.asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[Node, Node, Any]]:
    """A node that has joined, one that knows it, and the first one's subscription."""
    async with node(**options) as one, node() as two:
        subscription = await one.pubsub.subscribe(TOPIC)
        await two.host.connect(one.info)
        await two.pubsub.wait_for_subscription(one.host.get_id(), TOPIC)
        yield one, two, subscription


async def raising_handler() -> dict[str, Any]:
    async def handle(_: Any) -> None:
        raise RuntimeError("on purpose")

    async with node() as one, node() as two:
        one.host.set_stream_handler("/test/1", handle)
        await two.host.connect(one.info)
        await two.host.new_stream(one.host.get_id(), ["/test/1"])
        await trio.sleep(1)
    return {}


async def inbound_connections() -> dict[str, Any]:
    config = ConnectionConfig(
        max_connections=10, min_connections=0, low_watermark=0, high_watermark=10
    )
    taken = 0
    async with node(config) as one:
        for _ in range(14):
            async with node() as two:
                with contextlib.suppress(Exception), trio.fail_after(3):
                    await two.host.connect(one.info)
                    taken += 1
    return {"taken": taken}


async def root_logging() -> dict[str, Any]:
    before = len(logging.getLogger().handlers)
    async with pair() as (_, __, ___):
        pass
    return {"handlers": len(logging.getLogger().handlers) - before}


async def shared_port() -> dict[str, Any]:
    async with node() as one:
        addr = multiaddr.Multiaddr(str(one.host.get_transport_addrs()[0]))
        host = new_host()
        async with host.run(listen_addrs=[addr]):
            second = len(host.get_transport_addrs())
    return {"second_listeners": second}


CASES: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    case.__name__: case
    for case in (raising_handler, inbound_connections, root_logging, shared_port)
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(trio.run(CASES[sys.argv[1]])) + "\n")

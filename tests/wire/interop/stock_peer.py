"""A stock py-libp2p peer, driven by lines of JSON: `python stock_peer.py <folder> <degree>`.

`<folder>` holds libp2p as pip installs it, without what it requires. This script replaces modules
that are not there, none of which TCP, Noise, Yamux and GossipSub run. Orders and events are those
of `peer.mjs`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

ABSENT = {
    "aioice", "aioquic", "aiortc", "cid", "fastecdsa", "grpc", "httpx", "lru", "miniupnpc",
    "prometheus_client", "requests", "rpcudp", "trio_websocket", "zeroconf",
}  # fmt: skip


class Anything(type):
    """A class that has any attribute: another such class."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


class Absent(types.ModuleType):
    """A module from which anything can be imported."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


FOLDER, DEGREE = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, FOLDER)
sys.meta_path.insert(0, Finder())

import multiaddr  # noqa: E402
from libp2p.crypto.ed25519 import create_new_key_pair  # type: ignore[import]  # noqa: E402
from libp2p.crypto.x25519 import (  # type: ignore[import]  # noqa: E402
    create_new_key_pair as noise_key_pair,
)
from libp2p.host.basic_host import BasicHost  # type: ignore[import]  # noqa: E402
from libp2p.network.swarm import Swarm  # type: ignore[import]  # noqa: E402
from libp2p.peer.id import ID  # type: ignore[import]  # noqa: E402
from libp2p.peer.peerinfo import info_from_p2p_addr  # type: ignore[import]  # noqa: E402
from libp2p.peer.peerstore import PeerStore  # type: ignore[import]  # noqa: E402
from libp2p.pubsub.gossipsub import (  # type: ignore[import]  # noqa: E402
    PROTOCOL_ID_V11,
    GossipSub,
)
from libp2p.pubsub.pubsub import Pubsub  # type: ignore[import]  # noqa: E402
from libp2p.security.noise import transport as noise  # type: ignore[import]  # noqa: E402
from libp2p.stream_muxer.yamux import yamux  # type: ignore[import]  # noqa: E402
from libp2p.tools.anyio_service import (  # type: ignore[import]  # noqa: E402
    background_trio_service,
)
from libp2p.transport.tcp.tcp import TCP  # type: ignore[import]  # noqa: E402
from libp2p.transport.upgrader import TransportUpgrader  # type: ignore[import]  # noqa: E402


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def new_host() -> Any:
    key_pair = create_new_key_pair()
    peer_id = ID.from_pubkey(key_pair.public_key)
    secure = noise.Transport(key_pair, noise_privkey=noise_key_pair().private_key)
    upgrader = TransportUpgrader({noise.PROTOCOL_ID: secure}, {yamux.PROTOCOL_ID: yamux.Yamux})
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    return BasicHost(Swarm(peer_id, peerstore, upgrader, [TCP()]))


class Peer:
    """The host and what it is told to do."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.host = new_host()
        # The least and the most mesh peers leave the degree room only if it is the default.
        low, high = (4, 12) if DEGREE == 6 else (1, DEGREE)
        self.router = GossipSub(
            [PROTOCOL_ID_V11],
            DEGREE,
            low,
            high,
            heartbeat_interval=1,
            heartbeat_initial_delay=0.1,
            do_px=True,
            prune_back_off=10,
            spam_protection_enabled=False,
        )
        self.pubsub = Pubsub(self.host, self.router, strict_signing=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        listen = [multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]
        async with background_trio_service(self.pubsub), background_trio_service(self.router):
            await self.pubsub.wait_until_ready()
            async with self.host.run(listen_addrs=listen):
                yield

    async def listen_to(self, topic: str) -> None:
        subscription = await self.pubsub.subscribe(topic)
        while True:
            message = await subscription.get()
            kind = "signed" if message.signature else "unsigned"
            digest = hashlib.sha256(message.data).hexdigest()
            say(event="message", topic=topic, type=kind, digest=digest)

    async def notice(self) -> None:
        """Tell who joins which topic."""
        told: set[tuple[str, str]] = set()
        while True:
            for topic, peers in list(self.pubsub.peer_topics.items()):
                for peer in peers:
                    if (topic, str(peer)) not in told:
                        told.add((topic, str(peer)))
                        say(event="joined", topic=topic, peer=str(peer))
            await trio.sleep(0.05)

    async def do(self, order: dict[str, Any]) -> Any:
        match order.pop("do"):
            case "dial":
                await self.host.connect(info_from_p2p_addr(multiaddr.Multiaddr(order["addr"])))
            case "join":
                self.nursery.start_soon(self.listen_to, order["topic"])
            case "publish":
                await self.pubsub.publish(order["topic"], base64.b64decode(order["data"]))
                return 1
            case "mesh":
                return [str(one) for one in self.router.mesh.get(order["topic"], ())]
        return None

    async def answer(self, n: int, order: dict[str, Any]) -> None:
        try:
            say(n=n, ok=await self.do(order))
        except Exception as error:  # noqa: BLE001 - the edge of a process
            say(n=n, error=f"{type(error).__name__}: {error}")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery)
        async with peer.running():
            nursery.start_soon(peer.notice)
            say(event="ready", peer=str(peer.host.get_id()), addr=str(peer.host.get_addrs()[0]))
            rest = b""
            async for part in trio.lowlevel.FdStream(os.dup(0)):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    order = json.loads(line)
                    nursery.start_soon(peer.answer, order.pop("n"), order)
        nursery.cancel_scope.cancel()


trio.run(main)

"""Makes the parts of the swarm on libp2p, and opens and closes them in the right order."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

import trio

from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.tools.anyio_service import background_trio_service
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.dialing import Dialer, check_free, parse_listen, parse_peer_addr
from methrics.node.network.libp2p.network import GuardedSwarm, QuietHost, build_host, close_host
from methrics.node.network.libp2p.pubsub import Gossip
from methrics.node.network.libp2p.requests import Requests, parse_peer
from methrics.node.network.libp2p.router import Router
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.swarm import (
    Body,
    Handler,
    PeerId,
    SwarmStatistics,
    Validator,
    check_message,
)
from methrics.schema.errors import ConfigError, UnreachableError


class GossipSwarm:
    """A `Swarm` on libp2p; made by `open_swarm`."""

    def __init__(
        self,
        host: QuietHost,
        gossip: Gossip,
        router: Router,
        dialer: Dialer,
        requests: Requests,
        counters: Counters,
        nursery: trio.Nursery,
    ) -> None:
        self._host = host
        self._gossip = gossip
        self._router = router
        self._dialer = dialer
        self._requests = requests
        self._counters = counters
        self._nursery = nursery
        self._served: set[str] = set()
        self._peer_id = str(host.get_id())

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addrs(self) -> tuple[str, ...]:
        return tuple(str(addr) for addr in self._host.get_addrs())

    async def join(self, topic: str, validator: Validator) -> None:
        if topic in self._gossip.validators:
            raise ConfigError("joined-twice", f"the topic {topic} is joined already")
        self._gossip.validators[topic] = validator
        await self._gossip.subscribe(topic)

    async def publish(self, topic: str, data: Body) -> int:
        await trio.lowlevel.checkpoint()
        if isinstance(data, bytes):
            check_message(data)
        for peer in self._router.targets(topic):
            await self._gossip.wait_for_room(peer)
        targets = self._router.targets(topic)
        if not targets:
            raise UnreachableError(
                "no-peers", f"no connected peer has joined {topic}", "check the bootstrap addresses"
            )
        if not isinstance(data, bytes):
            data = await data()
            check_message(data)
        frame = self._gossip.own_frame(topic, data)
        handed = sum(self._router.push(peer, frame) for peer in targets)
        if not handed:
            raise UnreachableError("no-peers", f"every peer that has joined {topic} is stalled")
        self._counters.published += 1
        return handed

    async def dial(self, addr: str) -> PeerId:
        info = parse_peer_addr(addr)
        await self._dialer.dial(info)
        return str(info.peer_id)

    def keep(self, addr: str) -> None:
        self._nursery.start_soon(self._dialer.keep, parse_peer_addr(addr))

    def serve(self, protocol: str, handler: Handler, *, request_max: int) -> None:
        if protocol in self._served:
            raise ConfigError("served-twice", f"the protocol {protocol} is served already")
        self._served.add(protocol)
        self._requests.serve(protocol, handler, request_max)

    async def request(
        self, peer: PeerId, protocol: str, body: Body, *, reply_max: int, timeout: float
    ) -> bytes:
        await trio.lowlevel.checkpoint()
        peer_id = parse_peer(peer)
        if peer_id is None or not self._host.get_network().get_connections(peer_id):
            raise UnreachableError("not-connected", "the peer is not connected")
        with trio.move_on_after(timeout):
            return await self._requests.ask(peer_id, protocol, body, reply_max)
        raise UnreachableError("too-slow", f"the peer did not answer within {timeout:g} s")

    def peers(self, topic: str) -> frozenset[PeerId]:
        return frozenset(str(peer) for peer in self._router.topic_peers(topic))

    async def wait_for_peers(self, topic: str, n: int) -> None:
        await trio.lowlevel.checkpoint()
        while len(self._router.topic_peers(topic)) < n:
            await self._gossip.changed.wait()

    def statistics(self) -> SwarmStatistics:
        shared: set[ID] = set()
        for topic in self._gossip.validators:
            shared |= self._router.topic_peers(topic)
        return SwarmStatistics(
            connections=len(self._host.get_live_peers()),
            topic_peers=len(shared),
            **asdict(self._counters),
        )


@contextlib.asynccontextmanager
async def open_swarm(
    *,
    listen: Sequence[str] = (),
    seed: bytes | None = None,
    settings: GossipSettings | None = None,
) -> AsyncIterator[GossipSwarm]:
    """Open a swarm on TCP, Noise and Yamux; close it when the block ends.

    `listen`: multiaddrs such as `/ip4/0.0.0.0/tcp/4001` (port 0 chooses a free port). Without an
    address, the swarm only dials, as apps do. `seed`: the 32-byte seed of the host key. Without it,
    the host key and the peer id are new and are not stored. Raises `ConfigError` if an address does
    not parse or cannot be listened on, or if its port is in use.
    """
    if seed is not None and len(seed) != 32:
        raise ConfigError("bad-seed", f"a host key seed has 32 bytes, this one has {len(seed)}")
    settings = settings or GossipSettings()
    addrs = [parse_listen(addr) for addr in listen]
    for addr in addrs:
        check_free(addr)
    counters = Counters()
    host = build_host(seed, settings, counters)
    network = host.get_network()
    if not isinstance(network, GuardedSwarm):
        raise TypeError("build_host makes a host on a GuardedSwarm")
    rng = random.SystemRandom()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        async with (
            _running(host, settings, counters, rng, nursery) as (gossip, router),
            host.run(listen_addrs=addrs),
        ):
            try:
                if len(host.get_transport_addrs()) < len(addrs):
                    raise ConfigError("cannot-listen", f"cannot listen on {', '.join(listen)}")
                dialer = Dialer(host, network, settings, counters, rng)
                requests = Requests(host, settings, counters)
                yield GossipSwarm(host, gossip, router, dialer, requests, counters, nursery)
            except Exception as error:  # noqa: BLE001 - raised again below
                failure = error
            finally:
                await close_host(host)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure  # outside the nurseries, which would wrap it in exception groups


@contextlib.asynccontextmanager
async def _running(
    host: QuietHost,
    settings: GossipSettings,
    counters: Counters,
    rng: random.Random,
    nursery: trio.Nursery,
) -> AsyncIterator[tuple[Gossip, Router]]:
    """Run the two gossip services. They must run before the host listens (C8): otherwise a stream
    that arrives early would end the host."""
    router = Router(settings, counters, rng)
    gossip = Gossip(host, router, settings, counters, nursery)
    async with background_trio_service(gossip), background_trio_service(router):
        await gossip.wait_until_ready()
        yield gossip, router

"""Makes the parts of the swarm on libp2p, and opens and closes them in the right order."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

import trio
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from methrics._vendor.libp2p.peer.peerinfo import PeerInfo
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.dialing import Dialer, check_free, parse_listen, parse_peer_addr
from methrics.node.network.libp2p.exchange import Exchange
from methrics.node.network.libp2p.gossip import Gossip
from methrics.node.network.libp2p.muxer import Muxer
from methrics.node.network.libp2p.network import GuardedSwarm, QuietHost, build_host, close_host
from methrics.node.network.libp2p.reach import Reach, named, reach_of
from methrics.node.network.libp2p.requests import Requests, parse_peer
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
        network: GuardedSwarm,
        gossip: Gossip,
        dialer: Dialer,
        requests: Requests,
        counters: Counters,
        nursery: trio.Nursery,
        reach: Reach,
    ) -> None:
        self._host = host
        self._network = network
        self._gossip = gossip
        self._dialer = dialer
        self._requests = requests
        self._counters = counters
        self._nursery = nursery
        self._reach = reach
        self._served: set[str] = set()
        self._peer_id = str(host.get_id())

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addrs(self) -> tuple[str, ...]:
        return tuple(str(addr) for addr in self._host.interface_addrs())

    @property
    def listens(self) -> tuple[str, ...]:
        """The addresses on which this participant listens, with their ports, to give to
        `open_swarm` again; 0.0.0.0 and :: mean all interfaces."""
        return tuple(str(addr).rpartition("/p2p/")[0] for addr in self._host.listen_addrs())

    async def join(self, topic: str, validator: Validator) -> None:
        await trio.lowlevel.checkpoint()
        if topic in self._gossip.validation.validators:
            raise ConfigError("joined-twice", f"the topic {topic} is joined already")
        self._gossip.join(topic, validator)

    async def publish(self, topic: str, data: Body) -> int:
        await trio.lowlevel.checkpoint()
        if isinstance(data, bytes):
            check_message(data)
        if not self.peers(topic):
            raise _no_peers(topic)
        if not isinstance(data, bytes):
            data = await data()
            check_message(data)
            if not self.peers(topic):
                raise _no_peers(topic)
        return self._gossip.publish(topic, data)

    async def wait_for_room(self, topic: str) -> None:
        await self._gossip.wait_for_room(topic)

    def judge_again(self, topic: str, on: bytes) -> int:
        return self._gossip.judge_again(topic, on)

    def origin(self, peer: PeerId) -> bytes:
        peer_id = parse_peer(peer)
        for conn in [] if peer_id is None else self._network.get_connections(peer_id):
            if isinstance(conn.muxed_conn, Muxer):
                return conn.muxed_conn.origin
        return b""

    async def dial(self, addr: str) -> PeerId:
        info = parse_peer_addr(addr)
        await self._dialer.dial(info, listed=True)
        return str(info.peer_id)

    async def connect(self, peer: PeerId, addrs: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        peer_id = parse_peer(peer)
        found = [] if peer_id is None else named(addrs, peer, self._reach)
        if peer_id is not None and self._network.get_connections(peer_id):
            return
        if peer_id is None or not found:
            raise UnreachableError("no-address", "the peer names no address that may be dialled")
        await self._dialer.dial(PeerInfo(peer_id, found))

    def keep(self, addr: str) -> None:
        info = parse_peer_addr(addr)
        self._gossip.make_direct(str(info.peer_id))
        self._nursery.start_soon(self._dialer.keep, info)

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
        if peer_id is None or not self._network.get_connections(peer_id):
            raise UnreachableError("not-connected", "the peer is not connected")
        with trio.move_on_after(timeout):
            return await self._requests.ask(peer_id, protocol, body, reply_max)
        raise UnreachableError("too-slow", f"the peer did not answer within {timeout:g} s")

    def peers(self, topic: str) -> frozenset[PeerId]:
        return self._gossip.topic_peers(topic)

    def direct_peers(self, topic: str) -> frozenset[PeerId]:
        return self.peers(topic) & self._gossip.direct

    def dialled_peers(self, topic: str) -> frozenset[PeerId]:
        return self.peers(topic) & self._gossip.dialled_peers()

    async def wait_for_peers(self, topic: str, n: int) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.peers(topic)) < n:
            await self._gossip.changed.wait()

    def statistics(self) -> SwarmStatistics:
        mesh, own = self._gossip.mesh.statistics(), asdict(self._counters)
        shared: set[PeerId] = set()
        for topic in self._gossip.validation.validators:
            shared |= self.peers(topic)
        own["malformed"] += mesh.malformed
        return SwarmStatistics(
            connections=len(self._host.get_live_peers()),
            topic_peers=len(shared),
            published=mesh.published,
            received=mesh.received,
            received_bytes=mesh.received_bytes,
            duplicates=mesh.duplicates,
            accepted=mesh.accepted,
            ignored=mesh.ignored + mesh.unseen,
            rejected=mesh.rejected,
            limited=mesh.limited,
            waiting=mesh.waiting,
            waiting_dropped=mesh.waiting_dropped,
            **own,
        )


def _no_peers(topic: str) -> UnreachableError:
    return UnreachableError(
        "no-peers", f"no connected peer has joined {topic}", "check the bootstrap addresses"
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

    When the block ends, messages that are queued are still written, for a bounded time.
    """
    if seed is not None and len(seed) != 32:
        raise ConfigError("bad-seed", f"a host key seed has 32 bytes, this one has {len(seed)}")
    settings = settings or GossipSettings()
    addrs = [parse_listen(addr) for addr in listen]
    for addr in addrs:
        check_free(addr)
    counters = Counters()
    host = build_host(seed, settings, counters)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        swarm = _assemble(host, settings, counters, addrs, nursery)
        async with host.run(listen_addrs=addrs):
            try:
                if len(host.get_transport_addrs()) < len(addrs):
                    raise ConfigError("cannot-listen", f"cannot listen on {', '.join(listen)}")
                nursery.start_soon(swarm._gossip.run)
                yield swarm
            except Exception as error:  # noqa: BLE001 - raised again below
                failure = error
            finally:
                await swarm._gossip.flush()
                await close_host(host)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure  # outside the nurseries, which would wrap it in exception groups


def _assemble(
    host: QuietHost,
    settings: GossipSettings,
    counters: Counters,
    addrs: Sequence[Multiaddr],
    nursery: trio.Nursery,
) -> GossipSwarm:
    """Make the services of a host. They must exist before the host listens (C8): otherwise a stream
    that arrives early would find no handler."""
    network = host.get_network()
    if not isinstance(network, GuardedSwarm):
        raise TypeError("build_host makes a host on a GuardedSwarm")
    rng = random.SystemRandom()
    reach = reach_of(_ip_of(addr) for addr in addrs) if addrs else None
    dialer = Dialer(host, network, settings, counters, rng)
    exchange = Exchange(host, network, dialer, settings, counters, nursery, reach)
    gossip = Gossip(host, network, exchange, settings, counters, nursery, rng)
    requests = Requests(host, network, settings, counters)
    far = reach or Reach.PUBLIC
    return GossipSwarm(host, network, gossip, dialer, requests, counters, nursery, far)


def _ip_of(addr: Multiaddr) -> str:
    """Return the IP address of a parsed address to listen on."""
    return str(addr.value_for_protocol(addr.protocols()[0].code))

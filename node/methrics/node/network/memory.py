"""A whole network in memory, for tests of code that uses a `Swarm` (public API).

    network = MemoryNetwork(rng=random.Random(7), latency=(0.01, 0.2), loss=0.1)
    async with network.open_swarm() as relay, network.open_swarm(listen=False) as app:
        await app.dial(relay.addrs[0])

Time is trio's clock, so a test under an autojump clock takes no real time. Each link draws its
delays, losses and duplicates from a generator of its own, which depends on `rng` and the two peer
ids. With the same seed, the n-th message of a link has the same delay or loss, whatever the
scheduler does.

Every message is sent to every connected peer that has joined its topic, as if all of them were in
the mesh. A lost message is not sent again, because there are no IHAVE messages here. A partition
cuts links at once. After `heal`, only addresses passed to `keep` reconnect by themselves.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import trio

from methrics.node.backoff import Backoff
from methrics.node.network.contents import Contents, content_id
from methrics.node.network.guards import run_handler, run_validator
from methrics.node.network.swarm import (
    Body,
    Handler,
    PeerId,
    Swarm,
    SwarmStatistics,
    Validator,
    bytes_of,
    check_message,
)
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.wire.verdict import Decision

_CALLBACK_TIME_MAX = 30.0
_REDIAL = Backoff(0.5, 30.0)


class MemoryNetwork:
    """One network. `latency`: least and most seconds of a message. `loss` and `duplication`: the
    probability that a message is lost, or arrives twice."""

    def __init__(
        self,
        *,
        rng: random.Random | None = None,
        latency: tuple[float, float] = (0.001, 0.01),
        loss: float = 0.0,
        duplication: float = 0.0,
    ) -> None:
        if not 0 <= latency[0] <= latency[1]:
            raise ValueError("latency must be (least, most), both at least 0")
        if not (0 <= loss <= 1 and 0 <= duplication <= 1):
            raise ValueError("loss and duplication must lie between 0 and 1")
        self.latency = latency
        self.loss = loss
        self.duplication = duplication
        self._salt = (rng or random.Random(0)).getrandbits(64)
        self._swarms: dict[PeerId, MemorySwarm] = {}
        self._side: dict[PeerId, int] = {}
        self._rngs: dict[tuple[PeerId, PeerId], random.Random] = {}
        self._opened = 0

    @contextlib.asynccontextmanager
    async def open_swarm(self, *, listen: bool = True) -> AsyncIterator[MemorySwarm]:
        """Open one participant. When the block ends, its links are cut without notice, as after a
        crash."""
        self._opened += 1
        async with trio.open_nursery() as nursery:
            swarm = MemorySwarm(self, f"memory{self._opened:04d}", listen, nursery)
            self._swarms[swarm.peer_id] = swarm
            try:
                yield swarm
            finally:
                self._swarms.pop(swarm.peer_id, None)
                for other in list(swarm._links):
                    self._unlink(swarm, other)
                nursery.cancel_scope.cancel()

    def partition(self, *groups: Iterable[MemorySwarm]) -> None:
        """Cut every link between different groups. All swarms that are in no group form a further
        group."""
        self._side = {
            swarm.peer_id: side for side, group in enumerate(groups, 1) for swarm in group
        }
        for swarm in list(self._swarms.values()):
            for other in list(swarm._links):
                if not self.connectable(swarm.peer_id, other):
                    self._unlink(swarm, other)

    def heal(self) -> None:
        """End the partition. Addresses passed to `keep` reconnect by themselves; all others must be
        dialled."""
        self._side = {}

    def cut(self, one: MemorySwarm, two: MemorySwarm) -> None:
        """Cut the connection between two swarms. They may connect again."""
        self._unlink(one, two.peer_id)

    def connectable(self, one: PeerId, two: PeerId) -> bool:
        """Whether no partition separates the two peers."""
        return self._side.get(one, 0) == self._side.get(two, 0)

    def _link(self, one: MemorySwarm, two: MemorySwarm) -> None:
        one._links[two.peer_id] = two
        two._links[one.peer_id] = one
        one._wake()
        two._wake()

    def _unlink(self, one: MemorySwarm, two: PeerId) -> None:
        other = one._links.pop(two, None)
        one._wake()
        if other is not None:
            other._links.pop(one.peer_id, None)
            other._wake()

    def _rng(self, source: PeerId, target: PeerId) -> random.Random:
        key = (source, target)
        if key not in self._rngs:
            self._rngs[key] = random.Random(f"{self._salt}/{source}/{target}")
        return self._rngs[key]

    def _delays(self, source: PeerId, target: PeerId) -> list[float]:
        """Return one delay per copy of a message that will arrive: no delay if the message is lost,
        two if it is duplicated."""
        rng = self._rng(source, target)
        lost, doubled = rng.random() < self.loss, rng.random() < self.duplication
        delays = [rng.uniform(*self.latency), rng.uniform(*self.latency)]
        return [] if lost else delays if doubled else delays[:1]


class MemorySwarm(Swarm):
    """A `Swarm` on a `MemoryNetwork`; made by `MemoryNetwork.open_swarm`."""

    def __init__(
        self, network: MemoryNetwork, peer_id: PeerId, listen: bool, nursery: trio.Nursery
    ) -> None:
        self._network = network
        self._peer_id = peer_id
        self._listen = listen
        self._nursery = nursery
        self._links: dict[PeerId, MemorySwarm] = {}
        self._validators: dict[str, Validator] = {}
        self._handlers: dict[str, tuple[Handler, int]] = {}
        self._contents = Contents()
        self._statistics = SwarmStatistics()
        self._changed = trio.Event()

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addrs(self) -> tuple[str, ...]:
        return (f"/memory/{self._peer_id}/p2p/{self._peer_id}",) if self._listen else ()

    async def join(self, topic: str, validator: Validator) -> None:
        await trio.lowlevel.checkpoint()
        if topic in self._validators:
            raise ConfigError("joined-twice", f"the topic {topic} is joined already")
        self._validators[topic] = validator
        for swarm in self._links.values():
            swarm._wake()

    async def publish(self, topic: str, data: Body) -> int:
        await trio.lowlevel.checkpoint()
        if isinstance(data, bytes):
            check_message(data)
        targets = [self._links[peer] for peer in sorted(self.peers(topic))]
        if not targets:
            raise UnreachableError(
                "no-peers", f"no connected peer has joined {topic}", "check the bootstrap addresses"
            )
        data = await bytes_of(data)
        check_message(data)
        self._contents.own(content_id(topic, data), trio.current_time())
        for target in targets:
            self._send(target, topic, data)
        self._count(published=1)
        return len(targets)

    async def dial(self, addr: str) -> PeerId:
        target = parse_memory_addr(addr)
        await trio.sleep(self._network.latency[0])
        return self._connect(target)

    def keep(self, addr: str) -> None:
        self._nursery.start_soon(self._keep, parse_memory_addr(addr))

    def serve(self, protocol: str, handler: Handler, *, request_max: int) -> None:
        if protocol in self._handlers:
            raise ConfigError("served-twice", f"the protocol {protocol} is served already")
        self._handlers[protocol] = (handler, request_max)

    async def request(
        self, peer: PeerId, protocol: str, body: Body, *, reply_max: int, timeout: float
    ) -> bytes:
        target = self._links.get(peer)
        if target is None:
            await trio.lowlevel.checkpoint()
            raise UnreachableError("not-connected", "the peer is not connected")
        with trio.move_on_after(timeout):
            reply = await self._ask(target, protocol, body)
            if reply is None:
                raise UnreachableError("no-reply", f"the peer gave no reply to {protocol}")
            if len(reply) > reply_max:
                raise UnreachableError(
                    "reply-oversize", f"the peer's reply is over {reply_max} bytes"
                )
            return reply
        raise UnreachableError("too-slow", f"the peer did not answer within {timeout:g} s")

    def peers(self, topic: str) -> frozenset[PeerId]:
        return frozenset(p for p, swarm in self._links.items() if topic in swarm._validators)

    async def wait_for_peers(self, topic: str, n: int) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.peers(topic)) < n:
            await self._changed.wait()

    def statistics(self) -> SwarmStatistics:
        shared = {p for topic in self._validators for p in self.peers(topic)}
        return replace(self._statistics, connections=len(self._links), topic_peers=len(shared))

    def _count(self, **increments: int) -> None:
        now = self._statistics
        self._statistics = replace(now, **{k: getattr(now, k) + n for k, n in increments.items()})

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _connect(self, target: PeerId) -> PeerId:
        other = self._network._swarms.get(target)
        reachable = other is not None and other._listen and other is not self
        if other is None or not reachable or not self._network.connectable(self.peer_id, target):
            self._count(dials_failed=1)
            raise UnreachableError("dial-failed", "the peer does not answer at that address")
        if target not in self._links:
            self._network._link(self, other)
        return target

    async def _keep(self, target: PeerId) -> None:
        rng = self._network._rng(self._peer_id, f"keep/{target}")
        failures = 0
        while True:
            while target in self._links:
                failures = 0
                await self._changed.wait()
            try:
                self._connect(target)
            except UnreachableError:
                await trio.sleep(_REDIAL.drawn(failures, rng.random))
                failures += 1

    def _send(self, target: MemorySwarm, topic: str, data: bytes) -> None:
        for delay in self._network._delays(self._peer_id, target._peer_id):
            target._nursery.start_soon(target._receive, self._peer_id, topic, data, delay)

    async def _receive(self, peer: PeerId, topic: str, data: bytes, delay: float) -> None:
        await trio.sleep(delay)
        validator = self._validators.get(topic)
        if peer not in self._links or validator is None:
            return  # the link was cut before the message arrived
        self._count(received=1, received_bytes=len(data))
        content = content_id(topic, data)
        if not self._contents.arrive(content, peer, trio.current_time()):
            self._count(duplicates=1)
            return
        decision = await run_validator(validator, peer, data, _CALLBACK_TIME_MAX)
        if decision is None:
            self._count(validator_errors=1)
            decision = Decision.IGNORE
        self._contents.settle(content, decision)
        self._count(**{_COUNTER[decision]: 1})
        if decision is Decision.ACCEPT:
            for other in sorted(self.peers(topic) - {peer}):
                self._send(self._links[other], topic, data)

    async def _ask(self, target: MemorySwarm, protocol: str, body: Body) -> bytes | None:
        await self._travel(target)
        served = target._handlers.get(protocol)
        if served is None:
            return None
        handler, request_max = served
        body = await bytes_of(body)
        if len(body) > request_max:
            target._count(requests_refused=1)
            return None
        reply = await run_handler(handler, self._peer_id, body, _CALLBACK_TIME_MAX)
        if reply is None:
            target._count(handler_errors=1)
            return None
        target._count(requests=1)
        await self._travel(target)
        return reply

    async def _travel(self, target: MemorySwarm) -> None:
        """Wait for the time that a message needs over the link. Wait for ever if it is lost. Raise
        UnreachableError if the link was cut meanwhile."""
        delays = self._network._delays(self._peer_id, target._peer_id)
        if not delays:
            await trio.sleep_forever()
        await trio.sleep(delays[0])
        if target._peer_id not in self._links:
            raise UnreachableError("no-reply", "the connection was lost before the reply")


_COUNTER = {
    Decision.ACCEPT: "accepted",
    Decision.IGNORE: "ignored",
    Decision.REJECT: "rejected",
}


def parse_memory_addr(addr: str) -> PeerId:
    """Return the peer id of an address `/memory/<id>/p2p/<id>`. Raises `ConfigError` for another
    form."""
    parts = addr.split("/")
    if len(parts) != 5 or parts[:2] != ["", "memory"] or parts[3] != "p2p" or parts[2] != parts[4]:
        raise ConfigError("bad-address", f"{addr!r} is not a memory address")
    return parts[4]

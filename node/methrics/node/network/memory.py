"""A whole network in memory, for tests of code that uses a `Swarm` (public API).

    network = MemoryNetwork(rng=random.Random(7), latency=(0.01, 0.2), loss=0.1)
    async with network.open_swarm() as relay, network.open_swarm(listen=False) as app:
        await app.dial(relay.addrs[0])

Messages travel by the same mesh core as on libp2p (`methrics.node.mesh`). Time is trio's clock, so
a test under an autojump clock takes no real time. Each link draws its delays, losses and duplicates
from a generator of its own, which depends on `rng` and the two peer ids. With the same seed, the
n-th message of a link has the same delay or loss, whatever the scheduler does.

Only messages, requests and replies are lost. Subscriptions and changes of the mesh take no time;
all else takes as long as a message. A peer that lost a message may get it from another peer, or be
told its id and ask for it. A partition cuts links at once. After `heal`, only addresses passed to
`keep` reconnect by themselves.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

import trio

from methrics.node.backoff import Backoff
from methrics.node.mesh.core import Mesh
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import UNSEEN, Outcome
from methrics.node.mesh.outputs import Dial, Drop, Judge, Send
from methrics.node.mesh.rpc import Message, Rpc
from methrics.node.network.guards import on_topic, run_handler, run_validator
from methrics.node.network.memory_addresses import address_of, peer_of
from methrics.node.network.peer_ids import peer_id_of
from methrics.node.network.pulse import Pulse
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
        self._at_once: deque[tuple[MemorySwarm, PeerId, Rpc]] = deque()
        self._carrying = False

    @contextlib.asynccontextmanager
    async def open_swarm(
        self, *, listen: bool = True, origin: bytes | None = None, key: bytes | None = None
    ) -> AsyncIterator[MemorySwarm]:
        """Open one participant. When the block ends, its links are cut without notice, as after a
        crash. `origin`: what `Swarm.origin` says of it; by default, it has a network of its own.
        `key`: the Ed25519 key (32 bytes) of its peer id, which by default holds no key."""
        self._opened += 1
        name = f"memory{self._opened:04d}" if key is None else peer_id_of(key)
        async with trio.open_nursery() as nursery:
            swarm = MemorySwarm(
                self, name, listen, nursery, name.encode() if origin is None else origin
            )
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

    def _link(self, one: MemorySwarm, two: MemorySwarm, *, chosen: bool) -> None:
        one._links[two.peer_id] = two
        two._links[one.peer_id] = one
        one._linked(two, outbound=chosen)
        two._linked(one, outbound=False)
        one._act()
        two._act()

    def _unlink(self, one: MemorySwarm, two: PeerId) -> None:
        other = one._links.pop(two, None)
        if other is not None:
            other._links.pop(one.peer_id, None)
            one._unlinked(two)
            other._unlinked(one.peer_id)

    def _carry(self, source: MemorySwarm, send: Send) -> None:
        """Bring a frame to its peer: at once, if it has neither messages nor ids of messages."""
        target, rpc = source._links.get(send.peer), send.rpc
        if target is None:
            return
        if rpc.messages or rpc.ihave or rpc.iwant:
            delays = self._delays(source._peer_id, target._peer_id, reliable=not rpc.messages)
            for delay in delays:
                target._nursery.start_soon(target._receive, source._peer_id, rpc, delay)
            return
        self._at_once.append((target, source._peer_id, rpc))
        if self._carrying:
            return
        self._carrying = True
        try:
            while self._at_once:
                target, peer, rpc = self._at_once.popleft()
                target._take_in(peer, rpc)
        finally:
            self._carrying = False

    def _rng(self, source: PeerId, target: PeerId) -> random.Random:
        key = (source, target)
        if key not in self._rngs:
            self._rngs[key] = random.Random(f"{self._salt}/{source}/{target}")
        return self._rngs[key]

    def _delays(self, source: PeerId, target: PeerId, *, reliable: bool = False) -> list[float]:
        """Return one delay per copy of a message that will arrive: no delay if the message is lost,
        two if it is duplicated."""
        if reliable:
            return [self._rng(f"{source}/control", target).uniform(*self.latency)]
        rng = self._rng(source, target)
        lost, doubled = rng.random() < self.loss, rng.random() < self.duplication
        delays = [rng.uniform(*self.latency), rng.uniform(*self.latency)]
        return [] if lost else delays if doubled else delays[:1]


class MemorySwarm(Swarm):
    """A `Swarm` on a `MemoryNetwork`; made by `MemoryNetwork.open_swarm`."""

    def __init__(
        self,
        network: MemoryNetwork,
        peer_id: PeerId,
        listen: bool,
        nursery: trio.Nursery,
        origin: bytes,
    ) -> None:
        self._network = network
        self._peer_id = peer_id
        self._listen = listen
        self._nursery = nursery
        self._origin = origin
        self._links: dict[PeerId, MemorySwarm] = {}
        self._kept: set[PeerId] = set()
        self._dialled: set[PeerId] = set()
        self._validators: dict[str, Validator] = {}
        self._handlers: dict[str, tuple[Handler, int]] = {}
        self._mesh = Mesh(MeshSettings(judging_per_peer=1_000_000))  # no reader waits for verdicts
        self._counts: dict[str, int] = {}
        self._published = 0
        self._changed = trio.Event()
        self._pulse = Pulse()
        nursery.start_soon(self._beat)

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addrs(self) -> tuple[str, ...]:
        return (address_of(self._peer_id),) if self._listen else ()

    async def join(self, topic: str, validator: Validator) -> None:
        await trio.lowlevel.checkpoint()
        if topic in self._validators:
            raise ConfigError("joined-twice", f"the topic {topic} is joined already")
        self._validators[topic] = validator
        self._mesh.join(topic, trio.current_time())
        self._act()

    async def publish(self, topic: str, data: Body) -> int:
        await trio.lowlevel.checkpoint()
        if isinstance(data, bytes):
            check_message(data)
        self._check_peers(topic)
        data = await bytes_of(data)
        check_message(data)
        self._check_peers(topic)
        self._published += 1
        message = Message(self._peer_id.encode(), data, self._published.to_bytes(8, "big"), topic)
        handed = self._mesh.publish(message, trio.current_time())
        self._act()
        return handed

    async def wait_for_room(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()

    def judge_again(self, topic: str, on: bytes) -> int:
        judged = self._mesh.again(on_topic(topic, on), trio.current_time())
        self._act()
        return judged

    def origin(self, peer: PeerId) -> bytes:
        other = self._links.get(peer)
        return b"" if other is None else other._origin

    async def dial(self, addr: str) -> PeerId:
        target = peer_of(addr)
        await trio.sleep(self._network.latency[0])
        return self._connect(target)

    async def connect(self, peer: PeerId, addrs: Sequence[str]) -> None:
        await trio.sleep(self._network.latency[0])
        if peer not in self._links and address_of(peer) not in addrs:
            raise UnreachableError("no-address", "the peer names no address that may be dialled")
        if peer not in self._links:
            self._connect(peer, chosen=False)

    def keep(self, addr: str) -> None:
        target = peer_of(addr)
        self._kept.add(target)
        self._nursery.start_soon(self._keep, target)

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
                raise UnreachableError("reply-oversize", f"the reply is over {reply_max} bytes")
            return reply
        raise UnreachableError("too-slow", f"the peer did not answer within {timeout:g} s")

    def peers(self, topic: str) -> frozenset[PeerId]:
        return self._mesh.topic_peers(topic)

    def direct_peers(self, topic: str) -> frozenset[PeerId]:
        return self.peers(topic) & self._kept

    def dialled_peers(self, topic: str) -> frozenset[PeerId]:
        return self.peers(topic) & self._dialled

    async def wait_for_peers(self, topic: str, n: int) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.peers(topic)) < n:
            await self._changed.wait()

    def statistics(self) -> SwarmStatistics:
        mesh = self._mesh.statistics()
        shared = {p for topic in self._validators for p in self.peers(topic)}
        return SwarmStatistics(
            connections=len(self._links),
            topic_peers=len(shared),
            published=mesh.published,
            received=mesh.received,
            received_bytes=mesh.received_bytes,
            duplicates=mesh.duplicates,
            accepted=mesh.accepted,
            ignored=mesh.ignored + mesh.unseen,
            rejected=mesh.rejected,
            limited=mesh.limited,
            malformed=mesh.malformed,
            waiting=mesh.waiting,
            waiting_dropped=mesh.waiting_dropped,
            px_dials=mesh.dials,
            **self._counts,
        )

    def _check_peers(self, topic: str) -> None:
        if not self.peers(topic):
            raise UnreachableError(
                "no-peers", f"no connected peer has joined {topic}", "check the bootstrap addresses"
            )

    def _count(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _linked(self, other: MemorySwarm, *, outbound: bool) -> None:
        peer, now = other._peer_id, trio.current_time()
        direct = peer in self._kept
        if outbound:
            self._dialled.add(peer)
        self._mesh.connected(peer, now, outbound=outbound, direct=direct, origin=other._origin)
        if other._listen:
            self._mesh.note_record(peer, peer.encode(), address_of(peer).encode())

    def _unlinked(self, peer: PeerId) -> None:
        self._dialled.discard(peer)
        self._mesh.disconnected(peer, trio.current_time())
        self._act()

    def _act(self) -> None:
        """Carry out what the mesh asks for. Something has happened, so the swarm beats."""
        self._pulse.stir()
        self._carry_out()
        self._wake()

    def _carry_out(self) -> None:
        for output in self._mesh.take():
            match output:
                case Send():
                    self._network._carry(self, output)
                case Judge():
                    self._nursery.start_soon(self._judge, output)
                case Dial(_, record):
                    with contextlib.suppress(UnreachableError):
                        self._connect(peer_of(record.decode()), chosen=False)
                case Drop(peer, _):
                    self._network._unlink(self, peer)

    async def _beat(self) -> None:
        rng = random.Random(self._peer_id)
        while True:
            await self._pulse.wait_for_beat()
            self._mesh.heartbeat(trio.current_time(), rng)
            self._carry_out()

    def _connect(self, target: PeerId, *, chosen: bool = True) -> PeerId:
        other = self._network._swarms.get(target)
        reachable = other is not None and other._listen and other is not self
        if other is None or not reachable or not self._network.connectable(self.peer_id, target):
            self._count("dials_failed")
            raise UnreachableError("dial-failed", "the peer does not answer at that address")
        if target not in self._links:
            self._network._link(self, other, chosen=chosen)
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

    async def _receive(self, peer: PeerId, rpc: Rpc, delay: float) -> None:
        await trio.sleep(delay)
        self._take_in(peer, rpc)

    def _take_in(self, peer: PeerId, rpc: Rpc) -> None:
        if peer in self._links:  # otherwise the link was cut before the frame arrived
            self._mesh.frame(peer, rpc, trio.current_time())
            self._act()

    async def _judge(self, output: Judge) -> None:
        validator = self._validators.get(output.message.topic)
        outcome: Outcome = UNSEEN
        if validator is not None:
            answer = await run_validator(
                validator, output.forwarder, output.message, _CALLBACK_TIME_MAX
            )
            if answer is None:
                self._count("validator_errors")
            outcome = UNSEEN if answer is None else answer
        self._mesh.verdict(output.content, outcome, trio.current_time())
        self._act()

    async def _ask(self, target: MemorySwarm, protocol: str, body: Body) -> bytes | None:
        await self._travel(target)
        served = target._handlers.get(protocol)
        if served is None:
            return None
        handler, request_max = served
        body = await bytes_of(body)
        if len(body) > request_max:
            target._count("requests_refused")
            return None
        reply = await run_handler(handler, self._peer_id, body, _CALLBACK_TIME_MAX)
        if reply is None:
            target._count("handler_errors")
            return None
        target._count("requests")
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

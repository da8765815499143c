"""Simulated participants: what all have in common, and the honest node on the real mesh core."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from methrics.node.mesh import wire
from methrics.node.mesh.core import Mesh
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import Outcome
from methrics.node.mesh.outputs import Dial, Drop, Judge, Send
from methrics.node.mesh.rpc import Rpc
from methrics.node.testing.ledger import Ledger
from methrics.node.testing.links import Direction
from methrics.node.testing.network import Network
from methrics.schema.wire.verdict import Decision

Validate = Callable[[bytes], Outcome]
"""`validate(data)` returns the decision about a message."""

_REDIAL_LEAST = 1.0
_REDIAL_MOST = 60.0
"""Seconds before a lost peer that a node keeps is dialled again: the least, doubled with each
failure up to the most, with jitter."""

CONNECTIONS_MAX = 300
"""Most connections of one node, as of a real swarm."""


def accept_all(_: bytes) -> Decision:
    """Accept every message."""
    return Decision.ACCEPT


@dataclass(slots=True)
class World:
    """What all participants of a simulation share."""

    network: Network
    ledger: Ledger
    topic: str
    settings: MeshSettings
    seed: int
    judge_time: float
    """Seconds that judging a message takes."""


class Participant:
    """One end of connections, which sends frames and gets them. This one stays idle."""

    honest = False

    def __init__(self, world: World, name: str, *, origin: bytes | None = None) -> None:
        self.world = world
        self.name = name
        self.origin = name.encode() if origin is None else origin
        """Stands for the network (the address prefix) of this participant."""
        self.links: dict[str, Direction] = {}
        self.rng = random.Random(f"{world.seed}/{name}")
        self.received_frames: int = 0
        self.received_bytes: int = 0
        self.sent_frames: int = 0
        self.sent_bytes: int = 0
        self.started = False

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.world.network.events.now

    def start(self) -> None:
        """Begin to beat, at a moment of its own."""
        self.started = True
        beat = self.world.settings.heartbeat
        self.world.network.events.after(self.rng.uniform(0, beat), self._beat)

    def stop(self) -> None:
        """Stop to beat, because it has left the network."""
        self.started = False

    def accepts(self, peer: str) -> bool:
        """Whether it lets `peer` connect."""
        return len(self.links) < CONNECTIONS_MAX

    def send(self, peer: str, rpc: Rpc) -> bool:
        """Send a frame; return False if it was dropped because the queue is full."""
        size = self.world.network.send(self.links.get(peer), rpc)
        self.sent_frames += size > 0
        self.sent_bytes += size
        return size > 0

    def linked(self, peer: str, outbound: bool) -> None:
        """A connection to `peer` is open. `outbound`: this side dialled."""

    def unlinked(self, peer: str) -> None:
        """The connection to `peer` has ended."""

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        """A frame of `size` bytes has come from `peer`."""
        self.received_frames += 1
        self.received_bytes += size

    def receive_bytes(self, peer: str, frame: bytes) -> None:
        """Bytes have come from `peer` that are no frame of a simulated node."""
        self.received_bytes += len(frame)

    def beat(self) -> None:
        """Do what is due once in each beat."""

    def _beat(self) -> None:
        if self.started:
            self.beat()
            self.world.network.events.after(self.world.settings.heartbeat, self._beat)


class Node(Participant):
    """A participant on the real mesh core, with `validate` as its judge."""

    honest = True

    def __init__(
        self,
        world: World,
        name: str,
        *,
        origin: bytes | None = None,
        validate: Validate = accept_all,
        joins: bool = True,
    ) -> None:
        super().__init__(world, name, origin=origin)
        self.mesh = Mesh(world.settings)
        self.validate = validate
        self.joins = joins
        self.keeps: dict[str, int] = {}
        """The direct peers that this node dials again when they are lost, and how often in a row
        that has failed."""
        self._named: set[str] = set()

    def start(self) -> None:
        super().start()
        if self.joins:
            self.mesh.join(self.world.topic, self.now)
        for peer in self.keeps:
            self._dial(peer)

    def stop(self) -> None:
        """Leave as after a crash: nothing is remembered."""
        super().stop()
        self.mesh = Mesh(self.world.settings)

    def keep(self, peer: str) -> None:
        """Stay connected to `peer`, which is direct on this side."""
        self.keeps[peer] = 0
        if self.started:
            self._dial(peer)

    def publish(self, data: bytes) -> bytes:
        """Publish a message; return its content id."""
        message = self.world.ledger.sign(self.name, self.world.topic, data)
        content = self.world.ledger.note_published(message, self.name, self.now)
        self.mesh.publish(message, self.now)
        self.flush()
        return content

    def linked(self, peer: str, outbound: bool) -> None:
        mesh, other = self.mesh, self.world.network.ends[peer]
        direct = peer in self.keeps
        outbound = outbound and peer not in self._named
        mesh.connected(peer, self.now, outbound=outbound, direct=direct, origin=other.origin)
        mesh.note_record(peer, peer.encode(), peer.encode())
        self.flush()

    def unlinked(self, peer: str) -> None:
        self.mesh.disconnected(peer, self.now)
        self.flush()
        if peer in self.keeps and self.started:
            self._dial_later(peer)

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        self.received_frames += 1
        self.received_bytes += size
        self.mesh.frame(peer, rpc, self.world.network.events.now)
        self.flush()

    def receive_bytes(self, peer: str, frame: bytes) -> None:
        try:
            rpc = wire.decode(frame)
        except wire.WireError:
            self.received_bytes += len(frame)
            self.mesh.blame(peer, self.now)
            self.flush()
        else:
            self.receive(peer, rpc, len(frame))

    def beat(self) -> None:
        self.mesh.heartbeat(self.now, self.rng)
        self.flush()

    def judge_again(self, on: bytes) -> int:
        """Judge what waits for `on`; return the number of messages."""
        judged = self.mesh.again(on, self.now)
        self.flush()
        return judged

    def flush(self) -> None:
        """Carry out what the mesh asks for."""
        for output in self.mesh.take():
            if type(output) is Send:
                self.transmit(output)
            elif type(output) is Judge:
                self.world.network.events.after(self.world.judge_time, self._judge, output)
            elif type(output) is Dial:
                self._dial_named(output.record.decode())
            elif type(output) is Drop:
                self.world.network.disconnect(self.name, output.peer)

    def transmit(self, output: Send) -> None:
        """Send a frame, or tell the mesh that it was dropped."""
        if not self.send(output.peer, output.rpc) and output.peer in self.links:
            self.mesh.unsent(output, self.now)

    def _judge(self, output: Judge) -> None:
        if not self.started:
            return
        now = self.now
        if self.world.ledger.genuine(output.message):
            outcome = self.validate(output.message.data)
            if outcome is Decision.ACCEPT:
                self.world.ledger.note_accepted(output.content, self.name, output.forwarder, now)
            self.mesh.verdict(output.content, outcome, now)
        else:
            self.mesh.forged(output.forwarder, output.content, now)
        self.flush()

    def _dial_named(self, peer: str) -> None:
        self._named.add(peer)
        self.world.network.connect(self.name, peer)
        self._named.discard(peer)

    def _dial(self, peer: str) -> None:
        if not self.started or peer in self.links:
            return
        if self.world.network.connect(self.name, peer):
            self.keeps[peer] = 0
        else:
            self.keeps[peer] += 1
            self._dial_later(peer)

    def _dial_later(self, peer: str) -> None:
        wait = min(_REDIAL_MOST, _REDIAL_LEAST * 2.0 ** self.keeps[peer])
        self.world.network.events.after(wait * self.rng.uniform(0.5, 1), self._dial, peer)

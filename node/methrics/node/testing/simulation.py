"""A whole gossip network in one process, under virtual time: the real mesh core, and no I/O.

    simulation = Simulation(seed=7, nodes=1000)
    simulation.run(10)
    content = simulation.publish(simulation.nodes[0], bytes(2000))
    simulation.run(20)
    assert simulation.figures().delivered == 1.0

The same seed and the same calls give the same run. Only the mesh core is real: streams, encryption
and signatures are not simulated, and judging a message takes a fixed time. Figures of bytes count
gossip frames as they are on the wire, before encryption.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from methrics.node.mesh.limits import MeshSettings
from methrics.node.testing.ledger import Ledger, quantile
from methrics.node.testing.links import LinkLimits
from methrics.node.testing.network import Network
from methrics.node.testing.participants import Node, Participant, World
from methrics.node.testing.sizes import Kept, kept_by

P = TypeVar("P", bound=Participant)

TOPIC = "/methrics/1/simulated-aaaaaaaaaaaaaaaa/cbor"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a simulation measured, over its honest nodes."""

    delivered: float
    """The share of all deliveries that should have happened and did: 1.0 if every message reached
    every honest node."""
    delivered_least: float
    """The same for the message that reached the fewest."""
    p50_s: float
    p99_s: float
    """Virtual seconds from publishing to arrival."""
    hops: float
    """Connections over which a message came, on average."""
    amplification: float
    """Bytes that a node received / bytes of the contents of all messages, on average."""
    frames: float
    """Frames that a node received for each message, on average."""


class Simulation:
    """One network. `nodes`: how many honest nodes it starts with; each dials `peers` others, drawn
    at random. `latency`: least and most seconds of a connection, drawn for each."""

    def __init__(
        self,
        seed: int = 0,
        *,
        nodes: int = 0,
        peers: int = 8,
        settings: MeshSettings | None = None,
        latency: tuple[float, float] = (0.02, 0.2),
        limits: LinkLimits | None = None,
        judge_time: float = 0.005,
        topic: str = TOPIC,
    ) -> None:
        self.rng = random.Random(f"{seed}/simulation")
        links = random.Random(f"{seed}/links")
        self.network = Network(links, limits or LinkLimits(), latency)
        self.ledger = Ledger()
        self.world = World(
            self.network, self.ledger, topic, settings or MeshSettings(), seed, judge_time
        )
        self.participants: dict[str, Participant] = {}
        """Everybody who ever took part."""
        for node in self.add_many(nodes):
            self.dial_some(node, peers)

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.network.events.now

    @property
    def nodes(self) -> list[Node]:
        """The honest nodes that are here."""
        here = self.network.ends
        return [
            one
            for one in self.participants.values()
            if isinstance(one, Node) and one.honest and one.name in here
        ]

    def add(self, kind: type[P], name: str = "", **options: Any) -> P:
        """Let a new participant in, without connections. `options` are those of its class."""
        name = name or f"{kind.__name__.lower()}{len(self.participants):04d}"
        one = kind(self.world, name, **options)
        self.participants[name] = one
        self.network.add(one)
        one.start()
        return one

    def add_many(self, count: int, kind: type[Any] = Node, **options: Any) -> list[Any]:
        """Let so many new participants in, without connections."""
        return [self.add(kind, **options) for _ in range(count)]

    def dial_some(self, one: Participant, peers: int) -> None:
        """Let `one` dial so many participants, drawn at random."""
        others = [name for name in self.network.ends if name != one.name]
        for name in self.rng.sample(others, min(peers, len(others))):
            self.network.connect(one.name, name)

    def connect(self, one: Participant, two: Participant, **limits: LinkLimits) -> bool:
        """Let `one` dial `two`; return whether they are connected now. `there` and `back`: the
        limits of the directions to `two` and from `two`."""
        return self.network.connect(one.name, two.name, **limits)

    def break_links(self, share: float) -> int:
        """Let all frames vanish in this share of the connections; return their number."""
        pairs = sorted(
            (one, two)
            for one, end in self.network.ends.items()
            for two in end.links
            if one < two and not end.links[two].broken
        )
        chosen = self.rng.sample(pairs, round(share * len(pairs)))
        for one, two in chosen:
            self.network.break_link(one, two)
        return len(chosen)

    def leave(self, one: Participant) -> None:
        """Take `one` away as after a crash."""
        one.stop()
        self.network.remove(one.name)

    def come_back(self, one: Participant, peers: int = 8) -> None:
        """Let `one`, which left, start again; it dials what it keeps and some others."""
        self.network.add(one)
        one.start()
        self.dial_some(one, peers)

    def partition(self, *groups: Iterable[Participant]) -> None:
        """Cut every connection between different groups. All that are in no group form a further
        group."""
        self.network.partition(*([one.name for one in group] for group in groups))

    def heal(self) -> None:
        """End the partition. Nodes dial again what they keep."""
        self.network.heal()

    def publish(self, node: Node, data: bytes) -> bytes:
        """Let `node` publish a message; return its content id."""
        return node.publish(data)

    def run(self, seconds: float) -> None:
        """Let so many virtual seconds pass."""
        self.network.events.run(seconds)

    def scores(self, one: Participant, nodes: Iterable[Node] | None = None) -> list[float]:
        """Return the scores that the nodes connected to `one` give it, ascending."""
        judges = self.nodes if nodes is None else nodes
        return sorted(node.mesh.score(one.name) for node in judges if one.name in node.links)

    def kept(self, node: Node) -> Kept:
        """Return how much the mesh of a node keeps."""
        return kept_by(node.mesh)

    def figures(self, nodes: Iterable[Node] | None = None) -> Figures:
        """Return what was measured so far, over `nodes` or all honest nodes that are here."""
        chosen = self.nodes if nodes is None else list(nodes)
        names = [node.name for node in chosen]
        shares = self.ledger.delivered(names).values()
        delays = self.ledger.delays(names)
        published, hops = self.ledger.published.values(), self.ledger.hops(names)
        content, count = sum(one.size for one in published), max(1, len(published))
        received = sum(node.received_bytes for node in chosen) / len(chosen)
        frames = sum(node.received_frames for node in chosen) / len(chosen)
        return Figures(
            delivered=sum(shares) / count,
            delivered_least=min(shares, default=0.0),
            p50_s=quantile(delays, 0.5),
            p99_s=quantile(delays, 0.99),
            hops=sum(hops) / max(1, len(hops)),
            amplification=received / max(1, content),
            frames=frames / count,
        )

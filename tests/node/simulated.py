"""Simulated networks under attack: messages that can be judged, and what every attack must leave.

A message is a body with its checksum, so that changed bytes are noticed as a bundle's signatures
would show them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from methrics.node.mesh.outcome import Outcome
from methrics.node.testing import Node, Participant, Simulation
from methrics.schema.wire.verdict import Decision

CHECK = 8
"""Bytes of the checksum."""

ENTRIES_MAX = 5000
"""Most elements that the mesh of an attacked node may keep here; in peace some hundreds."""

BYTES_MAX = 1_000_000
"""Most bytes that it may keep; in peace some thousands, most of them messages for who asks."""


def make(rng: random.Random, size: int = 500) -> bytes:
    """A message that `Judge` accepts."""
    body = rng.randbytes(size - CHECK)
    return body + hashlib.sha256(body).digest()[:CHECK]


class Judge:
    """Accepts a message once, ignores it later, and rejects what nobody made."""

    def __init__(self) -> None:
        self.accepted: set[bytes] = set()
        self.counts = dict.fromkeys(Decision, 0)

    def __call__(self, data: bytes) -> Outcome:
        decision = self._decide(data)
        self.counts[decision] += 1
        return decision

    def _decide(self, data: bytes) -> Decision:
        body, check = data[:-CHECK], data[-CHECK:]
        if hashlib.sha256(body).digest()[:CHECK] != check:
            return Decision.REJECT
        if data in self.accepted:
            return Decision.IGNORE
        self.accepted.add(data)
        return Decision.ACCEPT


def honest_network(nodes: int = 40, *, seed: int = 1, peers: int = 6, **options: Any) -> Simulation:
    """A network of honest nodes, each with a judge of its own."""
    simulation = Simulation(seed, **options)
    for _ in range(nodes):
        simulation.dial_some(simulation.add(Node, validate=Judge()), peers)
    return simulation


def attackers(
    simulation: Simulation, kind: type[Participant], count: int, *, peers: int = 15, **options: Any
) -> list[Any]:
    """Let attackers in; each dials some of those that are there."""
    victims = simulation.nodes
    found = simulation.add_many(count, kind, **options)
    for one in found:
        for victim in simulation.rng.sample(victims, min(peers, len(victims))):
            simulation.connect(one, victim)
    return found


def publish(
    simulation: Simulation,
    count: int = 10,
    *,
    by: Sequence[Node] = (),
    every: float = 1.0,
    rest: float = 20.0,
) -> None:
    """Let honest nodes publish, one after the other, and let everything arrive."""
    publishers = by or simulation.nodes
    for _ in range(count):
        simulation.publish(simulation.rng.choice(publishers), make(simulation.rng))
        simulation.run(every)
    simulation.run(rest)


def assert_unharmed(simulation: Simulation) -> None:
    """Every message reached every honest node, and no node keeps much."""
    figures = simulation.figures()
    assert figures.delivered == 1.0
    for node in simulation.nodes:
        kept = simulation.kept(node)
        assert kept.entries < ENTRIES_MAX
        assert kept.bytes < BYTES_MAX


def assert_distrusted(simulation: Simulation, found: Sequence[Participant]) -> None:
    """Every node has dropped the attackers that connected to it, or scores them below zero."""
    for one in found:
        assert one.sent_frames > 0
        assert all(score < 0 for score in simulation.scores(one)), simulation.scores(one)

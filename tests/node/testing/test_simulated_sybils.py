"""Attacks on a simulated network by peers that do too little: sybils, withholders, slow readers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from simulated import (
    Judge,
    assert_distrusted,
    assert_unharmed,
    attackers,
    honest_network,
    publish,
)

from methrics.node.mesh.rpc import Message, Rpc
from methrics.node.testing import (
    Figures,
    Liar,
    LinkLimits,
    Node,
    Silent,
    Simulation,
    Sybil,
    Withholder,
)
from methrics.node.testing.participants import World


def test_attack_a_fifth_of_the_network_stays_silent() -> None:
    simulation = honest_network(80)
    for one in simulation.add_many(20, Silent):
        simulation.dial_some(one, 8)
    simulation.run(3)
    simulation.break_links(0.01)
    publish(simulation, 10)
    assert_unharmed(simulation)


def test_attack_withheld_messages_are_asked_of_others() -> None:
    simulation = honest_network(30)
    simulation.run(3)
    found = attackers(simulation, Withholder, 30, peers=30)
    simulation.run(5)
    publish(simulation, 10, rest=40)
    assert_unharmed(simulation)
    assert all(one.sent_frames for one in found)


def eclipsed(kind: type[Any]) -> tuple[Simulation, Node, list[Any]]:
    """A victim to which 60 sybils connect first, and which then dials three honest nodes."""
    simulation = honest_network(40)
    simulation.run(3)
    victim = simulation.add(Node, "victim", validate=Judge())
    sybils = simulation.add_many(60, kind, origin=b"one network")
    for one in sybils:
        simulation.connect(one, victim)
    simulation.run(5)
    for node in simulation.nodes[:3]:
        simulation.connect(victim, node)
    simulation.run(3)
    return simulation, victim, sybils


@pytest.mark.parametrize("kind", [Silent, Withholder])
def test_attack_eclipse_by_60_sybils(kind: type[Any]) -> None:
    simulation, victim, sybils = eclipsed(kind)
    publish(simulation, 20)
    assert_unharmed(simulation)
    publish(simulation, 20, by=[victim])
    assert_unharmed(simulation)
    if kind is Withholder:
        assert min(victim.mesh.score(one.name) for one in sybils) < 0, "promises were broken"
    mesh = victim.mesh.mesh_peers(simulation.world.topic)
    assert len(mesh - {one.name for one in sybils}) >= 2, "some of the mesh was dialled by itself"


class Hider(Withholder):
    """Offers every message to its peers before honest ones do, sends them forged copies of some,
    and answers who asks with a forged copy."""

    forges = True

    def __init__(self, world: World, name: str, *, origin: bytes | None = None) -> None:
        super().__init__(world, name, origin=origin)
        self._heard: dict[bytes, Message] = {}

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        """Offer what is new, and answer."""
        super().receive(peer, rpc, size)
        for one in rpc.messages:
            self._heard[one.content] = one
            if self.forges and self.rng.random() < 0.05:
                for other in list(self.links):
                    self._forge(other, one)
        for want in rpc.iwant:
            for content in want.ids:
                if self.forges and content in self._heard:
                    self._forge(peer, self._heard[content])

    def _forge(self, peer: str, one: Message) -> None:
        self.send(peer, Rpc(messages=(replace(one, signature=self.rng.randbytes(64)),)))


class SilentHider(Hider):
    """Sends nothing of what it offers."""

    forges = False


@pytest.mark.parametrize("kind", [SilentHider, Hider])
def test_attack_a_hundred_sybils_around_a_node_that_dials_nobody(kind: type[Any]) -> None:
    """They fill its mesh, so honest peers can only offer it what the sybils offered before."""
    simulation = honest_network(20)
    simulation.run(3)
    victim = simulation.add(Node, "victim", validate=Judge())
    sybils = simulation.add_many(100, kind)
    for one in sybils:
        simulation.connect(one, victim)
        for node in simulation.rng.sample(simulation.nodes[:20], 2):
            simulation.connect(one, node)
    simulation.run(5)
    for node in simulation.nodes[:3]:
        simulation.connect(node, victim)
    simulation.run(1)
    names = {one.name for one in sybils}
    assert victim.mesh.mesh_peers(simulation.world.topic) <= names
    publish(simulation, 10, by=simulation.nodes[:20], rest=60)
    assert simulation.figures().delivered == 1.0
    counts = victim.mesh.statistics()
    assert counts.promises_broken + counts.malformed > 5


def test_attack_sybils_claim_to_be_direct() -> None:
    """They graft again and again, whatever the victim answers."""
    simulation, victim, sybils = eclipsed(Sybil)
    publish(simulation, 20)
    assert_unharmed(simulation)
    mesh = victim.mesh.mesh_peers(simulation.world.topic)
    assert len(mesh) <= simulation.world.settings.degree_high
    refused = [one for one in sybils if one.name not in mesh]
    assert refused
    assert_distrusted(simulation, refused)


def with_slow_readers(count: int) -> tuple[Simulation, Figures]:
    """60 honest nodes, some of which read a few bytes a second; the figures of all others."""
    simulation = honest_network(60, seed=2)
    others = simulation.nodes
    crawl = LinkLimits(bandwidth=200.0, queue=20_000)
    for slow in simulation.add_many(count, validate=Judge()):
        for node in simulation.rng.sample(others, 10):
            simulation.connect(slow, node, back=crawl)
    simulation.run(5)
    publish(simulation, 60, by=others, every=0.2)
    return simulation, simulation.figures(others)


@pytest.mark.parametrize("count", [1, 20])
def test_attack_slow_readers_slow_nobody_else(count: int) -> None:
    _, alone = with_slow_readers(0)
    simulation, figures = with_slow_readers(count)
    assert figures.delivered == 1.0
    assert figures.p99_s < 1.5 * alone.p99_s
    assert any(node.mesh.statistics().unsent for node in simulation.nodes)


def test_attack_a_relay_that_drops_delays_and_doubles() -> None:
    """Ten listeners have two relays each; one of the two lies about every message."""
    simulation = Simulation(3)
    honest = simulation.add(Node, "honest", validate=Judge())
    liar = simulation.add(Liar, "liar", validate=Judge())
    listeners = [simulation.add(Node, validate=Judge()) for _ in range(20)]
    for one in (*listeners, honest):
        one.keep("liar")
    for one in listeners:
        one.keep("honest")
    simulation.run(5)
    publish(simulation, 20, by=[honest])
    publish(simulation, 20, by=listeners)
    assert_unharmed(simulation)
    assert len(liar.links) == 21
    for node in simulation.nodes:
        assert node.validate.counts == {0: node.validate.counts[0], 1: 0, 2: 0}


def test_attack_sybils_of_the_whole_network_harm_no_score_of_the_honest() -> None:
    simulation = honest_network(40)
    simulation.run(3)
    found = attackers(simulation, Sybil, 20, peers=20)
    publish(simulation, 20)
    assert_unharmed(simulation)
    for node in simulation.nodes:
        assert min(simulation.scores(node)) >= 0
        mesh = node.mesh.mesh_peers(simulation.world.topic)
        refused = [one for one in found if one.name in node.links and one.name not in mesh]
        assert all(node.mesh.score(one.name) < 0 for one in refused)

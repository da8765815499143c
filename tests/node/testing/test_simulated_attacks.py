"""Attacks on a simulated network by peers that send what no honest node sends.

After each one, every honest message has reached every honest node, no node keeps much, and the
attacker's score tells.
"""

from __future__ import annotations

import pytest
from simulated import Judge, assert_distrusted, assert_unharmed, attackers, honest_network, publish

from methrics.node.mesh.limits import MeshSettings
from methrics.node.testing import (
    Flooder,
    Forger,
    Garbler,
    HashFlooder,
    Mutator,
    Oversizer,
    Participant,
    Replayer,
    Simulation,
)
from methrics.schema.wire.verdict import Decision


def attacked(
    kind: type[Participant], count: int = 5, **options: object
) -> tuple[Simulation, list[Participant]]:
    """A network of 40 honest nodes, before, during and after the attack."""
    simulation = honest_network(40)
    simulation.run(3)
    found = attackers(simulation, kind, count, **options)
    publish(simulation, 10)
    return simulation, found


def test_attack_garbage_frames() -> None:
    simulation, found = attacked(Garbler)
    assert_unharmed(simulation)
    assert_distrusted(simulation, found)


def test_attack_oversize_messages() -> None:
    simulation, found = attacked(Oversizer, 2)
    assert_unharmed(simulation)
    assert_distrusted(simulation, found)


def test_attack_flood_of_messages_that_are_rejected() -> None:
    simulation, found = attacked(Flooder)
    assert_unharmed(simulation)
    assert_distrusted(simulation, found)
    rejected = sum(node.validate.counts[Decision.REJECT] for node in simulation.nodes)
    sent = sum(one.sent_frames for one in found)
    assert rejected < sent / 5, "most of a flood is dropped unread"


def test_attack_forged_signatures_shadow_no_true_message() -> None:
    simulation, found = attacked(Forger)
    assert_unharmed(simulation)
    assert_distrusted(simulation, found)
    invented = {data for node in simulation.nodes for data in node.validate.accepted}
    assert len(invented) == 10


def test_attack_replay_is_neither_accepted_nor_passed_on() -> None:
    simulation, _ = attacked(Replayer, 5, rate=5)
    simulation.run(MeshSettings().seen_ttl + 30)
    assert_unharmed(simulation)
    for node in simulation.nodes:
        assert node.validate.counts[Decision.ACCEPT] <= 10
    before = sum(node.sent_bytes for node in simulation.nodes)
    simulation.run(30)
    after = sum(node.sent_bytes for node in simulation.nodes)
    assert after - before < 20_000, "what was replayed stays where it is"


def test_attack_changed_copies_harm_only_who_changed_them() -> None:
    simulation, found = attacked(Mutator)
    assert_unharmed(simulation)
    assert_distrusted(simulation, found)


def test_attack_flood_of_ids_that_do_not_exist() -> None:
    simulation, found = attacked(HashFlooder, rate=2)
    assert_unharmed(simulation)
    assert_distrusted(simulation, found)


def test_attack_idle_connections() -> None:
    simulation, found = attacked(Participant, 250, peers=10)
    assert_unharmed(simulation)
    assert all(score == 0 for one in found for score in simulation.scores(one))


@pytest.mark.parametrize("kind", [Flooder, Forger, HashFlooder])
def test_attack_connecting_again_clears_no_score(kind: type[Participant]) -> None:
    simulation, found = attacked(kind, 1, rate=5)
    one = found[0]
    victims = [node for node in simulation.nodes if node.mesh.score(one.name) < 0]
    assert victims
    simulation.leave(one)
    simulation.run(1)
    simulation.network.add(one)
    for node in victims:
        simulation.connect(one, node)
    assert_distrusted(simulation, found)


def test_no_attack_no_distrust() -> None:
    simulation = honest_network(40)
    simulation.run(3)
    publish(simulation, 10)
    assert_unharmed(simulation)
    for node in simulation.nodes:
        assert isinstance(node.validate, Judge)
        assert min(simulation.scores(node)) >= 0

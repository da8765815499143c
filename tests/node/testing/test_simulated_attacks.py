"""Attacks on a simulated network by peers that send what no honest node sends.

After each one, every honest message has reached every honest node, no node keeps, sends or judges
much more than in peace, and the attacker's score tells.
"""

from __future__ import annotations

from functools import cache

import pytest
from simulated import (
    ENTRIES_MAX,
    Judge,
    assert_distrusted,
    assert_unharmed,
    attackers,
    honest_network,
    publish,
)

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import Outcome
from methrics.node.testing import (
    Crowder,
    Flooder,
    Forger,
    Garbler,
    HashFlooder,
    Liar,
    Mutator,
    Node,
    Oversizer,
    Participant,
    Replayer,
    Silent,
    Simulation,
    Sybil,
    Withholder,
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
    sent, judged = work(simulation)
    sent_in_peace, judged_in_peace = in_peace()
    assert sent < 2 * sent_in_peace
    assert judged < 6 * judged_in_peace
    return simulation, found


def work(simulation: Simulation) -> tuple[int, int]:
    """The bytes that all honest nodes sent, and the messages that they judged."""
    nodes = simulation.nodes
    judged = sum(sum(node.validate.counts.values()) for node in nodes)
    return sum(node.sent_bytes for node in nodes), judged


@cache
def in_peace() -> tuple[int, int]:
    simulation = honest_network(40)
    simulation.run(3)
    publish(simulation, 10)
    return work(simulation)


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


class Tired(Judge):
    """A judge that also knows what is too late to be kept."""

    def __call__(self, data: bytes) -> Outcome:
        return Decision.IGNORE if data.startswith(Crowder.mark) else super().__call__(data)


def test_attack_a_crowd_keeps_all_judges_busy_with_what_is_ignored() -> None:
    settings = MeshSettings(judging_max=128, judging_per_peer=8, judging_direct=32)
    simulation = Simulation(1, settings=settings, judge_time=1.0)
    for _ in range(8):
        simulation.dial_some(simulation.add(Node, validate=Tired()), 3)
    simulation.run(3)
    found = attackers(simulation, Crowder, 24, peers=8, rate=1)
    simulation.run(3)
    publish(simulation, 10, rest=20)
    assert simulation.figures().delivered == 1.0
    for node in simulation.nodes:
        counts = node.mesh.statistics()
        assert counts.limited > counts.ignored > 1000
        assert min(simulation.scores(node)) >= 0
        assert simulation.kept(node).bytes < 3_000_000
    assert all(one.sent_frames for one in found)


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
    simulation, found = attacked(HashFlooder, 3, rate=2)
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


def test_attack_all_attackers_at_once_while_nodes_come_and_go() -> None:
    simulation = honest_network(60)
    simulation.run(3)
    senders = (Flooder, Forger, Mutator, Replayer)
    for kind in senders:
        attackers(simulation, kind, 2, rate=5)
    attackers(simulation, HashFlooder, 1, rate=1)
    for kind in (Garbler, Silent, Sybil, Withholder):
        attackers(simulation, kind, 3)
    liars = attackers(simulation, Liar, 3, validate=Judge())
    simulation.break_links(0.01)
    restless, steady = simulation.nodes[:10], simulation.nodes[10:]
    for one in restless:
        simulation.leave(one)
        publish(simulation, 2, by=steady, rest=0)
        simulation.come_back(one)
    simulation.run(20)
    assert simulation.figures(steady).delivered == 1.0
    for node in steady:
        assert simulation.kept(node).entries < ENTRIES_MAX
        assert min(simulation.scores(node, steady)) >= 0
    assert all(not liar.honest for liar in liars)

"""The simulated network: the same seed gives the same run, and links behave as configured."""

from __future__ import annotations

import random

import pytest
from simulated import Judge, honest_network, make, publish

from methrics.node.mesh.rpc import Rpc, Subscription
from methrics.node.testing import Figures, LinkLimits, Node, Participant, Simulation
from methrics.node.testing.events import Events


def run(seed: int) -> Figures:
    simulation = honest_network(30, seed=seed)
    simulation.run(5)
    simulation.break_links(0.02)
    publish(simulation, 5)
    return simulation.figures()


def test_same_seed_same_run() -> None:
    assert run(3) == run(3)
    assert run(3) != run(4)


def test_events_happen_in_the_order_of_their_times() -> None:
    events, happened = Events(), list[str]()
    events.after(2, happened.append, "late")
    events.after(1, happened.append, "soon")
    events.after(1, happened.append, "soon, too")
    events.at(-5, happened.append, "now")
    events.run(1)
    assert (happened, events.now) == (["now", "soon", "soon, too"], 1)
    events.run(1)
    assert happened[-1] == "late"
    assert len(events) == 0


class Listener(Participant):
    """Notes when frames arrive."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.times: list[float] = []

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        super().receive(peer, rpc, size)
        self.times.append(round(self.now, 6))


def pair(**limits: float) -> tuple[Simulation, Listener, Listener]:
    simulation = Simulation()
    one, two = simulation.add(Listener), simulation.add(Listener)
    both = LinkLimits(**limits)  # type: ignore[arg-type]
    simulation.connect(one, two, there=both, back=both)
    return simulation, one, two


SMALL = Rpc(subscriptions=(Subscription("t", True),))


def large() -> Rpc:
    message = Simulation().ledger.sign("a", "t", bytes(1000))
    return Rpc(messages=(message,))


def test_a_frame_takes_its_latency_and_its_size() -> None:
    simulation, one, two = pair(latency=0.5, bandwidth=1000.0)
    one.send(two.name, large())
    one.send(two.name, SMALL)
    simulation.run(5)
    first, second = two.times
    assert first == pytest.approx(0.5 + (two.received_bytes - 8) / 1000, abs=0.02)
    assert second > first, "frames do not overtake each other"
    assert one.sent_bytes == two.received_bytes


def test_a_full_queue_drops_messages_first() -> None:
    simulation, one, two = pair(latency=0.0, bandwidth=100.0, queue=1500)
    sent = [one.send(two.name, large()) for _ in range(3)]
    assert sent == [True, True, False]
    assert one.send(two.name, SMALL), "frames without messages have room of their own"
    simulation.run(60)
    assert len(two.times) == 3


def test_frames_vanish_in_a_broken_connection() -> None:
    simulation, one, two = pair()
    assert simulation.break_links(1.0) == 1
    assert one.send(two.name, SMALL), "nobody notices"
    simulation.run(5)
    assert two.times == []
    assert simulation.network.vanished == 1
    assert two.name in one.links


def test_frames_under_way_are_lost_when_a_connection_ends() -> None:
    simulation, one, two = pair(latency=1.0)
    one.send(two.name, SMALL)
    simulation.network.disconnect(one.name, two.name)
    simulation.run(5)
    assert two.times == []


def test_nobody_connects_to_a_full_node() -> None:
    simulation = Simulation()
    full = simulation.add(Participant)
    others = simulation.add_many(301, Participant)
    assert [simulation.connect(one, full) for one in others] == [True] * 300 + [False]


def test_a_message_reaches_every_node_once() -> None:
    simulation = honest_network(50)
    simulation.run(5)
    publish(simulation, 5)
    figures = simulation.figures()
    assert (figures.delivered, figures.delivered_least) == (1.0, 1.0)
    assert 0 < figures.p50_s <= figures.p99_s < 3
    assert 1 < figures.hops < 6
    assert figures.amplification > 1
    assert all(len(judge_of(node).accepted) <= 5 for node in simulation.nodes)


def judge_of(node: Node) -> Judge:
    assert isinstance(node.validate, Judge)
    return node.validate


def test_nodes_that_come_and_go_disturb_nobody() -> None:
    simulation = honest_network(40)
    simulation.run(5)
    restless = simulation.nodes[:10]
    steady = simulation.nodes[10:]
    for round_ in range(10):
        one = restless[round_]
        simulation.leave(one)
        simulation.publish(steady[round_], make(simulation.rng))
        simulation.run(2)
        simulation.come_back(one)
        simulation.run(2)
    simulation.run(10)
    assert simulation.figures(steady).delivered == 1.0
    simulation.publish(restless[0], make(simulation.rng))
    simulation.run(10)
    latest = list(simulation.ledger.published.values())[-1]
    assert len(latest.arrived) == 40, "those that came back take part again"


def test_a_partition_cuts_and_heals() -> None:
    simulation = honest_network(30)
    left, right = simulation.nodes[:15], simulation.nodes[15:]
    for one, two in zip(left, right, strict=True):
        one.keep(two.name)
    simulation.run(5)
    simulation.partition(left, right)
    simulation.publish(left[0], make(simulation.rng))
    simulation.run(10)
    assert simulation.figures(left).delivered == 1.0
    assert simulation.figures(right).delivered == 0.0
    simulation.heal()
    simulation.run(90)
    simulation.publish(left[1], make(simulation.rng))
    simulation.run(10)
    latest = list(simulation.ledger.published.values())[-1]
    assert len(latest.arrived) == 30


def test_a_hub_reaches_every_listener() -> None:
    """37 listeners and three aggregators, each connected to one relay alone."""
    simulation = Simulation(5)
    hub = simulation.add(Node, "hub", validate=Judge())
    listeners = simulation.add_many(37)
    aggregators = simulation.add_many(3)
    for one in (*listeners, *aggregators):
        one.keep("hub")
    simulation.run(5)
    publish(simulation, 33, by=[hub], every=0.3, rest=0)
    publish(simulation, 33, by=listeners, every=0.3)
    assert simulation.figures().delivered == 1.0
    assert simulation.figures(aggregators).delivered == 1.0


def test_make_and_judge_agree() -> None:
    judge, data = Judge(), make(random.Random(1))
    assert [judge(data).name, judge(data).name] == ["ACCEPT", "IGNORE"]  # type: ignore[union-attr]
    assert judge(data[:-1] + bytes([data[-1] ^ 1])).name == "REJECT"  # type: ignore[union-attr]

"""Bundles on a simulated network, judged by the real rules: nothing in one makes a node forget.

What counts here are the reports that a node has accepted, whichever bundle they came in.
"""

from __future__ import annotations

import random

from simulated import ENTRIES_MAX, assert_distrusted
from simulated_items import NEW, OLD, Judging, attack, attacker, network, report, send, stored_by

from methrics.node.testing import Silent
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.verdict import Decision


def test_attack_a_poisoned_bundle_makes_nobody_forget() -> None:
    """Someone who holds honest reports sends them together with what no node can judge."""
    simulation = network(OLD)
    reports = [report(OLD, number) for number in range(5)]
    invented = bytes(range(32))
    foreign = report(NEW, 6)
    one = attacker(
        simulation,
        pack(OLD.id, [*reports, foreign]),
        pack(OLD.id, [*reports, OLD.raw]),
        pack(invented, reports),
        pack(NEW.id, reports),
    )
    assert all(stored == set() for stored in stored_by(simulation))
    simulation.publish(simulation.nodes[0], pack(OLD.id, reports))
    simulation.run(10)
    assert all(stored == set(reports) for stored in stored_by(simulation)[1:])
    assert_distrusted(simulation, [one])


def test_reports_of_a_new_catalog_wait_for_it_and_are_passed_on() -> None:
    """An ordinary upgrade: only the publishing node has the new catalog at first."""
    simulation = network(OLD)
    reports = [report(NEW, number) for number in range(5)]
    first = simulation.nodes[0]
    assert isinstance(first.validate, Judging)
    first.validate.book.add(NEW)
    simulation.publish(first, pack(NEW.id, reports))
    simulation.run(10)
    others = simulation.nodes[1:]
    assert all(node.validate.stored == set() for node in others)
    for node in others:
        assert node.validate.book.add(NEW)
        node.judge_again(NEW.id)
        simulation.run(0.5)
    simulation.run(10)
    assert all(node.validate.stored == set(reports) for node in others)
    assert all(node.mesh.statistics().waiting == 0 for node in others)


def test_attack_invented_catalogs_displace_no_waiting_report() -> None:
    simulation = network(OLD)
    reports = [report(NEW, number) for number in range(5)]
    first = simulation.nodes[0]
    first.validate.book.add(NEW)
    simulation.publish(first, pack(NEW.id, reports))
    simulation.run(2)
    rng = random.Random(5)
    junk = [pack(rng.randbytes(32), [rng.randbytes(20_000)]) for _ in range(300)]
    one = attacker(simulation)
    for at in range(0, len(junk), 30):
        attack(simulation, one, junk[at : at + 30])
    for node in simulation.nodes[1:]:
        assert simulation.kept(node).entries < ENTRIES_MAX
        assert simulation.kept(node).bytes < simulation.world.settings.waiting_bytes
        node.validate.book.add(NEW)
        node.judge_again(NEW.id)
    simulation.run(10)
    assert all(node.validate.stored == set(reports) for node in simulation.nodes[1:])


def test_what_waited_in_vain_is_judged_when_it_comes_again() -> None:
    simulation = network(OLD, nodes=10)
    reports = [report(NEW, number) for number in range(3)]
    first = simulation.nodes[0]
    others = [node for node in simulation.nodes if node.name in first.links]
    first.validate.book.add(NEW)
    bundle = pack(NEW.id, reports)
    simulation.publish(first, bundle)
    simulation.run(simulation.world.settings.waiting_time + 10)
    for node in others:
        assert node.judge_again(NEW.id) == 0
        assert node.mesh.statistics().waiting_dropped == 1
        node.validate.book.add(NEW)
    simulation.publish(first, bundle)
    simulation.run(10)
    assert all(node.validate.stored == set(reports) for node in others)


def test_the_reports_are_real() -> None:
    judge = Judging(OLD.topic, OLD, NEW)
    for catalog in (OLD, NEW):
        assert judge(pack(catalog.id, [report(catalog, 1)])) is Decision.ACCEPT
    assert split(report(OLD, 1)).kind is Kind.REPORT


def test_attack_one_network_fills_its_own_share_of_what_waits() -> None:
    """Many peers of one network, each with as much as one peer may let wait."""
    simulation = network(OLD, nodes=10)
    reports = [report(NEW, number) for number in range(5)]
    simulation.nodes[0].validate.book.add(NEW)
    simulation.publish(simulation.nodes[0], pack(NEW.id, reports))
    simulation.run(2)
    waiting = [node for node in simulation.nodes if node.mesh.statistics().waiting]
    assert waiting
    rng = random.Random(6)
    crowd = simulation.add_many(12, Silent, origin=b"one network")
    for one in crowd:
        for node in waiting:
            simulation.connect(one, node)
    for _ in range(5):
        for one in crowd:
            junk = [pack(rng.randbytes(32), [rng.randbytes(60_000)] * 2) for _ in range(8)]
            send(simulation, one, junk)
        simulation.run(2)
    for node in waiting:
        assert node.mesh.statistics().waiting_dropped > 0, "the room was full"
        assert simulation.kept(node).bytes < 2 * simulation.world.settings.waiting_bytes
        node.validate.book.add(NEW)
        node.judge_again(NEW.id)
        simulation.run(1)
        assert node.validate.stored == set(reports)


def test_attack_nesting_bombs_are_refused_at_the_first_node() -> None:
    simulation = network(OLD, nodes=10)
    bombs = [depth * one for depth in (10, 1000, 100_000) for one in (b"\x81", b"\xa1", b"\xc1")]
    one = attacker(simulation, *bombs, pack(OLD.id, bombs[:6]))
    reports = [report(OLD, number) for number in range(5)]
    simulation.publish(simulation.nodes[0], pack(OLD.id, reports))
    simulation.run(5)
    assert all(stored == set(reports) for stored in stored_by(simulation)[1:])
    assert_distrusted(simulation, [one])


def test_nodes_with_a_wrong_clock_ignore_reports_and_lose_no_score() -> None:
    simulation = network(OLD, nodes=20)
    wrong = simulation.nodes[5:10]
    for node in wrong:
        node.validate.now -= 3 * 86_400
    reports = [report(OLD, number) for number in range(5)]
    simulation.publish(simulation.nodes[0], pack(OLD.id, reports))
    simulation.run(10)
    for node in simulation.nodes[1:]:
        assert node.validate.stored == (set() if node in wrong else set(reports))
        assert min(simulation.scores(node)) >= 0

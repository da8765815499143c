"""Namespace records on a simulated network: the newest reaches everybody, and lies show."""

from __future__ import annotations

from simulated import assert_distrusted
from simulated_items import NEW, NOW, OLD, RECORD, Judging, attacker, network, report

from methrics.node.testing import Node, Simulation, Withholder
from methrics.schema.example import example_seed
from methrics.schema.judging.gate import record_wait
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.topic import short_key

KEY = OLD.key


def signed(*catalogs: bytes, after: int, previous: tuple[Item, ...] = (RECORD,)) -> Item:
    return sign_record(
        catalogs,
        example_seed(),
        time=NOW - 600 + after,
        expires=NOW + 86_400,
        previous=[one.id for one in previous],
    )


def newest(node: Node) -> bytes:
    known = node.validate.book.records.newest(KEY)
    return known.item.raw if known else b""


def tell(simulation: Simulation, record: Item) -> None:
    """An honest node publishes a record that it holds."""
    node = simulation.nodes[0]
    node.validate.book.records.add(record, decode_record(record.payload))
    simulation.publish(node, pack_notice(record.raw))
    simulation.run(10)


def test_a_newer_record_reaches_everybody() -> None:
    simulation = network(OLD)
    newer = signed(OLD.id, after=60)
    tell(simulation, newer)
    assert all(newest(node) == newer.raw for node in simulation.nodes)


def test_attack_a_record_from_the_far_future_is_passed_on_by_nobody() -> None:
    simulation = network(OLD)
    future = signed(OLD.id, after=23 * 3600)
    one = attacker(simulation, pack_notice(future.raw))
    assert all(newest(node) == RECORD.raw for node in simulation.nodes)
    assert all(score == 0 for score in simulation.scores(one)), "a clock may be wrong"
    assert all(node.sent_bytes < 20_000 for node in simulation.nodes)


def test_attack_equivocation_is_proven_to_everybody_and_healed() -> None:
    """Half of the network is told another list than the other half."""
    simulation = network(OLD, NEW)
    left, right = signed(OLD.id, after=60), signed(NEW.id, after=60)
    half = simulation.nodes[:15], simulation.nodes[15:]
    simulation.partition(*half)
    for nodes, record in zip(half, (left, right), strict=True):
        nodes[0].validate.book.records.add(record, decode_record(record.payload))
        simulation.publish(nodes[0], pack_notice(record.raw))
    simulation.run(5)
    simulation.heal()
    for one, two in zip(*half, strict=True):
        simulation.connect(one, two)
    simulation.run(15)
    proof = {node.validate.book.records.proof(KEY) for node in simulation.nodes}
    assert len(proof) == 1
    assert set(proof.pop() or ()) == {left.raw, right.raw}
    healed = signed(OLD.id, NEW.id, after=120, previous=(left, right))
    tell(simulation, healed)
    assert {node.validate.book.records.proof(KEY) for node in simulation.nodes} == {None}
    assert all(newest(node) == healed.raw for node in simulation.nodes)


def test_attack_a_withheld_record_is_waited_for_and_asked_of_others() -> None:
    """A node without a record, among sybils that withhold it, still stores what it should."""
    simulation = network(OLD)
    late = simulation.add(Node, validate=Judging(OLD.topic, OLD, record=False))
    for one in simulation.add_many(20, Withholder):
        simulation.connect(one, late)
    for node in simulation.nodes[:2]:
        simulation.connect(late, node)
    simulation.run(3)
    reports = [report(OLD, number) for number in range(5)]
    simulation.publish(simulation.nodes[9], pack(OLD.id, reports))
    simulation.run(10)
    wait = record_wait(short_key(KEY))
    assert late.mesh.waits() == [wait]
    assert late.validate.stored == set()
    tell(simulation, RECORD)
    assert newest(late) == RECORD.raw
    assert late.judge_again(wait) == 1
    simulation.run(1)
    assert late.validate.stored == {RECORD.raw, *reports}


def test_attack_a_record_signed_by_another_key_is_refused() -> None:
    simulation = network(OLD)
    foreign = sign_record([OLD.id], bytes(32), time=NOW, expires=NOW + 86_400)
    one = attacker(simulation, pack_notice(foreign.raw))
    assert all(newest(node) == RECORD.raw for node in simulation.nodes)
    assert_distrusted(simulation, [one])

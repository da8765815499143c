"""Bundles on a simulated network, judged by the real rules: nothing in one makes a node forget.

What counts here are the reports that a node has accepted, whichever bundle they came in.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from simulated import ENTRIES_MAX, assert_distrusted

from methrics.node.mesh.outcome import Outcome, Wait
from methrics.node.mesh.rpc import Rpc
from methrics.node.testing import Node, Silent, Simulation
from methrics.node.testing.participants import Participant
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_catalog, example_seed, example_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision

NOW = 1_800_000_000
OLD = example_catalog()
NEW = load(sign(parse_source(example_source()), example_seed(), previous=OLD))
RECORD = sign_record([OLD.id, NEW.id], example_seed(), time=NOW - 600, expires=NOW + 86_400)


class Judging:
    """The judge of one node: a catalog book, and the items that it has accepted."""

    def __init__(self, topic: str, *catalogs: Catalog) -> None:
        self.book = CatalogBook({topic})
        self.book.records.add(RECORD, decode_record(RECORD.payload))
        for catalog in catalogs:
            assert self.book.add(catalog)
        self.topic = topic
        self.stored: set[bytes] = set()
        self._seen = Seen(10_000)

    def __call__(self, data: bytes) -> Outcome:
        verdict = judge_bundle(data, self.book, NOW, self._seen, topic=self.topic)
        self.stored.update(one.item.raw for one in verdict.accepted)
        if verdict.waits_for is not None:
            return Wait(verdict.waits_for)
        return verdict.decision


def report(catalog: Catalog, number: int, *, values: dict[str, object] | None = None) -> bytes:
    facts = values or {
        "version": "1.0",
        "os": "linux",
        "daily": True,
        "weekly": True,
        "monthly": False,
        "age": 1,
    }
    day = NOW // 86_400 * 86_400
    payload = encode_report(Report(catalog.id, "heartbeat", day, facts))
    return seal(Kind.REPORT, payload, random.Random(number).randbytes(32))


def network(*catalogs: Catalog, nodes: int = 30) -> Simulation:
    simulation = Simulation(11, topic=OLD.topic)
    for _ in range(nodes):
        node = simulation.add(Node, validate=Judging(OLD.topic, *catalogs))
        simulation.dial_some(node, 5)
    simulation.run(3)
    return simulation


def attacker(simulation: Simulation, *bundles: bytes) -> Participant:
    """A peer of every node that publishes these bundles, each validly signed."""
    one = simulation.add(Silent)
    for node in simulation.nodes:
        simulation.connect(one, node)
    simulation.run(1)
    attack(simulation, one, bundles)
    return one


def attack(simulation: Simulation, one: Participant, bundles: Iterable[bytes]) -> None:
    for data in bundles:
        rpc = Rpc(messages=(simulation.ledger.sign(one.name, OLD.topic, data),))
        for node in simulation.nodes:
            one.send(node.name, rpc)
    simulation.run(2)


def stored_by(simulation: Simulation) -> list[set[bytes]]:
    return [node.validate.stored for node in simulation.nodes]


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

"""Simulated networks whose nodes judge real bundles of the example namespace by the real rules."""

from __future__ import annotations

import random
from collections.abc import Iterable

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
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import decode_record, sign_record

NOW = 1_800_000_000
OLD = example_catalog()
NEW = load(sign(parse_source(example_source()), example_seed(), previous=OLD))
RECORD = sign_record([OLD.id, NEW.id], example_seed(), time=NOW - 600, expires=NOW + 86_400)


class Judging:
    """The judge of one node: a catalog book, and the items that it has accepted."""

    def __init__(self, topic: str, *catalogs: Catalog, now: int = NOW, record: bool = True) -> None:
        self.book = CatalogBook({topic})
        if record:
            self.book.records.add(RECORD, decode_record(RECORD.payload))
        for catalog in catalogs:
            assert self.book.add(catalog, given=True)
        self.topic = topic
        self.now = now
        self.stored: set[bytes] = set()
        self._seen = Seen(10_000)

    def __call__(self, data: bytes) -> Outcome:
        verdict = judge_bundle(data, self.book, self.now, self._seen, topic=self.topic)
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


def send(simulation: Simulation, one: Participant, bundles: Iterable[bytes]) -> None:
    """Let `one` send these bundles to all its peers."""
    for data in bundles:
        rpc = Rpc(messages=(simulation.ledger.sign(one.name, OLD.topic, data),))
        for peer in list(one.links):
            one.send(peer, rpc)


def attack(simulation: Simulation, one: Participant, bundles: Iterable[bytes]) -> None:
    """Let `one` send these bundles, and let them arrive."""
    send(simulation, one, bundles)
    simulation.run(2)


def stored_by(simulation: Simulation) -> list[set[bytes]]:
    return [node.validate.stored for node in simulation.nodes]

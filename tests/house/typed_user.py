# pyright: strict
"""Example use of every public name. pyright (strict) checks it; it never runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

import methrics.node
from methrics.aggregate import (
    Dataset,
    LiveDataset,
    example_data,
    open_data,
    open_dataset,
    open_live,
    open_truth,
    verify,
)
from methrics.node import Asking, LocalError, Mine, Recorder, Sequence, user_paths
from methrics.node.bridges import mixpanel, otel
from methrics.node.publisher import (
    PublisherSettings,
    keep_publishing,
    run_publisher,
    start_thread,
)
from methrics.node.testing import (
    Crowder,
    Figures,
    Flooder,
    Forger,
    Garbler,
    HashFlooder,
    Kept,
    Liar,
    LinkLimits,
    MemoryNetwork,
    MemorySwarm,
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
from methrics.schema import (
    Accepted,
    Catalog,
    CatalogBook,
    Decision,
    Reason,
    Refused,
    diagnostic,
    example_bytes,
    example_catalog,
    example_source,
    hexdump,
    judge,
    learn,
    load,
    parse_source,
    sign,
    sign_record,
    split,
)


def embed(catalog: Path) -> tuple[bool, dict[str, int]]:
    with methrics.node.open(catalog, app_version="1.4", strict=True) as recorder:
        kept = recorder.record("heartbeat", **recorder.facts("heartbeat"))
        with recorder.sequence("signin", variant="a") as signin:
            signin.step("shown")
            signin.set(new_account=True)
        statistics: methrics.node.Statistics = recorder.statistics()
        return kept, statistics.dropped


def begin(recorder: Recorder) -> Sequence:
    return recorder.sequence("signin", variant="b")


def settle(recorder: Recorder) -> tuple[int, list[str]]:
    asking: Asking = recorder.asking()
    asking.answer("heartbeat", "yes", fields=["os"])
    mine: Mine = recorder.mine()
    shown = [f"{one.name}: {one.words} ({one.fate})" for one in mine.reports()]
    shown += [line for entry in mine.preview() for line in mine.describe(entry)]
    try:
        return mine.erase(mine.withdraw("heartbeat").left).journaled, shown
    except LocalError as error:
        return 0, [*shown, f"{error.code}: {error}"]


def keep_calls(recorder: Recorder) -> tuple[dict[str, int], PeriodicExportingMetricReader]:
    steps = mixpanel.Steps({"Sign-in shown": "shown"})
    consumer = mixpanel.Consumer(
        recorder, names={"Opened": "heartbeat"}, sequences={"signin": steps}
    )
    exporter = otel.Exporter(recorder, instruments={"jobs.done": "jobs_done"})
    mine: mixpanel.Statistics = consumer.statistics()
    theirs: otel.Statistics = exporter.statistics()
    return mine.dropped | theirs.dropped, PeriodicExportingMetricReader(exporter)


async def publish(namespace: str, relays: tuple[str, ...]) -> None:
    await run_publisher(user_paths(), namespace, PublisherSettings(once=True))
    await keep_publishing(user_paths(), namespace, relays=relays)


def publish_in_a_thread(namespace: str) -> None:
    start_thread(user_paths(), namespace, PublisherSettings())


async def gossip(topic: str, data: bytes) -> int:
    async with MemoryNetwork().open_swarm() as swarm:
        here: MemorySwarm = swarm
        return await here.publish(topic, data)


def simulate(data: bytes) -> tuple[Figures, int]:
    simulation = Simulation(seed=7, nodes=30)
    senders = (Crowder, Flooder, Forger, Garbler, HashFlooder, Mutator, Oversizer, Replayer)
    for kind in (*senders, Liar, Silent, Sybil, Withholder):
        simulation.dial_some(simulation.add(kind), 8)
    slow: Participant = simulation.add(Node)
    node: Node = simulation.nodes[0]
    simulation.connect(slow, node, back=LinkLimits(bandwidth=100.0))
    simulation.run(10)
    simulation.publish(node, data)
    simulation.run(10)
    kept: Kept = simulation.kept(node)
    return simulation.figures(), slow.received_bytes + kept.bytes


def check(raw: bytes, catalog: Catalog, seed: bytes, now: int) -> str:
    book = CatalogBook()
    record = judge(sign_record([catalog.id], seed, time=now, expires=now + 60).raw, book, now)
    assert isinstance(record, Accepted)
    assert learn(record, book)
    book.add(catalog)
    verdict = judge(raw, book, now)
    if isinstance(verdict, Accepted):
        return diagnostic(verdict.item.payload)
    refused: Refused = verdict
    late = refused.decision is Decision.IGNORE and refused.reason is Reason.LATE
    return "late" if late else hexdump(split(raw).payload)


def make(seed: bytes) -> Catalog:
    return load(sign(parse_source(example_source()), seed))


def shipped() -> bool:
    return example_catalog() == load(example_bytes())


def read(path: Path) -> list[str]:
    with open_dataset(path) as data:
        rows = data.rows("SELECT day, count(*) FROM example.signin GROUP BY day")
        return [f"{day}: {count}" for day, count in rows] + [str(verify(data).ok)]


def explore(address: str) -> list[str]:
    with open_data(address, floor=1) as data:
        return shown(data)


def now(address: str) -> list[str]:
    with open_live(address) as data:
        return shown(data)


def shown(data: Dataset | LiveDataset) -> list[str]:
    view = data.view("heartbeat_dau")
    return [view.says, *(str(row) for row in view.rows())]


def compare() -> list[tuple[Any, ...]]:
    truth = open_truth(example_data(installs=50))
    return truth.rows("SELECT count(*) FROM install") if truth is not None else []

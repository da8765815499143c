"""An event becomes a stored row and is erased; the aggregator never takes its report again."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from tests.listing import listed_book, record_of
from tests.node.publish.way_world import route_over
from tests.relay_serving import SEED, serve_relay

from methrics.aggregate.cli.mine import mine
from methrics.aggregate.collect.ingest import IngestSettings
from methrics.aggregate.collect.service import AggregatorSettings, run_aggregator
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.batch import Committed
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.node.cli.erase import erase
from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant, withdraw
from methrics.node.network.libp2p import open_swarm
from methrics.node.outbox.erasures import Erasures
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED, Receipt
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.routes import Outgoing
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import RelaySettings
from methrics.node.report.identity import NO_SALT, report_seed
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report

pytestmark = pytest.mark.wire

CATALOG = example_catalog()
RECORD = record_of(CATALOG, seed=example_seed())
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)
LISTEN = ["/ip4/127.0.0.1/tcp/0"]
DAY = 86_400


class Scene:
    """A relay, an aggregator behind it, and a person."""

    def __init__(self, relay: str, store: Store, home: Path) -> None:
        self.relay = relay
        self.store = store
        self.paths: Paths = user_paths(home)
        self.stop = trio.Event()
        self.stopped = trio.Event()
        self.kept_out = 0
        """Reports that the aggregator has deleted or not stored, as they are erased."""

    def note(self, event: object) -> None:
        """Count what the aggregator says."""
        if isinstance(event, Committed):
            self.kept_out += event.erased

    @property
    def journal(self) -> Journal:
        return Journal(self.paths.outbox(NAMESPACE))

    async def publish(self, passes: int = 1) -> int:
        """Passes of the publisher; returns how many erasures were acknowledged."""
        settings = PublisherSettings(entry=Entry(relays=(self.relay,)), once=True)
        done: list[int] = []
        for _ in range(passes):
            await run_publisher(
                self.paths,
                NAMESPACE,
                settings,
                on_pass=lambda one: done.append(one.erased),
            )
        return sum(done)

    async def until(self, ready: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not ready():
                await trio.sleep(0.05)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    relaying = RelaySettings(
        topics=(CATALOG.topic,), mix=MixLimits(batch_window=0.3, rest=0), spread=0
    )
    ingest = IngestSettings(threads=1, batch_seconds=0.05)
    async with (
        open_swarm(listen=LISTEN, seed=SEED) as near,
        open_swarm(listen=LISTEN) as far,
        trio.open_nursery() as nursery,
    ):
        known = listed_book(CATALOG, seed=example_seed(), topics={CATALOG.topic})
        await serve_relay(nursery, near, known, relaying, clock=Clock())
        with Store(folder / "public.duckdb") as store:
            found = Scene(near.addrs[0], store, folder / "home")
            settings = AggregatorSettings(
                catalogs=[CATALOG],
                records=[RECORD.raw],
                peers=[near.addrs[0]],
                ingest=ingest,
                export_every=0.2,
                grace=0.2,
            )

            async def aggregate() -> None:
                await run_aggregator(far, store, settings, Clock(), found.note, found.stop)
                found.stopped.set()

            nursery.start_soon(aggregate)
            with trio.fail_after(60):
                await near.wait_for_peers(CATALOG.topic, 1)
            yield found
            found.stop.set()
            with trio.fail_after(60):
                await found.stopped.wait()
        nursery.cancel_scope.cancel()


def record(paths: Paths) -> None:
    grant(paths, NAMESPACE, ["heartbeat", "system"], now=0)
    past = ManualClock(Clock().now() - 10 * DAY)
    settings = RecorderSettings(publisher="none", strict=True)
    with Recorder(CATALOG, paths, settings, clock=past) as recorder:
        assert recorder.record("heartbeat", os="linux")
        assert recorder.record("system", os="linux", arch="aarch64")


def rows(store: Store) -> list[tuple[str, bytes]]:
    """(type, id) of every report in the tables."""
    found = store.cursor().execute(
        "SELECT t.name, i.id FROM item i JOIN type t ON t.n = i.type ORDER BY ALL"
    )
    return [(name, bytes(one)) for name, one in found.fetchall()]


def parquet(directory: Path) -> bytes:
    found = []
    for path in sorted(directory.rglob("*.parquet")):
        with suppress(FileNotFoundError):  # deleted meanwhile
            found.append(path.read_bytes())
    return b"".join(found)


def in_parquet(directory: Path) -> set[bytes]:
    with open_dataset(directory) as dataset:
        ids = dataset.rows(f"SELECT id FROM item WHERE kind = {int(Kind.REPORT)}")
        return {bytes(one) for (one,) in ids}


@pytest.mark.shows("METH-16", "NEW-3")
async def test_an_erasure_removes_the_stored_report_end_to_end(tmp_path: Path) -> None:
    async with scene(tmp_path) as found:
        record(found.paths)
        await found.publish()
        await found.until(lambda: found.store.total == 2)
        receipts = {one.type: one for one in found.journal.receipts()}
        doomed, kept = receipts["heartbeat"], receipts["system"]
        beside = directory_beside(tmp_path / "public.duckdb")
        await found.until((beside / "manifest.json").exists)
        await found.until(lambda: len(in_parquet(beside)) == 2)

        # The person withdraws consent and erases one report.
        withdraw(found.paths, NAMESPACE, ["heartbeat"], now=Clock().now())
        asked = CliRunner().invoke(
            erase,
            [doomed.id.hex(), "--over", "0s", "--yes", "--home", str(found.paths.home)],
        )
        assert asked.exit_code == 0, asked.output
        assert await found.publish(2) == 1
        await found.until(lambda: found.store.total == 1)
        assert rows(found.store) == [("system", kept.id)]
        heartbeats = found.store.cursor().execute("SELECT count(*) FROM example.heartbeat")
        assert heartbeats.fetchall() == [(0,)]
        await found.until(lambda: in_parquet(beside) == {kept.id})
        await found.until(lambda: split(doomed.raw).signature not in parquet(beside))

        # Another peer publishes the exact bytes of the erased report again.
        async with open_swarm() as someone:
            route = route_over(someone, [found.relay], clock=Clock())
            await route.deliver(Outgoing(CATALOG.topic, (CATALOG.raw,), ((doomed.id, doomed.raw),)))
        await trio.sleep(1.5)
        assert rows(found.store) == [("system", kept.id)]
        erasures = Erasures(found.journal).all()
        assert [one.state for one in erasures.values()] == [ACKNOWLEDGED]

    # An aggregator that restarts with the same file refuses the report too.
    async with scene(tmp_path) as found:
        async with open_swarm() as someone:
            route = route_over(someone, [found.relay], clock=Clock())
            said = await route.deliver(
                Outgoing(
                    CATALOG.topic, (CATALOG.raw,), ((doomed.id, doomed.raw), (kept.id, kept.raw))
                )
            )
            assert {one.reason for one in said.values()} == {"ok"}
        await found.until(lambda: found.kept_out == 1)
        assert rows(found.store) == [("system", kept.id)]

    # The person finds the erasure in the public file, without contacting the aggregator.
    arguments = ["--home", str(tmp_path / "home"), "--check", str(tmp_path / "public.duckdb")]
    checked = CliRunner().invoke(mine, arguments)
    assert checked.exit_code == 0, checked.output
    assert "1 erased, 1 found" in checked.output


async def test_an_erasure_that_arrives_before_its_report_keeps_it_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as found:
        record(found.paths)
        await found.publish()
        await found.until(lambda: found.store.total == 2)
        doomed = found.journal.receipts(type_name="heartbeat")[0]
    # Another aggregator, which has neither the report nor the erasure.
    other = tmp_path / "other"
    other.mkdir()
    async with scene(other) as found:
        home = user_paths(tmp_path / "home")
        options = ["--over", "0s", "--yes", "--home", str(home.home)]
        assert CliRunner().invoke(erase, [doomed.id.hex(), *options]).exit_code == 0
        found.paths = home
        assert await found.publish() == 1
        tombstones = "SELECT count(*) FROM tombstone"
        await found.until(lambda: found.store.cursor().execute(tombstones).fetchone() == (1,))
        async with open_swarm() as someone:
            route = route_over(someone, [found.relay], clock=Clock())
            await route.deliver(Outgoing(CATALOG.topic, (CATALOG.raw,), ((doomed.id, doomed.raw),)))
        await trio.sleep(1.5)
        assert found.store.total == 0


KILLED = """
import sys
from click.testing import CliRunner
from methrics.node.cli.erase import erase
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
erase(["--all", "--yes", "--home", sys.argv[1]])
"""


COUNT = 60
TRIES = 40


def left(paths: Paths) -> Journal:
    """The journal of a person who has published COUNT reports."""
    journal = Journal(paths.outbox(NAMESPACE))
    number = journal.keep_catalog(CATALOG.id, CATALOG.raw)
    now = Clock().now() // 86_400 * 86_400
    known = journal.identity(now)
    payload = encode_report(Report(CATALOG.id, "heartbeat", now, {"os": "linux"}))
    made = []
    for index in range(known.next_index, known.next_index + COUNT):
        raw = seal(Kind.REPORT, payload, report_seed(known.seed, index, NO_SALT))
        made.append(
            Receipt(
                key_index=index,
                salt=NO_SALT,
                id=split(raw).id,
                raw=raw,
                catalog=number,
                type="heartbeat",
                time=now,
                made=now,
                due=now,
                route="relay",
            )
        )
    journal.journal(made, [], [], token=journal.pending(0).token)
    journal.mark([one.key_index for one in made], ACKNOWLEDGED)
    return journal


def erase_killed(home: Path, after: float | None) -> None:
    command = [sys.executable, "-c", KILLED, str(home)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("go\n")
    child.stdin.flush()
    if after is not None:
        Clock().sleep(after)
        child.kill()
    child.communicate(timeout=60)


@pytest.mark.slow
def test_kpi_7_erase_killed_at_random_is_journaled_whole_or_not_at_all(tmp_path: Path) -> None:
    rng = random.Random(7)
    journal = left(user_paths(tmp_path))
    erasures = Erasures(journal)
    erase_killed(tmp_path, None)
    wanted = {index: one.raw for index, one in erasures.all().items()}
    assert len(wanted) == COUNT
    outcomes: Counter[int] = Counter()
    longest = 0.4
    for _ in range(TRIES):
        journal.database.execute("DELETE FROM erasure")
        after = rng.uniform(0, longest)
        erase_killed(tmp_path, after)
        asked = erasures.all()
        outcomes[len(asked)] += 1
        assert all(one.raw == wanted[index] for index, one in asked.items()), (
            "an erasure differs from the signed bytes"
        )
        # Search for the moment of the journaling, so that kills fall just before and after it.
        longest = max(0.002, after) if asked else longest * 1.2
        if min(outcomes[0], outcomes[COUNT]) >= 3:
            break
    assert set(outcomes) == {0, COUNT}, "the journal had none or all, and each case occurred"

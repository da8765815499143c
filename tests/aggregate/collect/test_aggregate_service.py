"""Aggregators on the network in memory: real stores and threads, no sockets."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aggregate_making as making
import pytest
import trio

from methrics.aggregate.collect.ingest import Ingest, IngestSettings
from methrics.aggregate.collect.keeper import ExportFailed
from methrics.aggregate.collect.service import (
    AggregatorSettings,
    Event,
    run_aggregator,
)
from methrics.aggregate.collect.status import Status
from methrics.aggregate.parquet.export import Exported
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.batch import Committed
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.node.mesh.rpc import Message
from methrics.node.network.guards import run_validator
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import Validator
from methrics.node.relay.record_state import RecordState
from methrics.schema.errors import ConfigError, StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import split
from methrics.schema.wire.verdict import Decision

CATALOG = making.catalog()
BEATS = [making.beat(CATALOG, i) for i in range(40)]
FAST = IngestSettings(threads=2, batch_seconds=0.02)


class Running:
    """One running aggregator; `events` are those that it reported."""

    def __init__(self, swarm: MemorySwarm, store: Store) -> None:
        self.swarm = swarm
        self.store = store
        self.events: list[Event] = []
        self.stop = trio.Event()
        self._changed = trio.Event()

    def notify(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()
        self._changed = trio.Event()

    def told(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    async def until(self, total: int) -> None:
        """Return when `total` reports are committed."""
        with trio.fail_after(60):
            while self.total != total:
                await self._changed.wait()

    @property
    def total(self) -> int:
        """Reports in the file as of the last commit that was told; the store's own count runs
        ahead of the disk."""
        return next((one.total for one in self.events[::-1] if isinstance(one, Committed)), 0)


@asynccontextmanager
async def aggregator(
    network: MemoryNetwork, path: Path, settings: AggregatorSettings
) -> AsyncIterator[Running]:
    """An aggregator from its start to a clean stop."""
    with Store(path) as store:
        async with network.open_swarm() as swarm, trio.open_nursery() as nursery:
            running = Running(swarm, store)
            clock = ManualClock(making.NOW)
            nursery.start_soon(
                run_aggregator, swarm, store, settings, clock, running.notify, running.stop
            )
            yield running
            running.stop.set()


RECORD = making.record(CATALOG)


def settings(**more: object) -> AggregatorSettings:
    given = {"catalogs": [CATALOG], "records": [RECORD], "ingest": FAST}
    return AggregatorSettings(**{**given, **more})  # type: ignore[arg-type]


def bundle(raws: list[bytes]) -> bytes:
    """A bundle of reports and erasures of CATALOG."""
    return pack(CATALOG.id, raws)


def bundles(raws: list[bytes], rng: random.Random) -> list[bytes]:
    """`raws` in random order, in bundles of seven."""
    shuffled = rng.sample(raws, len(raws))
    return [bundle(shuffled[start : start + 7]) for start in range(0, len(shuffled), 7)]


def judged(aggregator: Running) -> int:
    """Number of messages of which the validator has decided."""
    counts = aggregator.swarm.statistics()
    return counts.accepted + counts.ignored + counts.rejected


async def publish(network: MemoryNetwork, to: Running, messages: list[bytes]) -> None:
    async with network.open_swarm(listen=False) as app:
        await app.dial(to.swarm.addrs[0])
        await app.wait_for_peers(CATALOG.topic, 1)
        before = judged(to)
        for message in messages:
            await app.publish(CATALOG.topic, message)
        with trio.fail_after(60):
            while judged(to) < before + len(messages):
                await trio.sleep(0.01)


@pytest.mark.shows("NEW-2")
async def test_aggregators_that_hear_different_orders_hold_the_same_digest(tmp_path: Path) -> None:
    rng = random.Random(7)
    network = MemoryNetwork(rng=rng, latency=(0.0, 0.005), duplication=0.3)
    paths = [tmp_path / "a.duckdb", tmp_path / "b.duckdb"]
    async with (
        aggregator(network, paths[0], settings()) as one,
        aggregator(network, paths[1], settings()) as two,
    ):
        await publish(network, one, bundles(BEATS, rng))
        await publish(network, two, bundles(BEATS, rng))
        await one.until(40)
        await two.until(40)
    found = []
    for path in paths:
        with open_dataset(path) as dataset:
            assert verify(dataset).ok
            found.append(combine(digests(dataset.connection)))
    assert found[0] == found[1]
    assert found[0][0].count == 40


NOTHING_GIVEN = settings(catalogs=(), records=(), topics=[CATALOG.topic])


@pytest.mark.shows("METH-9")
@pytest.mark.parametrize("first", ["reports", "catalog", "record"])
async def test_record_and_catalog_are_learnt_from_the_topic_in_any_order(
    tmp_path: Path, first: str
) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    messages = {
        "reports": bundle(BEATS[:5]),
        "catalog": pack_notice(CATALOG.raw),
        "record": pack_notice(RECORD),
    }
    order = [messages.pop(first), *messages.values()]
    async with aggregator(network, tmp_path / "a.duckdb", NOTHING_GIVEN) as one:
        async with network.open_swarm(listen=False) as app:
            await app.dial(one.swarm.addrs[0])
            await app.wait_for_peers(CATALOG.topic, 1)
            for message in order:
                assert one.total == 0
                await app.publish(CATALOG.topic, message)
                await trio.sleep(0.2)
            await one.until(5)
        assert one.swarm.statistics().waiting == 0
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert verify(dataset).ok
        assert dataset.rows("SELECT * FROM refusal") == []


async def test_a_latecomer_gets_record_and_catalog_from_a_peer(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    async with (
        aggregator(network, tmp_path / "a.duckdb", settings()) as one,
        aggregator(network, tmp_path / "b.duckdb", NOTHING_GIVEN) as late,
    ):
        await late.swarm.dial(one.swarm.addrs[0])
        await late.swarm.wait_for_peers(CATALOG.topic, 1)
        await publish(network, one, [bundle(BEATS[:5])])
        await one.until(5)
        await late.until(5)
    with open_dataset(tmp_path / "b.duckdb") as dataset:
        assert verify(dataset).ok
        assert dataset.rows("SELECT raw FROM record") == [(RECORD,)]


async def test_attack_bundles_of_invented_catalogs_leave_nothing_behind(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    async with (
        aggregator(network, tmp_path / "a.duckdb", settings()) as one,
        network.open_swarm(listen=False) as app,
    ):
        await app.dial(one.swarm.addrs[0])
        await app.wait_for_peers(CATALOG.topic, 1)
        for i in range(30):
            invented = making.catalog(key=making.seed("invented", i))
            await app.publish(CATALOG.topic, pack(invented.id, [making.beat(invented, i)]))
        await app.publish(CATALOG.topic, bundle(BEATS[:3]))
        await one.until(3)
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert dataset.rows("SELECT count(*) FROM catalog") == [(1,)]
        assert dataset.rows("SELECT count(*) FROM item") == [(3,)]
        assert dataset.rows("SELECT count(*) FROM type") == [(1,)]


async def test_reports_may_reach_the_writer_before_their_record_and_catalog(
    tmp_path: Path,
) -> None:
    ready = judge_bundle(bundle(BEATS[:5]), making.book(CATALOG), making.NOW, Seen(10))
    with Store(tmp_path / "a.duckdb") as store:
        told: list[Committed] = []
        ingest = Ingest(store, making.book(CATALOG), ManualClock(making.NOW), told.append, FAST)
        async with trio.open_nursery() as nursery:
            await ingest.take(ready)
            ingest.close()
            nursery.start_soon(ingest.run)
        assert store.total == 5
        assert [one.id for one in store.catalogs()] == [CATALOG.id]
        assert [one.item.raw for one in told[0].records] == [RECORD]
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert verify(dataset).ok


async def test_an_old_catalog_is_read_from_the_file_when_an_erasure_names_it(
    tmp_path: Path,
) -> None:
    """Its report is forgotten, though no record lists the catalog any more."""
    new = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
    making.store_all(tmp_path / "a.duckdb", [CATALOG.raw, BEATS[0]])
    network = MemoryNetwork(latency=(0.0, 0.001))
    later = settings(catalogs=(), records=[making.record(new, time=making.NOW - 10)])
    gone = making.erasure(CATALOG, BEATS[0], "beat", 0)
    async with aggregator(network, tmp_path / "a.duckdb", later) as one:
        await publish(network, one, [bundle([gone])])
        with trio.fail_after(60):
            while one.store.total:
                await trio.sleep(0.01)
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert verify(dataset).ok
        assert dataset.rows("SELECT raw FROM tombstone") == [(gone,)]


async def test_attack_a_catalog_of_another_key_on_our_topic(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    foreign = making.catalog(key=making.seed("attacker"))
    async with aggregator(network, tmp_path / "a.duckdb", settings()) as one:
        await publish(network, one, [pack_notice(foreign.raw), bundle(BEATS[:3])])
        await one.until(3)
        assert [catalog.id for catalog in one.store.catalogs()] == [CATALOG.id]
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert dataset.rows("SELECT reason, count FROM refusal") == [("foreign", 1)]


async def test_attack_one_forged_report_in_a_bundle(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    forged = BEATS[9][:-1] + bytes([BEATS[9][-1] ^ 1])
    async with aggregator(network, tmp_path / "a.duckdb", settings()) as one:
        await publish(network, one, [bundle([*BEATS[10:12], forged]), bundle(BEATS[:3])])
        await one.until(3)
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert dataset.rows("SELECT reason, count FROM refusal") == [("forged", 1)]


async def test_what_was_taken_in_before_the_stop_is_committed_and_exported(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    ingest = IngestSettings(batch_seconds=3600, quiet_seconds=3600)
    slow = settings(ingest=ingest, export_every=3600.0)
    async with aggregator(network, tmp_path / "a.duckdb", slow) as one:
        await publish(network, one, [bundle(BEATS)])
        assert one.store.total == 0
    assert one.store.total == 40
    assert one.told(Exported)
    with open_dataset(directory_beside(tmp_path / "a.duckdb")) as parquet:
        assert parquet.rows("SELECT count(*) FROM item") == [(40,)]


async def test_a_batch_waits_no_longer_when_no_bundle_comes(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    quiet = settings(ingest=IngestSettings(batch_seconds=3600, quiet_seconds=0.02))
    async with aggregator(network, tmp_path / "a.duckdb", quiet) as one:
        for start in (0, 20):
            await publish(network, one, [bundle(BEATS[start : start + 20])])
            await one.until(start + 20)
        assert one.store.total == 40


async def test_a_reader_beside_the_running_writer_sees_the_last_export(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    path = tmp_path / "a.duckdb"
    async with aggregator(network, path, settings(export_every=0.01)) as one:
        await publish(network, one, [bundle(BEATS[:10])])
        await one.until(10)
        found = 0
        with trio.fail_after(60):
            while found != 10:
                await trio.sleep(0.01)
                if not one.told(Exported):
                    continue
                with open_dataset(path) as dataset:
                    assert dataset.source == "parquet"
                    found = dataset.rows("SELECT count(*) FROM item")[0][0]
                    assert found in (0, 10)


NOTICE = pack_notice(making.record(CATALOG, time=making.NOW - 10, previous=[split(RECORD).id]))
LATER = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
LISTING = pack_notice(making.record(CATALOG, LATER, time=making.NOW - 10))


@pytest.mark.parametrize(
    ("table", "rows", "messages"),
    [
        ("record", 2, [NOTICE]),
        ("catalog", 2, [LISTING, pack_notice(LATER.raw)]),
        ("refusal", 1, [pack_notice(making.catalog(key=making.seed("attacker")).raw)]),
        ("tombstone", 1, [bundle([making.erasure(CATALOG, BEATS[0], "beat", 0)])]),
    ],
)
async def test_what_changes_no_day_is_exported_while_the_aggregator_runs(
    tmp_path: Path, table: str, rows: int, messages: list[bytes]
) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    path = tmp_path / "a.duckdb"
    async with aggregator(network, path, settings(export_every=0.01)) as one:
        with trio.fail_after(60):
            while not one.told(Exported):
                await trio.sleep(0.01)
        await publish(network, one, messages)
        found = 0
        with trio.fail_after(60):
            while found != rows:
                await trio.sleep(0.05)
                with open_dataset(directory_beside(path)) as parquet:
                    found = parquet.rows(f"SELECT count(*) FROM {table}")[0][0]
            told = 0
            while told != one.told(Exported):  # nothing more changes, so nothing more is exported
                told = one.told(Exported)
                await trio.sleep(0.2)


async def test_an_export_that_fails_is_told_and_collecting_goes_on(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    path = tmp_path / "a.duckdb"
    directory_beside(path).mkdir()
    (directory_beside(path) / "mine.txt").write_text("mine")
    async with aggregator(network, path, settings(export_every=0.01)) as one:
        await publish(network, one, [bundle(BEATS[:10])])
        await one.until(10)
    assert one.told(ExportFailed) >= 1
    with open_dataset(path) as dataset:
        assert dataset.source == "file"
        assert dataset.rows("SELECT count(*) FROM item") == [(10,)]


async def test_an_aggregator_goes_on_with_what_is_in_its_file(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    path = tmp_path / "a.duckdb"
    revoking = making.record(CATALOG, revoked={"clicks": making.NOW - 7200})
    making.store_all(path, [CATALOG.raw, revoking])
    async with aggregator(network, path, settings(catalogs=(), records=())) as one:
        await publish(network, one, [bundle([making.clicks(CATALOG, 1)]), bundle(BEATS[:2])])
        await one.until(2)
    with open_dataset(path) as dataset:
        assert dataset.rows("SELECT reason FROM refusal") == [("revoked",)]


async def test_nothing_to_collect_is_an_error(tmp_path: Path) -> None:
    network = MemoryNetwork()
    with Store(tmp_path / "a.duckdb") as store:
        async with network.open_swarm() as swarm:
            for topics, code in (((), "no-topic"), (["/other/topic"], "bad-topic")):
                with pytest.raises(ConfigError) as caught:
                    await run_aggregator(
                        swarm,
                        store,
                        settings(catalogs=(), topics=topics),
                        ManualClock(making.NOW),
                        lambda event: None,
                        trio.Event(),
                    )
                assert caught.value.code == code


async def test_the_validator_waits_while_the_writer_is_behind(tmp_path: Path) -> None:
    """A commit may take longer than the swarm allows a validator; judging is not repeated."""
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        book = making.book(CATALOG)
        ingest = Ingest(
            store, book, ManualClock(making.NOW), lambda done: None, IngestSettings(queue=1)
        )
        validate = ingest.validator(CATALOG.topic)
        assert await validate("peer", bundle(BEATS[:1])) is Decision.ACCEPT
        decisions: list[Decision | None] = []
        limit, began = 0.5, list[float]()

        async def wait() -> None:
            message = Message(b"peer", bundle(BEATS[1:2]), b"1", CATALOG.topic)
            began.append(trio.current_time())
            decisions.append(await run_validator(validate, "peer", message, limit=limit))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            with trio.fail_after(60):
                while not ingest._send.statistics().tasks_waiting_send:
                    await trio.sleep(0.01)
            await trio.sleep_until(began[0] + 2 * limit)
            assert not decisions
            assert ingest.statistics().queued == 1
            nursery.start_soon(ingest.run)
            with trio.fail_after(60):
                while not decisions:
                    await trio.sleep(0.01)
            ingest.close()
        assert decisions == [Decision.ACCEPT]
        # The swarm may have given the bundle up: in another bundle it would be passed on.
        assert split(BEATS[0]).id in ingest._seen
        assert split(BEATS[1]).id not in ingest._seen
        assert await validate("peer", bundle(BEATS[2:3])) is Decision.IGNORE
        assert store.total == 2


async def test_when_nothing_more_is_taken_in_those_who_wait_are_told(tmp_path: Path) -> None:
    book = making.book(CATALOG)
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        for end in ("close", "cancel"):
            ingest = Ingest(
                store, book, ManualClock(making.NOW), lambda done: None, IngestSettings(queue=0)
            )
            validate = ingest.validator(CATALOG.topic)
            decisions: list[Decision] = []

            async def wait(validate: Validator, decisions: list[Decision]) -> None:
                decisions.append(await validate("peer", bundle(BEATS[1:2])))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, validate, decisions)
                with trio.fail_after(60):
                    while not ingest._send.statistics().tasks_waiting_send:
                        await trio.sleep(0.01)
                if end == "close":
                    ingest.close()
                else:
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        await ingest.run()
            assert decisions == [Decision.IGNORE]


async def test_what_is_not_stored_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = making.book(CATALOG)
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        ingest = Ingest(store, book, ManualClock(making.NOW), lambda done: None, FAST)
        validate = ingest.validator(CATALOG.topic)
        assert await validate("peer", bundle(BEATS[:3])) is Decision.ACCEPT
        assert len(ingest._seen) == 3
        monkeypatch.setattr(
            store._writer, "insert_typed", lambda one: store._con.execute("nonsense")
        )
        with pytest.raises(StoreError):
            await ingest.run()
        assert len(ingest._seen) == 0
        assert await validate("peer", bundle(BEATS[3:5])) is Decision.IGNORE
        assert len(ingest._seen) == 0


async def test_the_state_of_records_is_told(tmp_path: Path) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))
    twice = making.record(CATALOG, time=making.NOW - 10)
    healed = making.record(CATALOG, time=making.NOW, previous=[split(RECORD).id, split(twice).id])
    async with aggregator(network, tmp_path / "a.duckdb", settings()) as one:

        async def told(wanted: bool) -> RecordState:
            """The state of the record, once the newest one tells of an equivocation or of none."""
            with trio.fail_after(60):
                while True:
                    for event in one.events[::-1]:
                        if isinstance(event, Status):
                            (found,) = event.records
                            if found.equivocation == wanted:
                                return found
                            break
                    await trio.sleep(0.1)

        assert (await told(False)).catalogs == 1
        await publish(network, one, [pack_notice(twice)])
        await told(True)
        await publish(network, one, [pack_notice(healed)])
        await told(False)
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert dataset.rows("SELECT count(*) FROM record") == [(3,)]


async def test_a_file_that_cannot_be_written_ends_the_aggregator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork(latency=(0.0, 0.001))

    async def collect() -> None:
        async with aggregator(network, tmp_path / "a.duckdb", settings()) as one:
            await publish(network, one, [bundle(BEATS[:10])])
            await one.until(10)
            monkeypatch.setattr(
                one.store._writer,
                "insert_typed",
                lambda derived: one.store._con.execute("nonsense"),
            )
            await publish(network, one, [bundle(BEATS[10:20])])
            await trio.sleep(60)

    with pytest.raises(BaseExceptionGroup) as caught:
        await collect()
    assert caught.value.split(StoreError)[1] is None
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert dataset.rows("SELECT count(*) FROM item") == [(10,)]


@pytest.mark.shows("MARS-10", "DEB-9")
async def test_deb_9_nothing_of_a_peer_or_its_address_is_stored_or_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    network = MemoryNetwork(latency=(0.0, 0.001))
    path = tmp_path / "a.duckdb"
    async with aggregator(network, path, settings()) as one, network.open_swarm() as peer:
        names = [*peer.addrs, peer.peer_id, *one.swarm.addrs, one.swarm.peer_id]
        await peer.dial(one.swarm.addrs[0])
        await peer.wait_for_peers(CATALOG.topic, 1)
        await peer.publish(CATALOG.topic, bundle(BEATS[:5]))
        await peer.publish(CATALOG.topic, b"no bundle")
        await one.until(5)
        with trio.fail_after(60):
            while one.swarm.statistics().rejected < 1:
                await trio.sleep(0.01)
    assert len(names) == 4
    with open_dataset(path, floor=1) as dataset:
        stored = {table: dataset.rows(f"FROM {table}") for table in dataset.tables()}
    assert len(stored["item"]) == 5
    assert stored["refusal"]
    held = repr(stored) + repr(one.events) + caplog.text
    assert not [name for name in names if name in held]


async def test_what_came_last_is_in_the_parquet_when_an_aggregator_has_stopped(
    tmp_path: Path,
) -> None:
    network = MemoryNetwork()
    path = tmp_path / "a.duckdb"
    async with aggregator(network, path, settings(export_every=1e6)) as running:
        await publish(network, running, [bundle(BEATS)])
        await running.until(len(BEATS))
    with open_dataset(directory_beside(path)) as dataset:
        assert dataset.rows("SELECT count(*) FROM item") == [(len(BEATS),)]

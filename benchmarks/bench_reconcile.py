"""Reconcile: two aggregators find the few reports in which they differ, and a late one gets all.

Two real stores on a network in memory; the messages are the exact bytes of the protocol, and every
report that is taken is verified and committed. Growth is measured with sessions between two sets
of several sizes with the same number of differences.

    python benchmarks/bench_reconcile.py [--quick | --smoke] [--reports N]

equal                 whether both stores have the same digests at the end
bytes_per_difference  bytes of all requests and replies, both ways, with the reports themselves,
                      for each report that one of the two lacked (aim 4,096 at most)
seconds               from the connection until both have what they lacked, with pauses
backfill_ratio        seconds until an empty store has all, over those of copying the Parquet
growth                set size -> bytes for each difference, without the reports
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from methrics.aggregate.collect.reconciling import Reconciled
from methrics.aggregate.collect.service import AggregatorSettings, run_aggregator
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.reconcile.answer import Answerer, Asker, OpenedSet
from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.pacing import PacingSettings
from methrics.aggregate.reconcile.tree import Ask, Pull, Steps
from methrics.aggregate.reconcile.wire import (
    PROTOCOL,
    DaySum,
    Open,
    Request,
    Which,
    decode_request,
    encode_request,
    read_opened,
)
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.digest import day_digest
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, accept
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, decode_report, encode_report
from methrics.schema.wire.record import sign_record
from sizes import choose, parser_of

SHOWS = ("NEW-2",)

DIFFERENCES = 100
DAYS = 18
"""Days of the reports: all are within the lateness of live reports."""

BATCH = 50_000
DAY = 86_400


def make_reports(catalog: Catalog, count: int, now: int) -> Iterator[bytes]:
    """Signed heartbeats of the last days, each with its own key."""
    rng = random.Random(1)
    today = now - now % DAY
    for _ in range(count):
        values: dict[str, object] = {
            "version": f"{rng.randrange(4)}.{rng.randrange(10)}",
            "os": rng.choice(("linux", "windows", "macos")),
            "daily": rng.random() < 0.97,
            "age": rng.randrange(4),
        }
        report = Report(catalog.id, "heartbeat", today - DAY * rng.randrange(DAYS), values)
        yield seal(Kind.REPORT, encode_report(report), rng.randbytes(32))


def fill(
    path: Path, catalog: Catalog, record: bytes, raws: list[bytes], now: int, base: Path | None
) -> None:
    """Commit reports that were made here, so that they need not be verified, into a new file or a
    copy of `base`."""
    if base is not None:
        shutil.copy(base, path)
        shutil.copytree(directory_beside(base), directory_beside(path))
    book = CatalogBook()
    first = []
    for raw in (record, catalog.raw):
        verdict = accept(raw, book, now, live=False)
        learn(verdict, book, given=True)
        first.append(verdict)
    with Store(path) as store:
        store.commit(Batch(now, first))
        for at in range(0, len(raws), BATCH):
            items = [split(raw) for raw in raws[at : at + BATCH]]
            store.commit(Batch(now, [Accepted(one, decode_report(one.payload)) for one in items]))
        with contextmanager(_exporting)(store) as exporter:
            exporter.export(now)


def _exporting(store: Store) -> Iterator[Exporter]:
    exporter = Exporter(store)
    try:
        yield exporter
    finally:
        exporter.close()


class Counted:
    """Counts the bytes of the protocol that pass a swarm."""

    def __init__(self) -> None:
        self.bytes = 0
        self.requests = 0

    def watch(self, swarm: MemorySwarm) -> None:
        """Count the requests of this swarm and their replies."""
        plain = swarm.request

        async def request(peer: str, protocol: str, body: bytes, **more: object) -> bytes:
            reply = await plain(peer, protocol, body, **more)  # type: ignore[arg-type]
            if protocol == PROTOCOL:
                self.bytes += len(body) + len(reply)
                self.requests += 1
            return reply

        swarm.request = request  # type: ignore[method-assign,assignment]


async def reconcile(one: Path, other: Path, wanted: int, counted: Counted) -> float:
    """Run two aggregators until both have `wanted` reports; return the seconds."""
    network = MemoryNetwork()
    settings = AggregatorSettings(
        export_every=3600, pacing=PacingSettings(soon=0.2, every=0.5, look=0.02)
    )
    said: list[Reconciled] = []

    def note(event: object) -> None:
        if isinstance(event, Reconciled):
            said.append(event)

    with Store(one) as a, Store(other) as b:
        async with (
            network.open_swarm() as first,
            network.open_swarm() as second,
            trio.open_nursery() as nursery,
        ):
            stop = trio.Event()
            for swarm, store in ((first, a), (second, b)):
                counted.watch(swarm)
                run = partial(run_aggregator, swarm, store, settings, Clock(), note, stop)
                nursery.start_soon(run)
            await trio.sleep(1)
            begun = time.perf_counter()
            await second.dial(first.addrs[0])
            while a.total != wanted or b.total != wanted:
                await trio.sleep(0.02)
            seconds = time.perf_counter() - begun
            stop.set()
    return seconds


class Ids:
    """A set of bare ids of some days, to measure growth."""

    def __init__(self, ids: list[bytes]) -> None:
        self.scanned = 0
        cut = [[one for one in ids if one[-1] % DAYS == day] for day in range(DAYS)]
        self._days = [IdIndex(b"".join(own)) for own in cut]

    def days(self, which: Which) -> list[DaySum]:
        """The days and their digests."""
        if which is Which.ERASURES:
            return []
        sums = [
            (day, *day_digest(bytes(32), day, [own.data])) for day, own in enumerate(self._days)
        ]
        return [DaySum(*one) for one in sums]

    def index(self, _which: Which, day: int) -> IdIndex:
        """The ids of a day."""
        return self._days[day]

    def items(self, _which: Which, _wanted: Mapping[int, object]) -> list[object]:
        """No items: only the bytes that find the difference are counted."""
        return []


class Finding(Pull):
    """A session that finds which ids are lacking, and fetches none."""

    def _fetch(self, _which: Which, wanted: Sequence[tuple[int, bytes]]) -> Steps:
        self.fetched += len(wanted)
        yield from ()


def growth(size: int) -> float:
    """Return the bytes for each difference, until the ids are known that one side lacks."""
    rng = random.Random(size)
    ids = [hashlib.sha256(rng.randbytes(16)).digest() for _ in range(size)]
    own, theirs = Ids(ids[DIFFERENCES:]), Ids(ids)
    opened = OpenedSet(theirs, b"", lambda: None)  # type: ignore[arg-type]
    answerer = Answerer(lambda *_: opened, lambda: 0, rng.randbytes)
    total = 0

    def ask(request: Request) -> bytes:
        nonlocal total
        body = encode_request(request)
        reply, _ = answerer.answer(Asker("peer"), decode_request(body), 0.0)
        total += len(body) + len(reply)
        return reply

    found = read_opened(ask(Open(bytes(32), 0, b"", bytes(32), bytes(32))))
    assert found is not None
    pull = Finding(own, found, rng.randbytes(16))  # type: ignore[arg-type]
    steps = pull.steps()
    step = next(steps, None)
    while isinstance(step, Ask):
        try:
            step = steps.send(ask(step.request))
        except StopIteration:
            break
    assert pull.fetched == DIFFERENCES
    return round(total / DIFFERENCES, 1)


def same(*paths: Path) -> bool:
    """Whether stores have the same digests."""
    found = []
    for path in paths:
        with Store(path) as store:
            found.append([(one.key, one.day, one.digest) for one in store.day_digests()])
    return all(one == found[0] for one in found)


def copied(path: Path, folder: Path) -> tuple[float, int]:
    """Copy the Parquet beside a store; return the seconds and the bytes."""
    begun = time.perf_counter()
    shutil.copytree(directory_beside(path), folder)
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    return time.perf_counter() - begun, size


def measure(folder: Path, count: int) -> dict[str, object]:
    """Run all parts."""
    now = Clock().now()
    catalog = example_catalog()
    record = sign_record([catalog.id], example_seed(), time=now - 60, expires=now + 400 * DAY).raw
    raws = list(make_reports(catalog, count + DIFFERENCES // 2, now))
    half = DIFFERENCES // 2
    late, common, one, other = (folder / f"{name}.duckdb" for name in "abcd")
    fill(late, catalog, record, [], now, None)
    fill(common, catalog, record, raws[half:-half], now, late)
    fill(one, catalog, record, raws[-half:], now, common)
    fill(other, catalog, record, raws[:half], now, common)
    counted, all_counted = Counted(), Counted()
    seconds = trio.run(reconcile, one, other, count + half, counted)
    equal = same(one, other)
    backfill = trio.run(reconcile, one, late, count + half, all_counted)
    copy_seconds, copy_bytes = copied(one, folder / "copy")
    return {
        "equal": equal and same(one, late),
        "bytes_per_difference": round(counted.bytes / DIFFERENCES),
        "requests": counted.requests,
        "seconds": round(seconds, 2),
        "backfill_ratio": round(backfill / copy_seconds, 1),
        "backfill_seconds": round(backfill, 1),
        "backfill_per_second": round(count / backfill),
        "backfill_bytes": all_counted.bytes,
        "backfill_bytes_per_report": round(all_counted.bytes / count, 1),
        "copy_seconds": round(copy_seconds, 3),
        "copy_bytes": copy_bytes,
        "bytes_per_report": round(sum(map(len, raws)) / len(raws), 1),
        "reports": count,
    }


def main() -> None:
    parser = parser_of(__doc__, "about a minute")
    parser.add_argument("--reports", type=int, help="how many reports")
    arguments = parser.parse_args()
    count = arguments.reports or choose(arguments, full=1_000_000, quick=20_000, smoke=2000)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), count)
    sizes = [size for size in (1000, 10_000, 100_000, 1_000_000) if size <= max(count, 1000)]
    result["growth"] = {str(size): growth(size) for size in sizes}
    for name, value in result.items():
        shown = f"{value:>12,}" if isinstance(value, int | float) else f"{value}"
        print(f"{name:26} {shown}")
    print(json.dumps(result))
    if not result["equal"]:
        raise SystemExit("the sets differ")


if __name__ == "__main__":
    main()

"""A publisher that is killed at any moment loses no report and duplicates none (KPI-7)."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.listing import listed_book
from tests.relay_serving import SEED, serve_relay

from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import PeerId
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY, month_number
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import namespace_of, user_paths
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import RelaySettings
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.items import Report
from methrics.schema.wire.verdict import Decision

pytestmark = [pytest.mark.wire, pytest.mark.slow]

ABOUT = """
question = "Does anything get lost?"
why = "Shows that nothing gets lost."
owner = "Tests"
review = "https://example.org/review"
expires = 2099-01-01
retention_days = 30
entropy_bits = 20
chart = "line"
"""

SOURCE = f"""
[catalog]
label = "killed"
contact = "https://example.org"
[types.beat]
kind = "state"
{ABOUT}
[types.beat.release]
delay = 300
every = [3600, 7200]
jitter = 0
[types.beat.fields.daily]
type = "flag"
source = "first_of_day"
says = "Whether this is the first report of the day."
[types.beat.fields.monthly]
type = "flag"
source = "first_of_month"
says = "Whether this is the first report of the month."
[types.click]
kind = "event"
{ABOUT}
[types.click.release]
delay = 300
jitter = 0
[types.click.fields.serial]
type = "count"
max = 999
says = "A number that only this test uses."
"""

CATALOG = load(sign(parse_source(SOURCE), b"k" * 32))
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)

CHILD = """
import sys, random, trio
from methrics.node.clock import Clock
from methrics.node.publish.entry import Entry
from methrics.node.paths import user_paths
from methrics.node.publish.publisher import PublisherSettings, run_publisher
home, namespace, relay, shift = sys.argv[1:]
class Shifted(Clock):
    def now(self):
        return Clock().now() + int(shift)
settings = PublisherSettings(entry=Entry(relays=(relay,)), once=True)
sys.exit(trio.run(lambda: run_publisher(user_paths(home), namespace, settings, clock=Shifted())))
"""

KILLS = 10
ROUNDS_MAX = 16
"""If the machine becomes faster during the test, some publishers end before they are killed."""
CLICKS = 6
"""Events recorded before each kill."""


class Collector:
    """A validator that counts every report of every bundle."""

    def __init__(self, book: CatalogBook) -> None:
        self.book = book
        self.arrived: Counter[bytes] = Counter()
        self.reports: dict[bytes, Report] = {}

    async def __call__(self, _peer: PeerId, message: bytes) -> Decision:
        verdict = judge_bundle(message, self.book, Clock().now(), Seen(10_000))
        for accepted in verdict.accepted:
            if isinstance(accepted.body, Report):
                self.arrived[accepted.item.id] += 1
                self.reports[accepted.item.id] = accepted.body
        return verdict.decision


@asynccontextmanager
async def relay_and_collector() -> AsyncIterator[tuple[str, Collector]]:
    book = listed_book(CATALOG, seed=b"k" * 32, topics={CATALOG.topic})
    collector = Collector(book)
    listen = ["/ip4/127.0.0.1/tcp/0"]
    settings = RelaySettings(
        topics=(CATALOG.topic,), mix=MixLimits(batch_window=0.3, rest=0), spread=0
    )
    async with (
        open_swarm(listen=listen, seed=SEED) as swarm,
        open_swarm(listen=listen) as ears,
        trio.open_nursery() as nursery,
    ):
        known = listed_book(CATALOG, seed=b"k" * 32, topics={CATALOG.topic})
        await serve_relay(nursery, swarm, known, settings, clock=Clock())
        await ears.join(CATALOG.topic, collector)
        ears.keep(swarm.addrs[0])
        with trio.fail_after(60):
            await swarm.wait_for_peers(CATALOG.topic, 1)
        yield swarm.addrs[0], collector
        nursery.cancel_scope.cancel()


def record(home: Path, now: int, serials: range) -> None:
    settings = RecorderSettings(publisher="none", strict=True)
    with Recorder(CATALOG, user_paths(home), settings, clock=ManualClock(now)) as recorder:
        assert recorder.record("beat")
        for serial in serials:
            assert recorder.record("click", serial=serial)


async def run_child(home: Path, relay: str, shift: int, kill_after: float | None) -> int:
    command = [sys.executable, "-c", CHILD, str(home), NAMESPACE, relay, str(shift)]
    child = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    try:
        if kill_after is not None:
            await trio.sleep(kill_after)
            child.kill()
        out, err = await trio.to_thread.run_sync(lambda: child.communicate(timeout=60))
        assert (out, err) == (b"", b"")
        return child.returncode
    finally:
        child.kill()


@pytest.mark.shows("KPI-7")
async def test_kpi_7_a_publisher_killed_at_random_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(20)
    grant(user_paths(tmp_path), NAMESPACE, ["beat", "click"], now=0)
    real = Clock().now()
    async with relay_and_collector() as (relay, collector):
        shift = -(ROUNDS_MAX + 3) * DAY
        record(tmp_path, real + shift - 3600, range(CLICKS))
        began = time.perf_counter()
        assert await run_child(tmp_path, relay, shift, None) == 0
        whole = time.perf_counter() - began
        killed = rounds = 0
        while killed < KILLS and rounds < ROUNDS_MAX:
            rounds += 1
            shift += DAY
            first = rounds * CLICKS
            record(tmp_path, real + shift - 3600, range(first, first + CLICKS))
            after = whole * rng.uniform(0.4, 1.0)
            if await run_child(tmp_path, relay, shift, after) == -9:
                killed += 1
            else:  # the machine is faster than it was: aim earlier
                whole = 0.7 * after
        # A day later, the remaining reports are due, and another publisher sends them; after three
        # days also those whose box did not leave, or was not answered.
        for later in (DAY, *[4 * DAY] * 8):
            assert await run_child(tmp_path, relay, shift + later, None) == 0
        receipts = Journal(user_paths(tmp_path).outbox(NAMESPACE)).receipts()
        with trio.move_on_after(60):
            while len(collector.arrived) < len(receipts):
                await trio.sleep(0.1)
        await trio.sleep(1)

    assert killed == KILLS
    acknowledged = {one.id for one in receipts if one.state == ACKNOWLEDGED}
    assert len(acknowledged) == len(receipts)
    assert acknowledged == set(collector.arrived), "a report was lost, or is not in the journal"
    assert set(collector.arrived.values()) == {1}
    clicks = [one.values["serial"] for one in collector.reports.values() if one.type == "click"]
    assert sorted(clicks, key=str) == sorted(range((rounds + 1) * CLICKS), key=str)
    beats = [one for one in collector.reports.values() if one.type == "beat"]
    assert len(beats) >= 3
    days = Counter(one.time // DAY for one in beats)
    months = Counter(month_number(one.time) for one in beats if one.values["monthly"])
    assert set(days.values()) == {1}
    assert set(months.values()) == {1}

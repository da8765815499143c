"""NEW-4: sums of reports are the true numbers of active and of returning installs.

An install is counted by itself here, and exactly, so that sums over installs are exact as well. All
goes through the real outbox, journal and `prepare`; publishers come whenever they like.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methrics.node.clock import ManualClock, system_entropy
from methrics.node.mine.reset import renew
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY, month_number, week_number
from methrics.node.paths import user_paths
from methrics.node.publish.due_reports import installed
from methrics.node.report.prepare import prepare
from methrics.node.spool.interface import SpooledType
from methrics.node.spool.records import catalog_number
from methrics.node.spool.spool import Spool
from methrics.schema.example import example_catalog
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report

HOUR = 3600
BEGIN = 1_800_576_000
"""Friday 2027-01-22 00:00 UTC: a month ends after ten days, in the middle of a week."""

CATALOG = example_catalog()
TYPES = ("heartbeat", "retention")
WIRE = encode({"os": "linux"})


class Install:
    """One install: several processes that record, and a publisher's passes, under one clock."""

    def __init__(self, home: str, processes: int = 3) -> None:
        paths = user_paths(Path(home) / "home")
        self.clock = ManualClock(BEGIN)
        self.rng = random.Random(1).random
        number = catalog_number(CATALOG.id)
        plans = {name: SpooledType(number, CATALOG.types[name], 1) for name in TYPES}
        self.plans = plans
        self.spools = [
            Spool(paths.outbox("shop"), clock=self.clock, rng=self.rng) for _ in range(processes)
        ]
        self.journal = Journal(paths.outbox("shop"), clock=self.clock)
        for spool in self.spools:
            spool.keep_catalog(number, CATALOG.raw)
        self.said: list[Report] = []

    def record(self, at: int, process: int = 0) -> None:
        self.clock.advance(at - self.clock.now())
        for name in TYPES:
            time = at - at % CATALOG.types[name].resolution
            self.spools[process].state(self.plans[name], time, at, WIRE)

    def publish(self, at: int) -> None:
        """Makes reports as `Delivery` does before it sends."""
        self.clock.advance(at - self.clock.now())
        pending = self.journal.pending(at)
        if not pending.rows:
            return
        done = prepare(
            pending.rows,
            catalogs={row.catalog: CATALOG for row in pending.rows},
            allowed=dict.fromkeys(TYPES),
            identity=self.journal.identity(installed(pending.rows, at)),
            paces=self.journal.paces(),
            route="relay",
            now=at,
            rng=self.rng,
            entropy=system_entropy,
        )
        self.journal.journal(done.made, done.consumed, done.paces.values(), token=pending.token)
        assert not done.withheld
        self.said += [decode_report(split(one.raw).payload) for one in done.made]
        self.lost = done.dropped

    def drain(self, at: int) -> None:
        """Makes passes until no row waits any more."""
        while self.journal.snapshot().waiting:
            at += 3 * HOUR
            self.publish(at)

    def close(self) -> None:
        for spool in self.spools:
            spool.leave()
        self.journal.close()

    def of(self, name: str) -> list[Report]:
        return [report for report in self.said if report.type == name]


def days(reports: Iterable[Report], flag: str) -> list[int]:
    return [report.time // DAY for report in reports if report.values[flag] is True]


USES = st.lists(
    st.tuples(
        st.integers(0, 45) | st.sampled_from([0, 1, 7, 30]),
        st.integers(0, DAY - 1) | st.sampled_from([0, DAY - 1]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=30,
)
"""Day, second of it, and which process."""
PASSES = st.lists(st.integers(0, 36 * HOUR), max_size=20)
"""Seconds from one pass of a publisher to the next; later one comes each day."""


@pytest.mark.shows("NEW-4")
@settings(max_examples=20, deadline=None)
@given(USES, PASSES)
# One second before midnight and one after, published when only the second is due by itself.
@example([(0, DAY - 1, 0), (1, 0, 1)], [DAY, *[600] * 20])
def test_new_4_every_active_day_week_month_and_milestone_is_reported_exactly_once(
    uses: list[tuple[int, int, int]], pauses: list[int]
) -> None:
    uses.sort()
    events = [(BEGIN + day * DAY + second, process) for day, second, process in uses]
    now = BEGIN
    for pause in (*pauses, *[DAY] * 45):
        now += pause
        events.append((now, -1))
    with tempfile.TemporaryDirectory() as home:
        install = Install(home)
        for at, process in sorted(events):
            if process < 0:
                install.publish(at)
            else:
                install.record(at, process)
        install.drain(max(events)[0])
        active = {BEGIN // DAY + day for day, _, _ in uses}
        told = install.of("heartbeat")
        assert days(told, "daily") == sorted(active)
        assert len(told) == len(active)
        weeks = [week_number(day * DAY) for day in days(told, "weekly")]
        assert weeks == sorted({week_number(day * DAY) for day in active})
        months = [month_number(day * DAY) for day in days(told, "monthly")]
        assert months == sorted({month_number(day * DAY) for day in active})
        first = min(active)
        back = [
            (report.time // DAY, report.values["milestone"]) for report in install.of("retention")
        ]
        assert back == [(first + n, f"d{n}") for n in (0, 1, 7, 30) if first + n in active]
        # The week of installation is that of the first use, not that of the first pass.
        ages = {0: 0, 1: 1, 2: 1, 3: 1}
        begun = week_number(first * DAY)
        for report in told:
            assert report.values["age"] == ages.get(week_number(report.time) - begun, 2)
        install.close()


@pytest.mark.shows("NEW-4")
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2 * DAY), st.integers(-20 * DAY, 20 * DAY), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_new_4_no_install_is_counted_twice_however_the_clock_jumps(
    steps: list[tuple[int, int, bool]],
) -> None:
    """Real seconds that pass, what the clock shows too much, and whether a publisher comes."""
    with tempfile.TemporaryDirectory() as home:
        install, real = Install(home), BEGIN
        for passed, wrong, published in steps:
            real += passed
            install.record(real + wrong)
            if published:
                install.publish(real + wrong)
        install.drain(real)
        told = install.of("heartbeat")
        assert max(Counter(report.time // DAY for report in told).values(), default=1) == 1
        for flag, number in (("weekly", week_number), ("monthly", month_number)):
            periods = Counter(number(day * DAY) for day in days(told, flag))
            assert max(periods.values(), default=1) == 1
        back = Counter(report.values["milestone"] for report in install.of("retention"))
        assert max(back.values(), default=1) == 1
        install.close()


def test_rows_without_a_publisher_for_three_weeks_are_dropped_and_counted() -> None:
    with tempfile.TemporaryDirectory() as home:
        install = Install(home)
        for day in range(30):
            install.record(BEGIN + day * DAY + HOUR)
        assert len(install.journal.snapshot().waiting) == 60
        now = BEGIN + 30 * DAY
        install.publish(now)
        assert install.journal.dropped() == {"too-old": 2 * 9}
        assert [report.time for report in install.of("heartbeat")] == [BEGIN + 9 * DAY]
        install.close()


def test_after_a_reset_the_install_counts_as_a_new_one() -> None:
    with tempfile.TemporaryDirectory() as home:
        install = Install(home)
        install.record(BEGIN)
        install.drain(BEGIN)
        renew(install.journal)
        install.record(BEGIN + 5 * DAY)
        install.drain(BEGIN + 5 * DAY)
        said = [(report.time, report.values["milestone"]) for report in install.of("retention")]
        assert said == [(BEGIN, "d0"), (BEGIN + 5 * DAY, "d0")]
        assert days(install.of("heartbeat"), "monthly") == [BEGIN // DAY, BEGIN // DAY + 5]
        install.close()

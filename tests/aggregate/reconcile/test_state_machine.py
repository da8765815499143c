"""Aggregators in any order of deliveries, erasures, retention, closings, partitions, restarts and
sessions have what a model of sets has, and end equal (NEW-2).

`MODEL_EXAMPLES=300 MODEL_STEPS=50 pytest ...` tries more than the few runs of CI.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import aggregate_making as making
import pytest
from aggregator_model import DAY, ERASED, ERASURES, RAWS, Aggregator
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reconcile_making import KEY

from methrics.aggregate.reconcile.asking import DISPUTED, Disputes
from methrics.aggregate.reconcile.wire import DaySum, Which
from methrics.node.clock import ManualClock

pytestmark = pytest.mark.shows("NEW-2")

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "4"))
STEPS = int(os.environ.get("MODEL_STEPS", "14"))

NODES = 3
NODE = st.integers(0, NODES - 1)
REPORTS = st.sets(st.integers(0, len(RAWS) - 1), min_size=1)
GONE = st.sets(st.sampled_from(list(ERASED)), max_size=4)


class Aggregators(RuleBasedStateMachine):
    """Three aggregators with files on disk, each beside its model."""

    @initialize(quorum=st.integers(1, NODES - 1), heard=st.lists(REPORTS, max_size=NODES))
    def begin(self, quorum: int, heard: list[set[int]]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="methrics-model-")
        self.clock = ManualClock(making.NOW)
        self.quorum = quorum
        folder = Path(self.folder.name)
        self.nodes = [Aggregator(folder, i, NODES, quorum, self.clock) for i in range(NODES)]
        self.apart: set[frozenset[int]] = set()
        for node, reports in zip(self.nodes, heard, strict=False):
            node.hear(RAWS[i] for i in sorted(reports))

    def teardown(self) -> None:
        if not hasattr(self, "nodes"):
            return
        try:
            self.heal()
            for _ in range(NODES):
                for one in self.nodes:
                    for other in self.nodes:
                        if one is not other:
                            one.session(other)
            self.nothing_else_is_stored()
            if self.quorum == 1:
                found = [node.digests() for node in self.nodes]
                assert found[0] == found[1] == found[2]
                assert self.nodes[0].visible() == self.nodes[1].visible() == self.nodes[2].visible()
            self.clock.advance(60)
            for node in self.nodes:
                node.expire()
                node.close_days()
        finally:
            for node in self.nodes:
                node.store.close()
            self.folder.cleanup()

    @rule(node=NODE, reports=REPORTS, gone=GONE)
    def hear(self, node: int, reports: set[int], gone: set[int]) -> None:
        raws = [*(RAWS[i] for i in sorted(reports)), *(ERASURES[i] for i in sorted(gone))]
        self.nodes[node].hear(raws)

    @rule(node=NODE, gone=GONE)
    def erase(self, node: int, gone: set[int]) -> None:
        self.nodes[node].hear(ERASURES[i] for i in sorted(gone))

    @rule(node=NODE, reports=REPORTS)
    def a_stranger_offers(self, node: int, reports: set[int]) -> None:
        self.nodes[node].offered([RAWS[i] for i in sorted(reports)], b"stranger")

    @rule(days=st.integers(1, 5))
    def days_pass(self, days: int) -> None:
        self.clock.advance(days * DAY)

    @rule(node=NODE)
    def expire(self, node: int) -> None:
        self.nodes[node].expire()

    @rule(node=NODE)
    def close_days(self, node: int) -> None:
        self.nodes[node].close_days()

    @rule(node=NODE)
    def tidy(self, node: int) -> None:
        self.nodes[node].tidy()

    @rule(node=NODE)
    def restart(self, node: int) -> None:
        self.nodes[node].restart()

    @rule(pair=st.sets(NODE, min_size=2, max_size=2))
    def part(self, pair: set[int]) -> None:
        self.apart.add(frozenset(pair))

    @rule()
    def heal(self) -> None:
        self.apart.clear()

    @rule(one=NODE, other=NODE, most=st.sampled_from([1, 2, 3, 5, 1000, 1000, 1000]))
    def session(self, one: int, other: int, most: int) -> None:
        """A session, or the beginning of one that breaks off, and the manifests of the other."""
        if one != other and frozenset((one, other)) not in self.apart:
            self.nodes[one].session(self.nodes[other], most)
            assert self.nodes[one].take_manifests(self.nodes[other]).contradictions == 0

    @invariant()
    def nothing_else_is_stored(self) -> None:
        if hasattr(self, "nodes"):
            self.clock.advance(1)
            for node in self.nodes:
                assert node.store.total == len(node.has)


TestAggregators = Aggregators.TestCase
TestAggregators.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_day_of_which_nothing_can_be_taken_is_left_out_until_it_changes() -> None:
    disputes, theirs, mine = Disputes(), DaySum(1, 2, b"t" * 32), DaySum(1, 1, b"m" * 32)
    disputes.note("p", KEY, [(Which.REPORTS, theirs, mine)], 100)
    for today in (100, 100 + DISPUTED - 1):
        assert disputes.holds("p", KEY, Which.REPORTS, (theirs, mine), today)
        assert not disputes.holds("q", KEY, Which.REPORTS, (theirs, mine), today)
        other = DaySum(1, 3, b"u" * 32)
        assert not disputes.holds("p", KEY, Which.REPORTS, (other, mine), today)
        assert not disputes.holds("p", KEY, Which.REPORTS, (theirs, None), today)


def test_a_day_in_dispute_is_compared_again_after_a_week() -> None:
    disputes, theirs = Disputes(), DaySum(1, 2, b"t" * 32)
    differing: list[tuple[Which, DaySum, DaySum | None]] = [(Which.REPORTS, theirs, None)]
    held = []
    for today in range(100, 100 + 2 * DISPUTED):
        held.append(disputes.holds("p", KEY, Which.REPORTS, (theirs, None), today))
        if not held[-1]:
            disputes.note("p", KEY, differing, today)
    assert held == [False, *[True] * (DISPUTED - 1)] * 2

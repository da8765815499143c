"""Aggregators in any order of deliveries, erasures, partitions and sessions end equal (NEW-2)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import aggregate_making as making
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reconcile_making import CATALOG, KEY, TODAY, erasures, raws_of, reports

from methrics.aggregate.reconcile.answer import Answerer, Asker
from methrics.aggregate.reconcile.asking import Disputes
from methrics.aggregate.reconcile.duck_set import open_duck_set
from methrics.aggregate.reconcile.item_set import set_digest
from methrics.aggregate.reconcile.tree import Ask, Pull
from methrics.aggregate.reconcile.wire import DaySum, Open, Which, read_opened
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import accept

pytestmark = pytest.mark.shows("NEW-2")

NODES = 3
REPORTS = reports(24, days=3)
ITEMS = REPORTS + erasures(REPORTS[:8])
BOOK = making.book(CATALOG)
ACCEPTED = [accept(raw, BOOK, making.NOW, live=False) for raw in ITEMS]
SALT = b"a fixed salt here"[:16]


class Aggregators(RuleBasedStateMachine):
    """Three stores on disk. What each was given is compared with what it has in the end."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [Store(Path(self.folder.name) / f"{i}.duckdb") for i in range(NODES)]
        self.given: set[int] = set()
        self.apart: set[frozenset[int]] = set()
        for store in self.stores:
            store.commit(making.batch([CATALOG.raw], CatalogBook()))

    def teardown(self) -> None:
        try:
            self.heal()
            for _ in range(2):
                for i in range(NODES):
                    for j in range(NODES):
                        if i != j:
                            self.session(i, j)
            found = [self.digests(store) for store in self.stores]
            assert found[0] == found[1] == found[2]
            erased = {i - len(REPORTS) for i in self.given if i >= len(REPORTS)}
            kept = {i for i in self.given if i < len(REPORTS)} - erased
            assert [store.total for store in self.stores] == [len(kept)] * NODES
        finally:
            for store in self.stores:
                store.close()
            self.folder.cleanup()

    @rule(node=st.integers(0, NODES - 1), items=st.sets(st.integers(0, len(ITEMS) - 1)))
    def deliver(self, node: int, items: set[int]) -> None:
        self.given |= items
        self.stores[node].commit(Batch(making.NOW, [ACCEPTED[i] for i in items]))

    @rule(node=st.integers(0, NODES - 1))
    def restart(self, node: int) -> None:
        path = self.stores[node].path
        self.stores[node].close()
        self.stores[node] = Store(path)

    @rule(pair=st.sets(st.integers(0, NODES - 1), min_size=2, max_size=2))
    def part(self, pair: set[int]) -> None:
        self.apart.add(frozenset(pair))

    @rule()
    def heal(self) -> None:
        self.apart.clear()

    @rule(one=st.integers(0, NODES - 1), other=st.integers(0, NODES - 1), steps=st.integers(0, 6))
    def broken_session(self, one: int, other: int, steps: int) -> None:
        """A session that ends in its middle."""
        if one != other:
            self.session(one, other, steps)

    @rule(one=st.integers(0, NODES - 1), other=st.integers(0, NODES - 1))
    def whole_session(self, one: int, other: int) -> None:
        if one != other:
            self.session(one, other)

    @invariant()
    def nothing_is_invented(self) -> None:
        if hasattr(self, "given"):
            assert all(store.total <= len(self.given) for store in self.stores)

    def digests(self, store: Store) -> list[bytes]:
        opened = open_duck_set(store, KEY, TODAY, lambda _: b"")
        try:
            return [set_digest(KEY, which, opened.items.days(which)) for which in Which]
        finally:
            opened.close()

    def session(self, one: int, other: int, most: int = 1000) -> None:
        if frozenset((one, other)) in self.apart:
            return
        answering = Answerer(
            lambda key, as_of: open_duck_set(self.stores[other], key, as_of, lambda _: b""),
            lambda: TODAY,
            lambda size: bytes(size),
        )
        own = open_duck_set(self.stores[one], KEY, TODAY, lambda _: b"")
        taken: list[bytes] = []
        try:
            sums = [set_digest(KEY, which, own.items.days(which)) for which in Which]
            asker = Asker("peer")
            opened = read_opened(answering.answer(asker, Open(KEY, TODAY, b"", *sums), 0.0)[0])
            if opened is None:
                return
            steps, reply = Pull(own.items, opened, SALT).steps(), None
            for _ in range(most):
                try:
                    step = next(steps) if reply is None else steps.send(reply)
                except StopIteration:
                    break
                reply = None
                if isinstance(step, Ask):
                    reply = answering.answer(asker, step.request, 0.0)[0]
                else:
                    taken += raws_of(step)
        finally:
            own.close()
            answering.close()
        accepted = [accept(raw, BOOK, making.NOW, live=False) for raw in taken]
        self.stores[one].commit(Batch(making.NOW, accepted))


TestAggregators = Aggregators.TestCase
TestAggregators.settings = settings(max_examples=5, stateful_step_count=12, deadline=None)


def test_a_day_of_which_nothing_can_be_taken_is_left_out_until_it_changes() -> None:
    disputes, theirs, mine = Disputes(), DaySum(1, 2, b"t" * 32), DaySum(1, 1, b"m" * 32)
    disputes.note("p", KEY, [(Which.REPORTS, theirs, mine)])
    assert disputes.holds("p", KEY, Which.REPORTS, theirs, mine)
    assert not disputes.holds("q", KEY, Which.REPORTS, theirs, mine)
    assert not disputes.holds("p", KEY, Which.REPORTS, DaySum(1, 3, b"u" * 32), mine)
    assert not disputes.holds("p", KEY, Which.REPORTS, theirs, None)

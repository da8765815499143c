"""The door against a model: whatever is offered by whom, in whatever order, with restarts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from aggregate_making import DAY, NOW
from closing_making import BOOK, OLD, VOTERS, clock, fill, let_in, old_beats
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.store.store import Store

REPORTS = old_beats(range(5)) + old_beats([5], OLD - DAY)
FRESH = old_beats([6, 7], NOW - 7200)
NUMBERS = st.sets(st.integers(0, len(REPORTS) - 1), min_size=1)
TRUST = Trust(frozenset(VOTERS[:3]), 2)


class DoorMachine(RuleBasedStateMachine):
    """Offers by trusted peers and strangers. The model: the voters of each report."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="methrics-door-"))
        self.store = Store(self.folder / "metrics.duckdb")
        fill(self.store)
        self.door = Door(self.store, clock(), TRUST)
        self.votes: dict[int, set[bytes]] = {}
        self.taken: set[int] = set()
        self.fresh = 0

    @rule(numbers=NUMBERS, voter=st.sampled_from([*VOTERS, b"stranger"]))
    def offer(self, numbers: set[int], voter: bytes) -> None:
        let_in(self.door, self.store, [REPORTS[i] for i in sorted(numbers)], voter)
        for i in numbers - self.taken:
            voters = self.votes.setdefault(i, set())
            voters.update({voter} & TRUST.voters)
            if len(voters) >= TRUST.quorum:
                self.taken.add(i)

    @rule(voter=st.sampled_from([VOTERS[0], b"stranger"]))
    def offer_fresh(self, voter: bytes) -> None:
        let_in(self.door, self.store, FRESH, voter)
        self.fresh = len(FRESH)

    @rule()
    def tidy(self) -> None:
        assert self.door.tidy(BOOK) == []
        kept = sum(count for _, _, count in self.door.contested())
        assert kept == len(self.votes.keys() - self.taken)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.folder / "metrics.duckdb")
        self.door = Door(self.store, clock(), TRUST)

    @invariant()
    def only_quorums_add_to_days_that_are_over(self) -> None:
        assert self.store.total == len(self.taken) + self.fresh

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


DoorMachine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestDoorModel = DoorMachine.TestCase

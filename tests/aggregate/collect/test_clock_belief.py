"""A clock that is wrong from the start deletes nothing by retention while it may be corrected."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.collect.clock_belief import (
    AHEAD_MAX,
    BEHIND_MAX,
    PATIENCE,
    Belief,
    ClockBelief,
)
from methrics.aggregate.store.clock_notes import ClockNotes, read_notes
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.judging.book import CatalogBook

DAY = making.DAY
NOW = making.NOW
TODAY = NOW // DAY
YEARS = 6 * 365 * DAY
CATALOG = making.catalog()


@pytest.mark.parametrize("wrong", [YEARS, -YEARS])
def test_attack_a_clock_wrong_from_the_start_is_not_believed_at_once(wrong: int) -> None:
    belief = Belief(ClockNotes())
    for seconds in range(0, PATIENCE, 10):
        belief.look(NOW + wrong + seconds, seconds, TODAY)
        assert not belief.believes
    assert "it says 20" in belief.line(TODAY)
    belief.look(NOW + wrong + PATIENCE, PATIENCE, TODAY)
    assert belief.believes
    assert belief.line(TODAY) == ""


def test_reports_that_come_in_time_make_it_believed() -> None:
    belief = Belief(ClockNotes())
    belief.look(NOW + YEARS, 0.0, TODAY)
    assert not belief.believes
    belief.look(NOW + YEARS, 1.0, TODAY + YEARS // DAY)
    assert belief.believes


def test_a_doubt_goes_on_after_a_restart_but_not_with_another_time() -> None:
    half = PATIENCE // 2
    belief = Belief(ClockNotes())
    belief.look(NOW + YEARS, 0.0, TODAY)
    belief.look(NOW + YEARS + half, half, TODAY)
    again, other = Belief(belief.notes), Belief(belief.notes)
    again.look(NOW + YEARS + half, 0.0, TODAY)
    again.look(NOW + YEARS + PATIENCE, half, TODAY)
    assert again.believes
    other.look(NOW + 2 * YEARS, 0.0, TODAY)
    other.look(NOW + 2 * YEARS + half, half, TODAY)
    assert not other.believes


def test_a_data_set_to_which_nothing_comes_any_more_still_forgets() -> None:
    belief = Belief(ClockNotes())
    belief.look(NOW, 0.0, TODAY)
    for month in range(1, 40):  # restarted every four weeks
        belief = Belief(belief.notes)
        belief.look(NOW + month * 28 * DAY, 0.0, TODAY)
        assert belief.believes


@given(
    st.lists(st.tuples(st.integers(0, YEARS), st.integers(0, 3 * DAY)), max_size=20),
    st.integers(-YEARS, YEARS),
)
def test_it_is_never_believed_far_from_all_that_is_known_at_once(
    looks: list[tuple[int, int]], start: int
) -> None:
    belief, monotonic = Belief(ClockNotes()), 0
    for ahead, passed in looks:
        monotonic += passed
        before, now = belief.notes, NOW + start + ahead
        belief.look(now, monotonic, TODAY)
        known = (before.believed, TODAY * DAY)
        near = any(one and -BEHIND_MAX <= now - one <= AHEAD_MAX for one in known)
        assert not belief.believes or near or monotonic >= PATIENCE


def test_the_file_remembers_it_and_the_aggregator_has_to_run_for_a_while(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    with Store(tmp_path / "a.duckdb") as store:
        empty = ClockBelief(store, clock, 3600)
        assert not empty.allows(clock.now()), "an empty file tells nothing"
        assert empty.line == ""
        store.commit(making.batch([CATALOG.raw, making.beat(CATALOG, 1)], CatalogBook()))
        belief = ClockBelief(store, clock, 3600)
        assert not belief.allows(clock.now())
        assert belief.believes()
        clock.advance(3600)
        assert belief.allows(clock.now())
    with Store(tmp_path / "a.duckdb") as store:
        with store.reading() as con:
            assert read_notes(con).believed >= NOW
        clock.advance(YEARS)
        belief = ClockBelief(store, clock, 0)
        assert not belief.allows(clock.now())
        assert "retention deletes nothing" in belief.line
        clock.advance(PATIENCE)
        assert belief.allows(clock.now()), "people were promised that what is over is deleted"
        assert store.expire(clock.now()).reports == 1

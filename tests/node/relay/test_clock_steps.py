"""A clock that jumps while a program runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.clock_steps import DOUBT, JUMP, ClockSteps

YEAR = 365 * 86_400


@pytest.mark.parametrize(
    ("jump", "words"), [(6 * YEAR, "2190 days forward"), (-YEAR, "365 days back")]
)
def test_a_jump_is_doubted_for_a_day(jump: int, words: str) -> None:
    steps = ClockSteps(1000, 0)
    assert not steps.look(1060, 60)
    assert steps.line() == ""
    assert steps.look(1120 + jump, 120)
    assert steps.line() == f"clock: it jumped {words}; nothing is deleted by it for a day"
    assert steps.look(1000 + jump + 119 + DOUBT, 119 + DOUBT)
    assert not steps.look(1000 + jump + 121 + DOUBT, 121 + DOUBT)
    assert steps.line() == ""


def test_a_clock_that_jumps_there_and_back_is_trusted_again_at_once() -> None:
    steps = ClockSteps(1000, 0)
    assert steps.look(1060 + YEAR, 60)
    assert not steps.look(1120, 120)


@given(st.lists(st.floats(-JUMP / 3, JUMP / 3), max_size=20))
def test_a_clock_that_is_set_by_little_is_never_doubted(errors: list[float]) -> None:
    steps = ClockSteps(1000, 0)
    for n, error in enumerate(errors):
        assert not steps.look(1000 + n * 600 + error, n * 600)

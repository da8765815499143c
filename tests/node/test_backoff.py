"""Waits between attempts double, stay within their bounds, and are not the same for everyone."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from methrics.node.backoff import Backoff


def test_waits_double_up_to_the_most() -> None:
    assert [Backoff(1.0, 10.0).wait(failures) for failures in range(6)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(0, 10**9), st.floats(0.1, 10.0), st.floats(10.0, 10**6), st.integers(0, 99))
def test_a_drawn_wait_lies_in_the_upper_half(
    failures: int, least: float, most: float, seed: int
) -> None:
    backoff = Backoff(least, most)
    wait = backoff.wait(failures)
    assert least <= wait <= most
    assert wait / 2 <= backoff.drawn(failures, random.Random(seed).random) <= wait


def test_two_that_wait_for_the_same_peer_draw_different_times() -> None:
    rng = random.Random(1).random
    assert len({Backoff(1.0, 60.0).drawn(3, rng) for _ in range(10)}) == 10

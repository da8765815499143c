"""A token bucket gives a burst and a rate, never more, and may be asked to go into debt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.token_bucket import TokenBucket

steps = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=40)


def test_a_full_bucket_gives_its_size_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, size=10.0, now=100.0)
    assert bucket.take(99, 100.0) == 10
    assert bucket.take(99, 100.4) == 0
    assert bucket.take(99, 103.0) == 6
    assert not bucket.is_full(103.0)
    assert bucket.is_full(108.0)
    assert bucket.take(99, 10_000.0) == 10


def test_spending_more_than_there_is_tells_how_long_to_wait() -> None:
    bucket = TokenBucket(rate=2.0, size=2.0, now=0.0)
    assert [bucket.spend(0.5, 0.0) for _ in range(4)] == [0.0] * 4
    assert bucket.spend(3.0, 0.0) == 1.5
    assert bucket.take(1, 1.0) == 0
    assert bucket.spend(0.0, 1.0) == pytest.approx(0.5)


@given(steps)
def test_no_more_is_taken_than_the_size_and_the_rate_allow(
    steps: list[tuple[float, int]],
) -> None:
    bucket, now, taken = TokenBucket(rate=1.0, size=60.0, now=0.0), 0.0, 0
    for pause, wanted in steps:
        now += pause
        given_now = bucket.take(wanted, now)
        assert 0 <= given_now <= wanted
        taken += given_now
    assert taken <= 60 + now + 1e-6


@given(steps)
def test_one_that_waits_as_told_stays_within_the_rate(steps: list[tuple[float, int]]) -> None:
    bucket, now, spent = TokenBucket(rate=3.0, size=3.0, now=0.0), 0.0, 0
    for pause, amount in steps:
        now += pause
        spent += amount
        now += bucket.spend(amount, now)
        assert spent <= 3.0 + 3.0 * now + 1e-6

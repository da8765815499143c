"""The limit per peer: fair over time, bounded in memory, and without peer ids in memory."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.limiter import Limiter, Names

NAMES = Names(b"k" * 32)


def limiter(per_minute: int = 60, capacity: int = 100) -> Limiter:
    return Limiter(per_minute=per_minute, capacity=capacity)


def test_a_burst_is_served_then_refilled_by_the_minute() -> None:
    limits = limiter()
    assert limits.take(b"peer", 80, now=0) == (60, 20)
    assert limits.take(b"peer", 10, now=0) == (0, 10)
    assert limits.take(b"peer", 10, now=5) == (5, 5)
    assert limits.take(b"other", 10, now=5) == (10, 0)


def test_whoever_comes_back_when_told_is_served() -> None:
    limits = Limiter(per_minute=7)
    limits.take(b"peer", 7, now=0)
    allowed = limits.take(b"peer", 64, now=0)
    assert allowed == (0, 60)
    assert limits.take(b"peer", 64, now=allowed.again).items == 7


def test_a_listed_peer_has_a_limit_of_its_own() -> None:
    limits = Limiter(per_minute=60, listed_per_minute=600)
    assert limits.take(b"entry", 1000, now=0, listed=True) == (600, 40)
    assert limits.take(b"peer", 1000, now=0).items == 60


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=40))
def test_no_peer_gets_more_than_a_burst_and_the_rate(steps: list[tuple[float, int]]) -> None:
    limits, now, given_out = limiter(), 0.0, 0
    for pause, wanted in steps:
        now += pause
        given_out += limits.take(b"peer", wanted, now).items
    assert given_out <= 60 + now + 1e-6


def test_attack_many_identities_do_not_grow_the_memory() -> None:
    limits = limiter(capacity=50)
    for number in range(1000):
        limits.take(NAMES.of(f"peer{number}"), 60, now=0)
    assert len(limits) <= 50


def test_quiet_peers_are_forgotten() -> None:
    limits = limiter()
    for number in range(20):
        limits.take(NAMES.of(f"peer{number}"), 60, now=0)
    limits.take(b"late", 1, now=61)
    assert len(limits) == 1


@pytest.mark.shows("DEB-9")
def test_no_peer_id_stays_in_memory() -> None:
    limits = limiter()
    limits.take(NAMES.of("12D3KooW-somebody"), 1, now=0)
    kept = [*gc.get_referents(limits), *gc.get_referents(NAMES), *limits._buckets]
    assert "12D3KooW" not in repr(kept)

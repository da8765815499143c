"""The memory of the mix pool: no network gets over an eighth, and listed entries have their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.pool_shares import PoolShares, Submitter

DAY = 86_400.0


def stranger(number: int, origin: bytes = b"net") -> Submitter:
    return Submitter(number.to_bytes(16, "big"), origin)


def entry(number: int) -> Submitter:
    return Submitter(number.to_bytes(16, "big"), b"net", listed=True)


def test_attack_fresh_peers_of_one_network_get_one_eighth() -> None:
    shares = PoolShares(800_000, period=DAY)
    given_out = sum(shares.take(stranger(number), 1000, 2 * DAY, 0.0) for number in range(166))
    assert given_out == 100
    assert shares.take(stranger(1, b"other"), 1000, 2 * DAY, 0.0)


def test_attack_all_networks_together_do_not_overfill_the_pool() -> None:
    shares = PoolShares(80_000, period=DAY)
    for number in range(1000):
        shares.take(stranger(number, bytes([number % 20])), 1000, 2 * DAY, 0.0)
    assert shares.used == 80_000


def test_attack_strangers_do_not_take_the_share_of_a_listed_entry() -> None:
    shares = PoolShares(80_000, period=DAY, entries=2)
    for number in range(1000):
        shares.take(stranger(number, bytes([number % 20])), 1000, 2 * DAY, 0.0)
    assert shares.used == 40_000
    assert [shares.take(entry(1), 1000, 2 * DAY, 0.0) for _ in range(21)] == [True] * 20 + [False]
    assert all(shares.take(entry(2), 1000, 2 * DAY, 0.0) for _ in range(20))
    assert shares.used == 80_000


def test_bytes_stop_counting_when_all_of_their_period_have_left() -> None:
    shares = PoolShares(80_000, period=DAY)
    for number in range(10):
        assert shares.take(stranger(number), 1000, 2 * DAY, 0.0)
    assert not shares.take(stranger(99), 1000, 2 * DAY, 2 * DAY - 1)
    assert shares.next_end() == 2 * DAY
    assert shares.take(stranger(99), 1000, 4 * DAY, 2 * DAY)
    assert shares.used == 1000
    assert shares.next_end() == 4 * DAY


def test_what_was_not_pooled_after_all_does_not_count() -> None:
    shares = PoolShares(80_000, period=DAY)
    assert shares.take(stranger(1), 10_000, DAY, 0.0)
    shares.give(stranger(1), 10_000, DAY)
    assert shares.used == 0
    assert shares.take(stranger(2), 10_000, DAY, 0.0)
    shares.expire(DAY)
    assert (shares.used, shares.next_end()) == (0, None)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3000), st.floats(0, DAY / 3))))
def test_everything_that_counts_ends(steps: list[tuple[int, int, float]]) -> None:
    shares = PoolShares(80_000, period=DAY)
    now = 0.0
    for number, size, pause in steps:
        now += pause
        shares.take(stranger(number, bytes([number % 3])), size, now + 2 * DAY, now)
        assert shares.used <= 30_000
    shares.expire(now + 2 * DAY + DAY / 16)
    assert (shares.used, shares.next_end()) == (0, None)

"""A pool is shared by origin: a crowd of invented holders does not displace those of others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.shares import GRACE, Shares, Taken

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "give", "progress"]),
        st.integers(0, 30),
        st.integers(1, 6),
        st.floats(0, 10),
    ),
    max_size=120,
)


def origin_of(holder: int) -> bytes:
    return bytes([holder % 5])


def played(shares: Shares[int], operations: list[tuple[str, int, int, float]]) -> Shares[int]:
    """Apply the operations, and check after each what must hold; holders under 3 are listed."""
    now = 0.0
    amounts: dict[int, int] = {}
    for what, holder, amount, pause in operations:
        now += pause
        if what == "take":
            taken = shares.take(holder, origin_of(holder), now, amount, listed=holder < 3)
            assert taken.granted or not taken.evicted
            assert all(gone >= 3 and gone != holder for gone in taken.evicted)
            for gone in taken.evicted:
                del amounts[gone]
            if taken.granted:
                amounts[holder] = amounts.get(holder, 0) + amount
        elif what == "give":
            shares.give(holder, amount)
            amounts[holder] = max(0, amounts.get(holder, 0) - amount)
        else:
            shares.progress(holder, 100.0 * amount, now)
        amounts = {name: held for name, held in amounts.items() if held}
        assert {name: shares.held(name) for name in amounts} == amounts
        assert shares.used == sum(amounts.values())
        assert len(shares) == len(amounts)
    return shares


@given(OPERATIONS)
def test_a_pool_never_gives_more_than_it_has(
    operations: list[tuple[str, int, int, float]],
) -> None:
    shares = played(Shares(24, per_holder=8, reserve=6), operations)
    assert shares.used <= 24
    assert all(shares.held(holder) <= 8 for holder in range(31))
    assert sum(shares.held_by(bytes([one])) for one in range(5)) <= 18


@given(OPERATIONS)
def test_a_pool_that_cannot_evict_gives_no_origin_more_than_its_portion(
    operations: list[tuple[str, int, int, float]],
) -> None:
    shares = played(Shares(40, per_holder=8, portion=0.25, evicts=False, reserve=4), operations)
    assert shares.portion == 9
    assert all(shares.held_by(bytes([one])) <= 9 for one in range(5))


def filled(origins: int, each: int, **settings: float) -> Shares[str]:
    """A full pool: `each` holders of one unit from each of `origins`."""
    shares: Shares[str] = Shares(origins * each, per_holder=1, **settings)  # type: ignore[arg-type]
    for origin in range(origins):
        for number in range(each):
            assert shares.take(f"{origin}/{number}", bytes([origin]), 0.0) == Taken(True)
    return shares


def test_whoever_comes_first_may_take_all_while_there_is_room() -> None:
    shares = filled(1, 64)
    assert shares.used == 64
    assert shares.held_by(b"\0") == 64


def test_a_newcomer_gets_a_place_of_the_largest_origin() -> None:
    shares: Shares[str] = Shares(8, per_holder=1)
    for number in range(6):
        shares.take(f"crowd{number}", b"crowd", 0.0)
        shares.progress(f"crowd{number}", 1000.0 * (1 + (number - 3) ** 2), 0.0)
    shares.take("pair0", b"pair", 0.0)
    shares.take("pair1", b"pair", 0.0)
    assert shares.take("new", b"new", 1.0) == Taken(True, ("crowd3",))
    assert shares.take("new2", b"new", 1.0).evicted[0].startswith("crowd")


@pytest.mark.parametrize("busy", [True, False])
def test_attack_a_crowd_of_one_origin_only_displaces_itself(busy: bool) -> None:
    """Eight networks share a pool. 300 invented peers of one of them cost the others nothing."""
    shares = filled(8, 8)
    for origin in range(8):
        for number in range(8):
            shares.progress(f"{origin}/{number}", 1e6 if origin else 1.0, 100.0)
    evicted: list[str] = []
    for number in range(300):
        now = 100.0 + number / 10
        evicted += shares.take(f"crowd{number}", b"\0", now).evicted
        if busy:
            shares.progress(f"crowd{number}", 1e5, now)
    assert len(evicted) >= 8, "its own idle holders had to go"
    assert all(name.startswith(("0/", "crowd")) for name in evicted)


def test_attack_holders_that_trickle_do_not_lock_a_newcomer_out() -> None:
    """40 peers at a byte a second hold all slots; who comes from elsewhere gets one each time."""
    shares: Shares[str] = Shares(40, per_holder=1)
    for number in range(40):
        shares.take(f"slow{number}", b"slow", 0.0)
    for second in range(60):
        for number in range(40):
            shares.progress(f"slow{number}", 1.0, float(second))
    for number in range(20):
        taken = shares.take(f"honest{number}", bytes([number]), 60.0)
        assert taken.granted
        assert taken.evicted[0].startswith("slow")


def test_attack_idle_holders_of_as_many_origins_as_places_make_room() -> None:
    shares = filled(64, 1)
    assert not shares.take("early", b"new", GRACE - 0.1).granted, "they may only be slow to start"
    assert shares.is_idle("3/0", GRACE)
    for origin in range(64):
        if origin != 3:
            shares.progress(f"{origin}/0", 1000.0, GRACE)
    assert shares.take("new", b"new", GRACE) == Taken(True, ("3/0",))
    assert not shares.take("newer", b"newer", GRACE).granted


def test_progress_of_the_past_fades() -> None:
    shares: Shares[str] = Shares(2, per_holder=1)
    shares.take("burst", b"a", 0.0)
    shares.progress("burst", 60_000.0, 0.0)
    assert not shares.is_idle("burst", GRACE)
    assert shares.is_idle("burst", 300.0)


def test_attack_strangers_do_not_take_the_reserve() -> None:
    shares: Shares[str] = Shares(16, per_holder=1, reserve=4)
    assert (
        sum(shares.take(f"s{number}", bytes([number]), 0.0).granted for number in range(16)) == 12
    )
    assert all(shares.take(f"entry{n}", b"e", 0.0, listed=True) == Taken(True) for n in range(4))
    taken = shares.take("entry4", b"e", 0.0, listed=True)
    assert taken.granted
    assert taken.evicted[0].startswith("s")
    assert not shares.take("s99", b"new", 0.0).granted, "the listed hold more than their reserve"
    idle = shares.take("s99", b"new", GRACE)
    assert idle.granted
    assert all(one.startswith("s") for one in idle.evicted)


def test_a_large_amount_displaces_as_many_as_it_needs_or_nobody() -> None:
    shares: Shares[str] = Shares(100, per_holder=60)
    for number in range(9):
        shares.take(f"crowd{number}", b"crowd", 0.0, 10)
    shares.take("pair", b"pair", 0.0, 10)
    taken = shares.take("new", b"new", 0.0, 30)
    assert taken.granted
    assert len(taken.evicted) == 3
    assert not shares.take("newer", b"newer", 0.0, 60).granted
    assert shares.used == 100


def test_what_was_given_back_can_be_taken_again() -> None:
    shares: Shares[str] = Shares(8, per_holder=8, evicts=False, portion=1)
    assert shares.take("one", b"a", 0.0, 8).granted
    assert not shares.take("one", b"a", 0.0).granted
    shares.give("one", 3)
    assert not shares.take("two", b"b", 0.0, 4).granted
    assert shares.take("two", b"b", 0.0, 3).granted
    shares.give("one")
    shares.give("nobody")
    assert "one" not in shares
    assert (shares.used, len(shares)) == (3, 1)


@pytest.mark.parametrize(
    "wrong", [{"capacity": 0}, {"per_holder": 0}, {"reserve": 8}, {"portion": 0}]
)
def test_a_pool_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Shares(**({"capacity": 8, "per_holder": 1} | wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Shares(8, per_holder=1).take("one", b"", 0.0, 0)

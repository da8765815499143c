"""A crowd's size in bits and in words, with wide intervals for small samples."""

from __future__ import annotations

from math import inf, log2, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.mine.trail.others import agreement, crowd, mask_of, sharing
from methrics.node.report.threshold.crowd import DAYS_MIN, Crowd, Z, interval, judged, lasting

totals = st.integers(0, 5_000_000)


@given(totals, st.data())
def test_bits_fall_as_the_crowd_grows(total: int, data: st.DataObject) -> None:
    small = data.draw(st.integers(0, total))
    large = data.draw(st.integers(small, total))
    assert Crowd(large, total).bits <= Crowd(small, total).bits
    if large > small:
        assert Crowd(large, total).bits < Crowd(small, total).bits
        assert Crowd(large, total).bounds[0] <= Crowd(small, total).bounds[0]
        assert Crowd(large, total).bounds[1] <= Crowd(small, total).bounds[1]


@given(totals, st.data())
def test_the_estimate_lies_within_its_bounds(total: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, total))
    one = Crowd(share, total)
    least, most = one.bounds
    assert 0 <= least <= one.bits + 1e-9
    assert one.bits <= most + 1e-9
    assert (most == inf) == (share == 0)


@given(st.integers(1, 100_000), st.data())
def test_more_data_leave_less_open(total: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, total))
    low, high = interval(share, total)
    lower, higher = interval(share * 10, total * 10)
    assert low <= share / total <= high
    assert higher - lower < high - low


@given(st.integers(1, 100_000), st.data())
def test_the_interval_is_wilsons(total: int, data: st.DataObject) -> None:
    """By definition, the observed share is Z standard errors away from each end, where the error is
    that at this end."""
    share = data.draw(st.integers(0, total))
    for end in interval(share, total):
        error = Z * sqrt(end * (1 - end) / total)
        assert abs(share / total - end) == pytest.approx(error, abs=1e-9)


def test_verdicts_are_words() -> None:
    assert Crowd(0, 2).verdict == "1 of 3 reports; stands out"
    assert Crowd(0, 2).bits == pytest.approx(log2(3))
    assert Crowd(1_203, 5_000, "people").verdict == "1,204 of 5,001 people; lost in the crowd"
    assert "nothing to compare with" in Crowd(0, 0).verdict
    assert [judged(size) for size in (1, 2, 9, 10, 99, 100)] == [
        "stands out",
        "nearly stands out",
        "nearly stands out",
        "one of a small group",
        "one of a small group",
        "lost in the crowd",
    ]


def test_silence_is_something_that_reports_share() -> None:
    names = ("a", "b", "c")
    assert agreement(names, {"a": 1}, {"a": 1, "b": None}) == 0b111
    assert agreement(names, {"a": 1}, {"a": 1, "b": "x"}) == 0b101
    assert agreement(names, {"a": True}, {"a": 1}) == 0b110, "True and 1 are different values"


@given(st.dictionaries(st.integers(0, 15), st.integers(1, 50), max_size=16))
def test_a_longer_combination_never_has_a_larger_crowd(overlap: dict[int, int]) -> None:
    names = ("a", "b", "c", "d")
    total = sum(overlap.values())
    assert sharing(overlap, 0) == total
    for end in range(4):
        shorter, longer = mask_of(names, names[:end]), mask_of(names, names[: end + 1])
        assert sharing(overlap, longer) <= sharing(overlap, shorter)
        assert crowd(overlap, longer).total == total


counts = st.lists(st.integers(1, 1000), max_size=9)


@given(counts, st.integers(1, 10**9))
def test_attack_no_flood_of_one_day_counts_for_more_than_an_ordinary_day(
    daily: list[int], flood: int
) -> None:
    after = lasting([*daily, flood])
    usual = sorted(daily, reverse=True)[DAYS_MIN - 2 :]
    assert after <= sum(min(one, usual[0]) for one in daily) + usual[0] if usual else after == 0


@given(counts)
def test_reports_count_once_at_most_and_only_if_they_last(daily: list[int]) -> None:
    assert 0 <= lasting(daily) <= sum(daily)
    assert (lasting(daily) > 0) == (len(daily) >= DAYS_MIN)


@given(counts, st.integers(1, 1000))
def test_more_reports_never_make_a_crowd_smaller(daily: list[int], more: int) -> None:
    assert lasting([*daily, more]) >= lasting(daily)


def test_attack_the_cheapest_invented_crowd_needs_reports_on_three_days() -> None:
    """All ways to spread 30 invented reports over days: which of them make a crowd of 25?"""
    spread = [
        (one, two, three)
        for one in range(31)
        for two in range(31 - one)
        for three in [30 - one - two]
    ]
    enough = [days for days in spread if lasting(filter(None, days)) >= 25]
    assert all(min(days) >= 9 for days in enough)
    assert (10, 10, 10) in enough
    assert lasting([24, 1]) == lasting([10**6]) == 0
    assert (lasting([10**6, 1, 1]), lasting([9, 9, 9]), lasting([5] * 5)) == (3, 27, 25)

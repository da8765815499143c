"""A crowd's size in bits and in words, with wide intervals for small samples."""

from __future__ import annotations

from math import inf, log2, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.mine.trail.others import agreement, crowd, mask_of, sharing
from methrics.node.report.threshold.crowd import Crowd, Z, interval, judged

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

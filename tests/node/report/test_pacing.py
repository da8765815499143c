"""Reports are never made sooner than declared; times are drawn once, and survive a restart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.report.pacing import EVERY_MIN, next_due
from methrics.node.spool.due import DELAY_MIN, event_due
from methrics.schema.catalog.event_type import Release

SPANS = st.integers(min_value=0, max_value=10**7)
NOW = 1_800_000_000
EDGE = 1 - 2**-53


@pytest.mark.shows("METH-14")
@given(SPANS, SPANS, st.floats(min_value=0, max_value=EDGE))
def test_an_event_waits_its_delay_and_at_most_the_jitter(
    delay: int, jitter: int, drawn: float
) -> None:
    waited = event_due(Release(delay, None, jitter), NOW, lambda: drawn) - NOW
    assert max(delay, DELAY_MIN) <= waited <= max(delay, DELAY_MIN) + jitter


@pytest.mark.shows("MARS-8", "MARS-13", "MIM-7")
@given(SPANS, SPANS, SPANS, st.randoms(use_true_random=False), SPANS)
def test_the_next_report_lies_in_the_declared_range(
    least: int, more: int, jitter: int, rng: random.Random, ago: int
) -> None:
    release = Release(300, (least, least + more), jitter)
    last = NOW - ago
    waited = next_due(release, NOW, rng.random, last) - last
    low, high = max(EVERY_MIN, least), max(EVERY_MIN, least + more)
    assert low <= waited <= high + jitter


@pytest.mark.shows("MARS-8")
def test_both_ends_of_the_range_are_reached_and_each_draw_is_new() -> None:
    release = Release(300, (3 * 86_400, 10 * 86_400), 0)
    assert next_due(release, NOW, lambda: 0.0, NOW) == NOW + 3 * 86_400
    assert next_due(release, NOW, lambda: EDGE, NOW) == NOW + 10 * 86_400
    rng = random.Random(7)
    assert len({next_due(release, NOW, rng.random, NOW) for _ in range(50)}) > 45


@pytest.mark.shows("MIM-7")
def test_the_first_one_waits_for_the_delay_only() -> None:
    assert next_due(Release(600, (9999, 99999), 0), NOW, lambda: 0.5, None) == NOW + 600


def test_a_clock_set_back_silences_no_type() -> None:
    release = Release(300, (86_400, 86_400), 0)
    assert next_due(release, NOW, lambda: 0.0, NOW + 10**9) == NOW + 86_400


def test_types_without_an_interval_are_free_at_once() -> None:
    assert next_due(Release(300, None, 0), NOW, lambda: 0.0, NOW - 5) <= NOW

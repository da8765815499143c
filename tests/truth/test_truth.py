"""Compares views with the truth: they must be exact, or their interval must contain the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

import pytest
from truth_queries import ANSWERS, EXACT, EXEMPT, LOOSE, VALUES
from truth_worlds import World

from methrics.schema.wire.verdict import Reason

pytestmark = pytest.mark.slow

HONEST = ("honest-1", "honest-2", "honest-3")

Get = Callable[[str], World]
Rows = list[tuple[Any, ...]]


def view(world: World, name: str) -> Rows:
    return world.data.rows(f"FROM {name}")


def text(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))


def test_every_view_has_a_truth_or_says_why_not(world: Get) -> None:
    compared = [*EXACT, *VALUES, *ANSWERS]
    assert len(compared) == len(set(compared))
    assert set(world("honest-1").data.views()) == {*compared, *EXEMPT}
    assert not set(compared) & set(EXEMPT)
    assert all(len(why) > 20 for why in EXEMPT.values())


@pytest.mark.parametrize("seed", HONEST)
def test_in_an_honest_world_all_is_told_in_the_end(world: Get, seed: str) -> None:
    truth = world(seed).truth
    assert truth.one("SELECT count(*) FROM unsent") == 0
    assert truth.one("SELECT count(*) FROM report WHERE fate <> 'stored'") == 0
    assert truth.one("SELECT count(*) FROM beats") > 500


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("seed", HONEST)
def test_view_is_exactly_the_truth(world: Get, seed: str, name: str) -> None:
    found, true = view(world(seed), name), world(seed).truth.rows(EXACT[name])
    assert found or name == "refusals"
    if name not in LOOSE:
        assert text(found) == text(true)
        return
    column, most = LOOSE[name][0], world(seed).truth.one(LOOSE[name][1])
    assert off(found, true, column) <= most


def off(found: Rows, true: Rows, column: int) -> int:
    """The summed differences of the counts in `column`; the columns before it are the key."""
    left = {row[:column]: row[column] for row in found}
    right = {row[:column]: row[column] for row in true}
    return sum(abs(left.get(key, 0) - right.get(key, 0)) for key in left.keys() | right.keys())


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("seed", HONEST)
def test_true_quantiles_lie_in_their_bounds(world: Get, seed: str, name: str) -> None:
    values: dict[str, list[float]] = {}
    for about, value in world(seed).truth.rows(VALUES[name]):
        values.setdefault(about, []).append(value)
    found = view(world(seed), name)
    assert {(row[0], row[2]) for row in found} == {(one, q) for one in values for q in (50, 90)}
    for about, count, quantile, low, estimate, high in found:
        own = sorted(values[about])
        assert count == len(own)
        true = own[ceil(count * quantile / 100) - 1]
        assert low is None or low <= true
        assert high is None or true < high
        assert estimate is None or low <= estimate <= high


@pytest.mark.parametrize("name", ANSWERS)
def test_intervals_of_random_answers_hold_the_truth(world: Get, name: str) -> None:
    held, errors, widths = [], [], []
    for seed in (*HONEST, "sampled"):
        true = {row[:3]: row[3] for row in world(seed).truth.rows(ANSWERS[name])}
        for period, field, value, reports, estimate, low, high in view(world(seed), name):
            n = true.get((period, field, value), 0)
            assert 0 <= low <= estimate <= high <= reports
            held.append(low <= n <= high)
            errors.append(estimate - n)
            widths.append((high - low) / reports)
    assert len(held) >= 40
    # The view promises 95 %. Of 40 independent intervals, 6 or more miss in 1 of 70 populations.
    assert sum(held) >= len(held) - 5
    # The intervals are narrow enough to be useful.
    assert sum(widths) / len(widths) < 0.8
    assert any(errors), "nothing was random"


def test_intervals_of_sampled_events_hold_the_truth(world: Get) -> None:
    sampled = world("sampled")
    true = dict(sampled.truth.rows("SELECT day, count(*) FROM signins GROUP BY day"))
    found = view(sampled, "example.signin_events")
    # A day without a sampled event has no row, and so no interval.
    held = [low <= true[day] <= high for day, _, _, low, high in found]
    assert len(held) >= 30
    assert sum(held) >= 0.85 * len(held)
    drawn = sum(row[1] for row in found)
    events, all_of_them = sum(row[2] for row in found), sum(true.values())
    assert events == 5 * drawn
    assert abs(events - all_of_them) <= 1.96 * (5 * 4 * drawn) ** 0.5
    sessions = view(sampled, "example.signin_sessions")
    assert sum(row[1] for row in sessions) == events
    whole = [row for row in view(sampled, "example.signin_funnel") if row[0] == ""]
    assert {row[4] for row in whole} == {events}


LOWER = {
    "example.heartbeat_dau": (1, 1),
    "example.heartbeat_wau": (1, 1),
    "example.heartbeat_mau": (1, 1),
    "example.heartbeat_platform_shares": (3, 3),
    "example.heartbeat_coverage": (1, 1),
    "example.assistive_mau": (1, 1),
    "example.signin_sessions": (1, 1),
    "example.signin_funnel": (3, 3),
    "example.signin_report_shares": (3, 3),
    "example.module_counts": (3, 4),
}
"""Views with lower bounds: the number of key columns, and the column with the count."""


@pytest.mark.parametrize("name", LOWER)
def test_what_is_lost_only_ever_lowers_a_count(world: Get, name: str) -> None:
    lossy, (keys, column) = world("lossy"), LOWER[name]
    true = {row[:keys]: row[column] for row in lossy.truth.rows(EXACT[name])}
    found = {row[:keys]: row[column] for row in view(lossy, name)}
    assert found.keys() <= true.keys()
    assert all(found[key] <= true[key] for key in found)
    assert 0.6 * sum(true.values()) < sum(found.values()) < sum(true.values())


def test_every_active_day_is_told_lost_or_known_to_be_untold(world: Get) -> None:
    truth = world("lossy").truth
    fates = truth.rows(
        """
        WITH told AS (
            SELECT install, time::DATE AS day, any_value(fate) AS fate, count(*) AS n
            FROM report WHERE type = 'heartbeat' GROUP BY ALL
        ),
        left_over AS (SELECT DISTINCT install, day FROM unsent WHERE type = 'heartbeat')
        SELECT coalesce(t.fate, CASE WHEN u.day IS NOT NULL THEN 'unsent' ELSE 'nowhere' END),
            count(*), max(t.n)
        FROM beats b
        LEFT JOIN told t USING (install, day)
        LEFT JOIN left_over u USING (install, day)
        GROUP BY ALL"""
    )
    by_fate = {fate: n for fate, n, _ in fates}
    assert set(by_fate) == {"stored", "lost", "unsent"}
    assert {most for _, _, most in fates} == {1, None}, "each day is told once"
    assert by_fate["stored"] > 0.75 * sum(by_fate.values())
    told = truth.one("SELECT count(*) FROM report WHERE type = 'heartbeat'")
    assert told == by_fate["stored"] + by_fate["lost"], "nobody tells of a day that was not"


def test_forgers_replayers_and_squatters_change_no_number(world: Get) -> None:
    """Reports of flooders are counted like real ones; the other attackers only cause refusals."""
    attacked = world("attacked")
    flood = attacked.truth.one("SELECT sum(items) FROM attack WHERE kind = 'flood'")
    assert flood == 25 * 5
    kinds = {row[0] for row in attacked.truth.rows("SELECT DISTINCT kind FROM attack")}
    assert kinds >= {"flood", "forge", "poison", "replay", "squat"}
    true = sum(row[1] for row in attacked.truth.rows(EXACT["example.heartbeat_dau"]))
    found = sum(row[1] for row in view(attacked, "example.heartbeat_dau"))
    assert found == true + flood
    # A spoiled bundle delays its reports by some hours, because a second relay has them too.
    late = {one for one in EXACT if one.endswith("_arrivals")}
    untouched = {one for one in EXACT if "heartbeat" not in one and "." in one} - late
    for name in sorted(untouched - set(LOOSE)):
        assert text(view(attacked, name)) == text(attacked.truth.rows(EXACT[name])), name
    assert attacked.data.rows("SELECT DISTINCT schema FROM reports_per_day") == [("example",)]


def test_refusals_are_those_of_the_attacks(world: Get) -> None:
    attacked = world("attacked")
    rows = view(attacked, "refusals")
    assert text(rows) == text(attacked.truth.rows(EXACT["refusals"]))
    reasons = {row[1] for row in rows}
    assert reasons >= {Reason.FORGED, Reason.DUPLICATE, Reason.UNLISTED}

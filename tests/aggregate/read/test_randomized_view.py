"""The view `randomized`: compared with the same formula in numpy, and over many trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, floor
from pathlib import Path
from typing import Any

import pytest
import view_making as making
from catalog_text import TYPE
from tests.needed import need
from view_making import MONDAY, later

from methrics.aggregate.read.dataset import Dataset

np = need("numpy")

Z = 1.959964
RANDOM = f"""
[catalog]
label = "test"
contact = "https://example.org"

[types.answer]
kind = "state"
chart = "bar:tool"
one_in = [1, 10]
release = {{delay = 600, jitter = 600, every = [86400, 172800]}}
{TYPE}

[types.answer.fields]
tool = {{type = "enum", values = ["a", "b", "c"], says = "Tool.", randomize = {{epsilon = 1}}}}
loud = {{type = "flag", says = "Loud.", randomize = {{epsilon = 0.5}}}}
size = {{type = "bucket", edges = [1, 2], unit = "GB", says = "Size.", randomize = {{epsilon = 3}}}}
monthly = {{type = "flag", source = "first_of_month", says = "First this month."}}
"""
WEEKLY = RANDOM.replace("first_of_month", "first_of_week")


@dataclass
class Group:
    """`reports` of one catalog and sampling rate, `count` of them with the value."""

    epsilon: float | None
    domain: int
    count: Any
    reports: Any
    one_in: int = 1


def mirror(groups: Sequence[Group], less: int = 0) -> tuple[Any, Any, Any]:
    """Estimate, low and high of one value, as views/randomized.sql works them out."""
    sampled = any(one.one_in > 1 for one in groups)
    most = np.inf if sampled else sum(one.reports + less for one in groups)
    estimate, low, high = (np.clip(end, 0, most) for end in unclipped(groups, less))
    return estimate, low, high


def unclipped(groups: Sequence[Group], less: int = 0) -> tuple[Any, Any, Any]:
    """The same before estimates are limited to possible values, as in theory."""
    estimate = low = high = variance = lean = weight = 0.0
    for one in groups:
        e = exp(one.epsilon) if one.epsilon is not None else float("inf")
        p, q = (e / (e + one.domain - 1), 1 / (e + one.domain - 1)) if e < float("inf") else (1, 0)
        d, n, c, w = p - q, one.reports, one.count, one.one_in
        spread, slope = q * (1 - q) / d**2, (1 - p - q) / d
        likely = (c + less / 2 - (n + less / 2) * q) / d
        estimate = estimate + w * likely
        low = low + w * (c - (n + less) * q) / d
        high = high + w * (c + less - n * q) / d
        variance = variance + w * ((n + less) * spread + slope * likely)
        z1, z0 = (1 - q) / d, -q / d
        variance = variance + w * (w - 1) * (c * z1**2 + (n + less - c) * z0**2)
        lean = lean + n * w * (slope + (w - 1) * (1 + slope))
        weight = weight + n * w
    lean = lean / weight
    middle = Z**2 * lean / 2
    width = np.sqrt(middle**2 + Z**2 * np.maximum(variance, 0))
    return estimate, low + middle - width, high + middle + width


def rounded(found: tuple[Any, Any, Any]) -> tuple[int, int, int]:
    estimate, low, high = map(float, found)
    return floor(estimate + 0.5), floor(low), ceil(high)


def answers(column: str, counts: dict[Any, int], **more: Any) -> list[making.Row]:
    row = {"day": MONDAY, "monthly": True, **more}
    return [{**row, column: value} for value, n in counts.items() for _ in range(n)]


def shown(data: Dataset, field: str) -> dict[str, tuple[int, ...]]:
    query = "SELECT value, reports, estimate, low, high FROM test.answer_randomized WHERE field = ?"
    return {row[0]: row[1:] for row in data.rows(query, [field])}


TOOLS = {"a": 420, "b": 131, "c": 230, "other": 205}


def test_the_view_is_the_mirror(tmp_path: Path) -> None:
    rows = answers("tool", TOOLS)
    rows += answers("loud", {True: 300, False: 411})
    rows += answers("size", {0: 33, 1: 700, 2: 4})
    rows += answers("tool", {"a": 999}, monthly=False)
    path = tmp_path / "a.duckdb"
    with making.make(path, {"answer": rows}, [making.catalog(RANDOM)], floor=1) as data:
        found = {field: shown(data, field) for field in ("tool", "loud", "size")}
        assert set(data.rows("SELECT DISTINCT period FROM test.answer_randomized")) == {(MONDAY,)}
    assert found["tool"] == {
        value: (986, *rounded(mirror([Group(1, 4, count, 986)]))) for value, count in TOOLS.items()
    }
    assert found["loud"] == {
        value: (711, *rounded(mirror([Group(0.5, 2, count, 711)])))
        for value, count in (("no", 411), ("yes", 300))
    }
    assert found["size"] == {
        value: (737, *rounded(mirror([Group(3, 3, count, 737)])))
        for value, count in (
            ("under 1 GB", 33),
            ("1 to under 2 GB", 700),
            ("2 GB or more", 4),
        )
    }


def test_catalogs_and_sampling_rates_are_counted_each_by_its_own_chances(tmp_path: Path) -> None:
    first = making.catalog(RANDOM)
    changed = RANDOM.replace(
        '"c"], says = "Tool.", randomize = {epsilon = 1}',
        '"c", "d"], says = "Tool.", randomize = {epsilon = 2}',
    )
    second = making.catalog(changed, first)
    plain = RANDOM.replace(', says = "Tool.", randomize = {epsilon = 1}', ', says = "Tool."')
    catalogs = [first, second, making.catalog(plain, second)]
    rows = [
        *answers("tool", TOOLS),
        *answers("tool", {"a": 50, "c": 30}, one_in=10),
        *answers("tool", {"a": 90, "d": 40, "b": 7}, catalog=2),
        *answers("tool", {"a": 20, "other": 3}, catalog=3),
    ]
    path = tmp_path / "a.duckdb"
    with making.make(path, {"answer": rows}, catalogs, floor=1) as data:
        found = shown(data, "tool")
        # The newest catalog does not randomize, but the older answers are never shown as true.
        assert "test.answer_platform_shares" not in data.views()
    assert found["a"][1:] == rounded(
        mirror(
            [
                Group(1, 4, 420, 986),
                Group(1, 4, 50, 80, 10),
                Group(2, 5, 90, 137),
                Group(None, 4, 20, 23),
            ]
        )
    )
    assert found["d"][1:] == rounded(mirror([Group(2, 5, 40, 137)]))
    assert found["b"][1:] == rounded(
        mirror(
            [
                Group(1, 4, 131, 986),
                Group(1, 4, 0, 80, 10),
                Group(2, 5, 7, 137),
                Group(None, 4, 0, 23),
            ]
        )
    )
    assert found["a"][0] == 986 + 80 + 137 + 23


@pytest.mark.parametrize(("epsilon", "domain"), [(0.5, 2), (1.0, 6), (3.0, 40)])
def test_the_estimates_undo_the_chances_of_all_values_at_once(epsilon: float, domain: int) -> None:
    rng = np.random.default_rng(domain)
    counts = rng.integers(0, 900, domain)
    e = exp(epsilon)
    chances = np.full((domain, domain), 1 / (e + domain - 1))
    np.fill_diagonal(chances, e / (e + domain - 1))
    whole = int(counts.sum())
    found = [unclipped([Group(epsilon, domain, int(count), whole)])[0] for count in counts]
    assert np.allclose(found, np.linalg.solve(chances, counts))
    assert np.isclose(sum(found), whole)


def test_weeks_are_counted_where_months_are_not_marked(tmp_path: Path) -> None:
    rows = [
        *answers("tool", TOOLS, day=later(9)),
        *answers("tool", {"a": 70}, day=later(14)),
    ]
    path = tmp_path / "a.duckdb"
    with making.make(path, {"answer": rows}, [making.catalog(WEEKLY)], floor=1) as data:
        found = data.rows(
            "SELECT period, reports, estimate FROM test.answer_randomized WHERE value = 'a'"
        )
    first, second = (
        rounded(mirror([Group(1, 4, count, n)]))[0] for count, n in ((420, 986), (70, 70))
    )
    assert found == [(later(7), 986, first), (later(14), 70, second)]


def test_an_interval_holds_whatever_the_floor_hides(tmp_path: Path) -> None:
    counts = {"a": 420, "b": 9, "c": 230, "other": 205}
    path = tmp_path / "a.duckdb"
    catalogs = [making.catalog(RANDOM)]
    with making.make(path, {"answer": answers("tool", counts)}, catalogs, floor=1) as data:
        exact = shown(data, "tool")
    with making.make(tmp_path / "b.duckdb", {"answer": answers("tool", counts)}, catalogs) as data:
        floored = shown(data, "tool")
        few = data.rows("SELECT count(*) FROM test.answer_randomized WHERE reports < 10")
    assert few == [(0,)]
    for value, (_, estimate, low, high) in exact.items():
        reports, near, lowest, highest = floored[value]
        count = counts[value] - counts[value] % 10
        assert (reports, near, lowest, highest) == (
            860,
            *rounded(mirror([Group(1, 4, count, 860)], less=9)),
        )
        assert lowest <= low <= estimate <= high <= highest
        assert abs(near - estimate) < 25


def test_nobody_and_more_than_all_are_shown_as_none_and_all(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    rows = answers("tool", {"a": 100})
    with making.make(path, {"answer": rows}, [making.catalog(RANDOM)], floor=1) as data:
        found = shown(data, "tool")
    assert found["a"] == (100, 100, 100, 100)
    assert found["b"] == (100, 0, 0, 0)


def answers_of(
    rng: np.random.Generator, trials: int, true: int, installs: int, group: Group
) -> tuple[Any, Any]:
    """Per trial, after sampling: how many of `installs` answer the value that `true` of them have,
    and how many answer at all."""
    e = exp(group.epsilon or 0)
    p, q = e / (e + group.domain - 1), 1 / (e + group.domain - 1)
    having = rng.binomial(true, 1 / group.one_in, trials)
    others = rng.binomial(installs - true, 1 / group.one_in, trials)
    return rng.binomial(having, p) + rng.binomial(others, q), having + others


@pytest.mark.parametrize("domain", [2, 6, 30, 250])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.4, 1.0])
@pytest.mark.parametrize("one_in", [1, 10])
def test_the_estimate_is_unbiased_and_its_interval_holds_the_truth_in_95_of_100_trials(
    domain: int, epsilon: float, share: float, one_in: int
) -> None:
    installs, trials = 20_000, 4000
    true = int(installs * share)
    rng = np.random.default_rng([domain, int(10 * epsilon), true, one_in])
    group = Group(epsilon, domain, 0, 0, one_in)
    group.count, group.reports = answers_of(rng, trials, true, installs, group)
    estimate, low, high = unclipped([group])
    error = estimate - true
    spread = error.std()
    assert abs(error.mean()) < 4 * spread / trials**0.5
    inside = ((low <= true) & (true <= high)).mean()
    assert 0.93 < inside < 0.97
    # Limits to possible values lose nothing: the truth is always possible.
    _, least, most = mirror([group])
    assert ((least <= true) & (true <= most)).mean() >= inside


def test_small_groups_and_rare_values_keep_their_promise() -> None:
    for installs, true in ((50, 1), (50, 25), (200, 3), (1000, 0), (1000, 1)):
        rng = np.random.default_rng(installs + true)
        group = Group(1.0, 6, 0, 0)
        group.count, group.reports = answers_of(rng, 20_000, true, installs, group)
        _, low, high = unclipped([group])
        inside = ((low <= true) & (true <= high)).mean()
        assert 0.93 < inside < 0.97, (installs, true, inside)

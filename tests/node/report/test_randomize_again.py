"""Responses to one question with several epsilons compose: together they reveal the largest one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import exp, nextafter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import field_of

from methrics.node.report.randomize import DRAW_BITS, replaced, respond
from methrics.schema.catalog.chance import DRAWS, chances, shares
from methrics.schema.catalog.fields import EPSILON_MAX, EPSILON_MIN, Field

NAMESPACE = bytes(range(32))
epsilons = st.integers(EPSILON_MIN, EPSILON_MAX)


def tool(epsilon: int, values: int) -> Field:
    words = [f"v{n}" for n in range(values - 1)]
    wire = {"name": "tool", "type": "enum", "says": "Which.", "values": words, "randomize": epsilon}
    return field_of(wire)


def answer(epsilon: int, values: int, truth: str, n: int) -> Any:
    seed = n.to_bytes(32, "big")
    return respond(tool(epsilon, values), truth, seed=seed, namespace=NAMESPACE, type="kind")


def stays(epsilon: int, values: int) -> int:
    honest, other = shares(values, epsilon)
    return honest - other


Channel = list[list[Fraction]]


def channel(stay: Fraction, values: int) -> Channel:
    """Row: the value before; column: the value after. With probability 1 - `stay`, the value is
    replaced by one of all."""
    rest = (1 - stay) / values
    return [[rest + (stay if a == b else 0) for b in range(values)] for a in range(values)]


def product(one: Channel, two: Channel) -> Channel:
    size = range(len(one))
    return [[sum((one[a][m] * two[m][b] for m in size), Fraction(0)) for b in size] for a in size]


# -- the model, in exact fractions ---------------------------------------------------------------


@given(st.integers(2, 40), epsilons)
def test_to_keep_or_replace_is_randomized_response_with_exactly_the_declared_shares(
    values: int, epsilon: int
) -> None:
    honest, other = shares(values, epsilon)
    row = channel(Fraction(honest - other, DRAWS), values)[0]
    assert row[0] == Fraction(honest, DRAWS)
    assert set(row[1:]) == {Fraction(other, DRAWS)}


@given(st.integers(2, 6), epsilons, epsilons)
def test_a_smaller_epsilon_is_the_larger_one_randomized_again(
    values: int, one: int, two: int
) -> None:
    """(p1 - q1)(p2 - q2) = p - q, exactly."""
    small, large = sorted((one, two))
    first, last = Fraction(stays(large, values)), Fraction(stays(small, values))
    again = channel(last / first, values)
    assert product(channel(first / DRAWS, values), again) == channel(last / DRAWS, values)


def test_all_answers_of_five_catalogs_reveal_what_the_first_one_does() -> None:
    """All outcomes enumerated: no sequence of answers changes the odds by more than e^epsilon."""
    values, steps = 3, [1000, 999, 900, 500, 100]
    levels = [Fraction(stays(epsilon, values), DRAWS) for epsilon in steps]
    first = channel(levels[0], values)
    later = [channel(b / a, values) for a, b in itertools.pairwise(levels)]
    worst = Fraction(0)
    for outcome in itertools.product(range(values), repeat=len(steps)):
        moves = itertools.pairwise(outcome)
        chance = Fraction(1)
        for move, (a, b) in zip(later, moves, strict=True):
            chance *= move[a][b]
        odds = [first[truth][outcome[0]] * chance for truth in range(values)]
        worst = max(worst, max(odds) / min(odds))
    assert worst == first[0][0] / first[0][1]
    assert worst <= Fraction(nextafter(exp(1.0), 3))


# -- the code follows the model ------------------------------------------------------------------


@given(
    st.integers(2, 9),
    st.lists(epsilons, min_size=2, max_size=6, unique=True),
    st.lists(st.tuples(st.integers(0, DRAWS - 1), st.integers(0, 1 << 400)), min_size=60),
)
def test_one_process_is_read_at_each_epsilon(
    values: int, chosen: list[int], drawn: list[tuple[int, int]]
) -> None:
    """Replacements come in order; what an epsilon shows is the last one before it."""
    words = [f"v{n}" for n in range(values)]
    drawn = [*drawn, *[(0, 0)]]
    point, points = Fraction(1), []
    for part, lot in drawn:
        point *= Fraction(part, DRAWS)
        points.append((point, words[lot % values]))
    for epsilon in chosen:
        level = Fraction(stays(epsilon, values), DRAWS)
        before = [value for point, value in points if point >= level]
        expected = before[-1] if before else "truth"
        found = replaced("truth", words, stays(epsilon, values), drawn.__getitem__)
        assert found == expected


def test_the_first_point_alone_decides_whether_the_truth_stays() -> None:
    """So the share of true answers is a whole number of 2^-64, as `shares` has it."""
    level = stays(1000, 6)
    assert DRAW_BITS == 64

    def draws(first: int) -> Any:
        return [(first, 5), (0, 0)].__getitem__

    words = [f"v{n}" for n in range(6)]
    assert replaced("truth", words, level, draws(level - 1)) == "truth"
    assert replaced("truth", words, level, draws(level)) == "v5"


def chi_square(found: Counter[Any], expected: dict[Any, float]) -> float:
    assert set(found) <= set(expected)
    return sum((found[key] - mean) ** 2 / mean for key, mean in expected.items())


@pytest.mark.parametrize(
    ("values", "steps"),
    [(2, (1000, 999)), (2, (3000, 200)), (3, (2000, 1000, 300)), (6, (100, 5000))],
)
def test_answers_to_several_epsilons_come_together_as_often_as_they_should(
    values: int, steps: Sequence[int]
) -> None:
    count, truth = 12_000, "v0"
    words = sorted([*(f"v{n}" for n in range(values - 1)), "other"])
    found = Counter(
        tuple(answer(epsilon, values, truth, n) for epsilon in steps) for n in range(count)
    )
    order = sorted(range(len(steps)), key=lambda place: -steps[place])
    expected = {}
    for outcome in itertools.product(words, repeat=len(steps)):
        level, value, chance = Fraction(1), truth, Fraction(1)
        for place in order:
            below = Fraction(stays(steps[place], values), DRAWS)
            move = channel(below / level, values)
            chance *= move[words.index(value)][words.index(outcome[place])]
            level, value = below, outcome[place]
        expected[outcome] = float(chance * count)
    rare = {outcome for outcome, mean in expected.items() if mean < 5}
    merged = Counter({key: n for key, n in found.items() if key not in rare})
    means = {key: mean for key, mean in expected.items() if key not in rare}
    if rare:
        merged["rare"] = sum(found[key] for key in rare)
        means["rare"] = sum(expected[key] for key in rare)
    freedom = len(means) - 1
    assert chi_square(merged, means) < freedom + 5 * (2 * freedom) ** 0.5


def lowered() -> Iterator[int]:
    """Sixty catalogs, each with an epsilon that is smaller by 0.001."""
    return iter(range(1000, 940, -1))


@pytest.mark.parametrize("values", [2, 6])
def test_attack_sixty_catalogs_with_ever_smaller_epsilons_learn_no_more_than_one(
    values: int,
) -> None:
    count, right, kinds = 1500, 0, Counter[int]()
    for n in range(count):
        said = [answer(epsilon, values, "v0", n) for epsilon in lowered()]
        right += Counter(said).most_common(1)[0][0] == "v0"
        kinds[len(set(said))] += 1
    once, _ = chances(tool(1000, values))
    spread = 4 * (once * (1 - once) / count) ** 0.5
    assert abs(right / count - once) < spread, "a vote of all answers is right as often as one"
    assert kinds[1] > 0.9 * count, "most installs give all sixty the same answer"


def test_a_larger_epsilon_again_repeats_the_answer_that_it_had() -> None:
    for n in range(300):
        first = answer(1000, 6, "v1", n)
        answer(400, 6, "v1", n)
        assert answer(1000, 6, "v1", n) == first

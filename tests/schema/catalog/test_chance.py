"""Randomized response in whole numbers: its promises hold exactly."""

from __future__ import annotations

import decimal
from fractions import Fraction
from math import ceil, exp, log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.needed import need
from tests.schema.catalog.test_source import MINIMAL
from tests.schema.declarations import field_of

from methrics.schema.catalog.chance import DRAWS, chances, odds, percent, randomized_words, shares
from methrics.schema.catalog.fields import EPSILON_MAX, EPSILON_MIN, RANDOMIZED, Field
from methrics.schema.catalog.source import parse_source
from methrics.schema.pages.explain import json_schema

sizes = st.integers(2, 600)
epsilons = st.integers(EPSILON_MIN, EPSILON_MAX)


def below_exp(x: Fraction) -> Fraction:
    """A lower bound of e^x with a relative error below 10^-40: the truncated series."""
    term = total = Fraction(1)
    n = 0
    while term > Fraction(1, 10**44):
        n += 1
        term = term * x / n
        total += term
    return total


@given(sizes, epsilons)
def test_no_answer_is_more_than_e_to_epsilon_times_as_likely_for_one_truth_as_for_another(
    values: int, epsilon: int
) -> None:
    truth, other = shares(values, epsilon)
    assert truth + (values - 1) * other == DRAWS
    # For two true values, the probabilities of an answer are truth/DRAWS and other/DRAWS, or both
    # other/DRAWS.
    assert 0 < other <= truth
    assert Fraction(truth, other) <= below_exp(Fraction(epsilon, 1000))


@given(sizes, epsilons)
def test_the_chances_are_as_near_to_what_is_declared_as_whole_draws_allow(
    values: int, epsilon: int
) -> None:
    truth, other = shares(values, epsilon)
    bound = below_exp(Fraction(epsilon, 1000))
    # With one share less for each other value, the ratio would exceed e^epsilon.
    assert Fraction(truth + values - 1, other - 1) > bound
    assert truth / DRAWS == pytest.approx(exp(epsilon / 1000) / (exp(epsilon / 1000) + values - 1))


def test_a_test_of_the_bound_itself() -> None:
    assert float(below_exp(Fraction(1))) == exp(1)
    assert below_exp(Fraction(10)) < Fraction(decimal.Decimal(10).exp()) * (1 + Fraction(1, 10**27))


def test_the_shares_are_the_same_whatever_the_app_does_to_its_arithmetic() -> None:
    usual = shares(7, 1234)
    shares.cache_clear()
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        assert shares(7, 1234) == usual


@pytest.mark.parametrize(("values", "epsilon"), [(1, 1000), (0, 1000), (3, 0), (3, -5)])
def test_nothing_to_choose_from_is_refused(values: int, epsilon: int) -> None:
    with pytest.raises(ValueError, match="no randomized response"):
        shares(values, epsilon)


def test_every_implementation_finds_the_same_number_for_the_entropy_budget() -> None:
    # ceil(e^epsilon) is safe in doubles if no e^epsilon lies within rounding of a whole number.
    for epsilon in range(EPSILON_MIN, EPSILON_MAX + 1):
        found = exp(epsilon / 1000)
        assert abs(found - round(found)) > 1e-9 * found


def random_field(epsilon: int | None, values: int = 6) -> Field:
    wire = {"name": "tool", "type": "enum", "says": "Which tool you use.", "values": []}
    wire["values"] = [f"v{n}" for n in range(values - 1)]
    return field_of(wire if epsilon is None else {**wire, "randomize": epsilon})


@given(epsilons, st.integers(2, 200))
def test_a_random_answer_counts_for_no_more_than_it_tells(epsilon: int, values: int) -> None:
    field = random_field(epsilon, values)
    assert (field.domain, field.bits) == (values, log2(values))
    assert field.distinguishable == min(values, ceil(exp(epsilon / 1000)))
    assert log2(field.distinguishable) >= min(field.bits, epsilon / 1000 * log2(exp(1))) - 1e-12


def test_the_budget_of_a_type_counts_what_a_random_answer_tells() -> None:
    text = MINIMAL.replace('"home", "help"', ", ".join(f'"v{n}"' for n in range(19)))
    text = text.replace("entropy_bits = 4", "entropy_bits = 2")
    random = text.replace('says = "Which page."', 'says = "x"\nrandomize = {epsilon = 1}')
    (entry,) = parse_source(random).types.values()
    assert (entry.domain, entry.distinguishable) == (
        20,
        3,
    )  # as many reports; ceil(e) values each or none
    assert "M016" in str(_problems(text))


def _problems(text: str) -> object:
    from methrics.schema.catalog.source import read_source

    return read_source(text)


@pytest.mark.parametrize("kind", RANDOMIZED)
def test_fields_of_few_values_list_them_in_order(kind: str) -> None:
    params = {"enum": {"values": ["b", "a"]}, "bucket": {"edges": [1, 2]}}.get(kind, {})
    field = field_of({"name": "x", "type": kind, "says": "x", **params})
    values = field.listed()
    assert len(values) == field.domain == len(set(values))
    assert all(field.check(value) for value in values)
    assert values[:2] == {
        "enum": ("b", "a"),
        "flag": (False, True),
        "bucket": (0, 1),
        "country": ("AD", "AE"),
        "language": ("aa", "ab"),
    }.get(kind)


def test_a_field_tells_in_words_what_its_chances_are() -> None:
    text = randomized_words(random_field(1000))
    assert (
        "the true value in 35 % of cases, and otherwise one of the 5 other values at random."
        in text
    )
    assert "by a factor of at most 2.8." in text
    assert "otherwise the other value." in randomized_words(random_field(1000, 2))
    assert (randomized_words(random_field(None)), chances(random_field(None))) == ("", (1.0, 0.0))
    truth, other = chances(random_field(1000))
    assert truth == pytest.approx(exp(1) / (exp(1) + 5))
    assert truth + 5 * other == pytest.approx(1)


@given(sizes, epsilons)
def test_words_never_promise_more_than_the_numbers(values: int, epsilon: int) -> None:
    truth, other = shares(values, epsilon)
    assert percent(truth / DRAWS) not in ("0 %", "100 %")
    assert float(odds(epsilon).replace(",", "")) > truth / other
    assert float(odds(epsilon).replace(",", "")) < 1.1 * exp(epsilon / 1000)


def test_json_schema_says_that_the_answer_is_random() -> None:
    says = 'says = "Which page."'
    (entry,) = parse_source(
        MINIMAL.replace(says, f"{says}\nrandomize = {{epsilon = 2}}")
    ).types.values()
    (plain,) = parse_source(MINIMAL).types.values()
    words = "Uses randomized response: your machine reports the true value in 79 % of cases"
    assert words in str(json_schema(entry))
    assert "random" not in str(json_schema(plain))


@pytest.mark.parametrize("values", [2, 3, 6, 30, 250])
@pytest.mark.parametrize("epsilon", [100, 693, 1000, 3000, 10_000])
def test_opendp_finds_the_same_epsilon_in_these_chances(values: int, epsilon: int) -> None:
    need("opendp.mod").enable_features("contrib")
    make_randomized_response = need("opendp.measurements").make_randomized_response
    truth, _ = shares(values, epsilon)
    words = [f"v{n}" for n in range(values)]
    measurement = make_randomized_response(words, truth / DRAWS)
    assert measurement.map(1) == pytest.approx(epsilon / 1000, rel=1e-9)


def test_the_table_of_costs_is_what_the_chances_make_of_it() -> None:
    page = (Path(__file__).parents[3] / "docs" / "randomized.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if "-fold |" in line]
    assert len(rows) == 8
    for epsilon, shift, *costs in rows:
        thousandths = round(1000 * float(epsilon))
        assert shift == f"{odds(thousandths)}-fold"
        for values, told, installs in zip((2, 6, 20), costs[::2], costs[1::2], strict=True):
            truth, other = (share / DRAWS for share in shares(values, thousandths))
            variance = 0.2 * truth * (1 - truth) + 0.8 * other * (1 - other)
            needed = (1.959964 / 0.05) ** 2 * variance / (truth - other) ** 2
            assert told == f"{100 * truth:.1f} %"
            assert needed <= int(installs.replace(",", "")) < 1.1 * needed

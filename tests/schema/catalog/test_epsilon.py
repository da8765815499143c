"""The epsilons of a namespace: all questions add up, and one question counts once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import catalog_maps

from methrics.schema.catalog.epsilon import EPSILON_TOTAL_MAX, total_epsilon
from methrics.schema.catalog.lint import ERROR, WARNING, lint, lint_text
from methrics.schema.catalog.rules import read_content
from methrics.schema.catalog.source import CatalogSource, parse_source
from methrics.schema.example import example_source
from methrics.schema.wire.reading import Reader

NOW = 1_800_000_000


def source(*epsilons: str, values: str = '["none", "voice"]', types: int = 1) -> str:
    """A catalog of `types` types, each with one randomized field for each of `epsilons`."""
    head = example_source().partition("\n[types.")[0]
    declared = []
    for number in range(types):
        name = f"types.t{number}"
        declared.append(
            f'[{name}]\nkind = "state"\nquestion = "How many?"\nwhy = "To know."\nowner = "me"\n'
            'review = "https://example.org/r"\nexpires = 2028-07-01\nretention_days = 30\n'
            f'entropy_bits = 28\nchart = "line"\n[{name}.release]\ndelay = 300\njitter = 10800\n'
            f"every = [86400, 172800]\n[{name}.fields.monthly]\n"
            'type = "flag"\nsource = "first_of_month"\nsays = "Whether it is the first."'
        )
        declared += [
            f'[{name}.fields.f{index}]\ntype = "enum"\nvalues = {values}\nsays = "Which."\n'
            f"randomize = {{epsilon = {epsilon}}}"
            for index, epsilon in enumerate(epsilons)
        ]
    return "\n".join([head, *declared])


def found(text: str) -> list[tuple[str, str]]:
    """The codes and severities that concern epsilon."""
    _, problems = lint_text(text, NOW)
    return [(one.code, one.severity) for one in problems if one.code in ("M110", "M208")]


@pytest.mark.shows("NEW-8")
def test_the_same_question_under_twenty_names_cannot_be_signed() -> None:
    # Each type is harmless by itself; the lint used to look at one type at a time.
    assert found(source("1.0", types=1)) == []
    usable, problems = lint_text(source("1.0", types=20), NOW)
    assert usable is None
    assert [one.code for one in problems if one.severity == ERROR] == ["M110"]
    assert "adds up to 20 for t0.f0, t1.f0, t2.f0, 17 more;" in str(problems[-1])


@pytest.mark.parametrize(
    ("epsilons", "types", "expected"),
    [
        (("1.5", "1.5"), 1, []),
        (("3.0",), 1, []),
        (("1.5", "1.501"), 1, [("M208", WARNING)]),
        (("1.001",), 3, [("M208", WARNING)]),
        (("5.0",), 2, [("M208", WARNING)]),
        (("5.001",), 2, [("M110", ERROR)]),
        (("10",), 1, [("M208", WARNING)]),
        (("10", "0.1"), 1, [("M110", ERROR)]),
        (("10", "10", "10"), 8, [("M110", ERROR)]),
    ],
)
def test_the_total_over_all_types_is_bounded(
    epsilons: tuple[str, ...], types: int, expected: list[tuple[str, str]]
) -> None:
    assert found(source(*epsilons, types=types)) == expected


def test_one_question_in_several_catalogs_counts_once_with_its_largest_epsilon() -> None:
    lower = [parse_source(source(f"{1 - step / 1000:.3f}")) for step in range(60)]
    assert total_epsilon(*lower) == total_epsilon(*reversed(lower)) == 1000
    assert total_epsilon(lower[59]) == 941


@pytest.mark.parametrize(
    "other",
    [
        source("0.5", values='["none", "braille"]'),
        source("0.5", values='["none", "voice", "braille"]'),
        source("0.5").replace("fields.f0", "fields.g0"),
        source("0.5").replace("types.t0", "types.u0"),
    ],
)
def test_another_question_adds_up(other: str) -> None:
    assert total_epsilon(parse_source(source("1.0")), parse_source(other)) == 1500


def test_wording_and_the_order_of_values_make_no_other_question() -> None:
    other = source("0.5", values='["voice", "none"]').replace("Which.", "Which one.")
    assert total_epsilon(parse_source(source("1.0")), parse_source(other)) == 1000


def content(wire: dict[str, Any]) -> CatalogSource:
    """The content of a payload map, which declares types as a catalog does."""
    return CatalogSource(read_content(Reader(strict=True), wire))


@given(st.lists(catalog_maps().map(content), max_size=3))
def test_the_total_lies_between_the_largest_and_the_sum(catalogs: list[CatalogSource]) -> None:
    alone = [total_epsilon(one) for one in catalogs]
    assert max(alone, default=0) <= total_epsilon(*catalogs) <= sum(alone)
    for one, total in zip(catalogs, alone, strict=True):
        assert total_epsilon(one, one) == total
        fields = [field.randomize or 0 for entry in one.types.values() for field in entry.fields]
        assert total == sum(fields)
        codes = {problem.code for problem in lint(one, NOW)}
        assert ("M110" in codes) == (total > EPSILON_TOTAL_MAX)

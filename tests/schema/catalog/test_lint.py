"""The lint: stable codes; each mistake gives its own code and no other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.catalog.test_source import MINIMAL
from tests.schema.declarations import type_maps, type_of

from methrics.schema.catalog.lint import CODES, ERROR, WARNING, lint, lint_text
from methrics.schema.catalog.source import CatalogSource
from methrics.schema.example import example_catalog, example_source
from methrics.schema.wire import reading

NOW = 1_800_000_000
"""January 2027."""

_VERSION = 'type = "version"\nmax = [9, 9, 9]'
_DAILY = {
    '"event"': '"state"',
    "jitter = 600": "jitter = 10800\nevery = [3600, 43200]",
}
_RANDOM = "randomize = {epsilon = 1}"
_PAGE = 'type = "enum"\nvalues = ["home", "help"]'


def test_the_smallest_and_the_example_source_are_clean() -> None:
    for text in (MINIMAL, example_source()):
        source, problems = lint_text(text, NOW)
        assert problems == []
        assert isinstance(source, CatalogSource)


def test_a_signed_catalog_can_be_linted_as_well() -> None:
    assert lint(example_catalog(), NOW) == []
    assert {problem.code for problem in lint(example_catalog(), 2_000_000_000)} == {"M101"}


@pytest.mark.shows("NEW-8")
@pytest.mark.parametrize(
    ("code", "severity", "changes", "where"),
    [
        ("M101", ERROR, {"2028-07-01": "2026-12-31"}, "types.visit.expires"),
        ("M102", ERROR, {"2028-07-01": "2030-07-01"}, "types.visit.expires"),
        ("M103", ERROR, {"jitter = 600": "jitter = 1814400"}, "types.visit.release"),
        ("M104", ERROR, {"retention_days = 30": "retention_days = 20"}, "types.visit.retention"),
        (
            "M105",
            ERROR,
            {_PAGE: 'type = "flag"\nsource = "first_of_day"', "bits = 4": "bits = 2"},
            "types.visit.fields",
        ),
        (
            "M106",
            ERROR,
            {
                **_DAILY,
                _PAGE: 'type = "flag"\nsource = "first_of_day"',
                "bits = 4": "bits = 2\nresolution = 172800",
            },
            "types.visit.resolution",
        ),
        (
            "M107",
            ERROR,
            {
                **_DAILY,
                _PAGE: 'type = "flag"\nsource = "first_of_week"\nsays = "Whether it is."\n'
                '[types.visit.fields.after]\ntype = "enum"\nvalues = ["d0"]\nsource = "milestone"',
            },
            "types.visit.fields",
        ),
        ("M201", WARNING, {"jitter = 600": "jitter = 599"}, "types.visit.release.jitter"),
        (
            "M202",
            WARNING,
            {
                _PAGE: 'type = "version"\nmax = [9999, 9999]',
                "[types.visit.fields.page]": '[types.visit.fields.a]\ntype = "country"\n'
                'says = "Where."\n[types.visit.fields.page]',
                "entropy_bits = 4": "entropy_bits = 35",
            },
            "types.visit.fields",
        ),
        (
            "M203",
            WARNING,
            {
                _PAGE: 'type = "version"\nmax = [999, 999]',
                "entropy_bits = 4": 'entropy_bits = 20\npseudonym = "day"',
            },
            "types.visit.pseudonym",
        ),
        ("M204", WARNING, {"retention_days = 30": "retention_days = 761"}, "types.visit.reten"),
        ("M205", WARNING, {"entropy_bits = 4": "entropy_bits = 7"}, "types.visit.entropy_bits"),
        ("M206", WARNING, {"How often?": "How often."}, "types.visit.question"),
        (
            "M207",
            WARNING,
            {_PAGE: _VERSION, "entropy_bits = 4": "entropy_bits = 10"},
            "types.visit.fields.page",
        ),
        ("M108", ERROR, {_PAGE: f"{_PAGE}\n{_RANDOM}"}, "types.visit.fields"),
        (
            "M108",
            ERROR,
            {**_DAILY, _PAGE: f"{_PAGE}\n{_RANDOM}"},
            "types.visit.fields",
        ),
        (
            "M208",
            WARNING,
            {
                **_DAILY,
                "bits = 4": "bits = 6",
                _PAGE: 'type = "flag"\nsource = "first_of_month"',
                'says = "Which page."': 'says = "Whether it is."\n[types.visit.fields.a]\n'
                f'{_PAGE}\nsays = "Which."\n{_RANDOM}\n[types.visit.fields.b]\n'
                'type = "flag"\nsays = "Whether."\nrandomize = {epsilon = 2.001}',
            },
            "types",
        ),
    ],
)
def test_each_judgement_is_reached_by_one_mistake(
    code: str, severity: str, changes: dict[str, str], where: str
) -> None:
    text = MINIMAL
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    source, problems = lint_text(text, NOW)
    assert [(problem.code, problem.severity) for problem in problems] == [(code, severity)]
    assert problems[0].where.startswith(where)
    assert str(problems[0]).isprintable()
    assert (source is None) == (severity == ERROR)


def test_every_code_is_documented_and_none_is_made_up() -> None:
    wire_codes = {
        value
        for name, value in vars(reading).items()
        if name.isupper() and isinstance(value, str) and value.startswith("M0")
    }
    assert wire_codes == {code for code in CODES if code < "M050"}
    assert all(text.startswith("warning: ") == (code >= "M200") for code, text in CODES.items())


def test_a_source_that_breaks_the_wire_rules_is_not_linted_further() -> None:
    source, problems = lint_text(MINIMAL.replace("delay = 300", "delay = 1"), 2_000_000_000)
    assert source is None
    assert [problem.code for problem in problems] == ["M014"]


class Declared:
    """One event type with the given declarations."""

    def __init__(self, wire: dict[str, Any]) -> None:
        self.types = {"sample": type_of(wire)}


@given(type_maps(), st.integers(0, 2**32))
def test_the_lint_has_a_line_for_everything_and_never_raises(
    wire: dict[str, Any], now: int
) -> None:
    for problem in lint(Declared(wire), now):
        assert problem.code in CODES
        assert (problem.severity == WARNING) == CODES[problem.code].startswith("warning: ")
        assert str(problem).isprintable()

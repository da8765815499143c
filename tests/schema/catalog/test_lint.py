"""The lint: stable codes; each mistake gives its own code and no other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.catalog.test_source import MINIMAL
from tests.schema.declarations import type_maps, type_of

from methrics.schema.catalog.lint import ADVICE, CODES, ERROR, WARNING, advise, lint, lint_text
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
        ("M109", ERROR, {'results = "https://example.org/results"\n': ""}, "catalog.results"),
        ("M201", WARNING, {"jitter = 600": "jitter = 599"}, "types.visit.release.jitter"),
        (
            "M202",
            WARNING,
            {_PAGE: 'type = "version"\nmax = [9999, 9999]', "bits = 4": "bits = 27"},
            "types.visit",
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
    for code, text in CODES.items():
        assert text.startswith("warning: ") == ("M200" <= code < "M300")
        assert text.startswith("advice: ") == (code >= "M300")


def test_a_source_that_breaks_the_wire_rules_is_not_linted_further() -> None:
    source, problems = lint_text(MINIMAL.replace("delay = 300", "delay = 1"), 2_000_000_000)
    assert source is None
    assert [problem.code for problem in problems] == ["M014"]


class Declared:
    """One event type with the given declarations."""

    def __init__(self, wire: dict[str, Any]) -> None:
        self.types = {"sample": type_of(wire)}
        self.results = "https://example.org/results"


@given(type_maps(), st.integers(0, 2**32))
def test_the_lint_has_a_line_for_everything_and_never_raises(
    wire: dict[str, Any], now: int
) -> None:
    for problem in lint(Declared(wire), now):
        assert problem.code in CODES
        assert (problem.severity == WARNING) == CODES[problem.code].startswith("warning: ")
        assert str(problem).isprintable()


def kind(name: str, table: str, *, resolution: int = 600, fields: str = "") -> str:
    """The smallest source as a type of kind `name`, with a budget of 28 bits and without fields."""
    text = MINIMAL.partition("[types.visit.fields")[0]
    text = text.replace('"event"', f'"{name}"').replace("bits = 4", "bits = 28")
    text = text.replace("jitter = 600", f"jitter = {min(resolution, 10800)}")
    text = text.replace("bits = 28", f"bits = 28\nresolution = {resolution}")
    return f"{text}\n{table}\n{fields}"


def version(*most: int) -> str:
    """A version field with these largest parts."""
    return (
        f'[types.visit.fields.page]\ntype = "version"\nmax = {list(most)}\nsays = "Which version."'
    )


def steps(number: int, edges: list[int], most: int) -> str:
    """A sequence of at most `most` out of `number` steps."""
    names = [f"s{index}" for index in range(number)]
    return f"[types.visit.sequence]\nsteps = {names}\noffset_edges = {edges}\nmax_steps = {most}"


_COUNT = "[types.visit.count]\nmax = {}\nwindow = 600"


@pytest.mark.shows("NEW-8")
@pytest.mark.parametrize(
    ("text", "codes"),
    [
        # These passed without any finding when the lint counted the fields alone.
        (kind("count", _COUNT.format(2**32 - 1)), ["M005"]),
        (kind("sequence", steps(32, [60], 32)), ["M021"]),
        (kind("sequence", steps(2, [], 32)), ["M021"]),
        (kind("event", "", fields=version(511, 511, 511)), ["M202", "M207"]),
        (kind("event", "", fields=version(9999, 9999)), ["M202"]),
        (kind("event", "", fields=version(511, 511, 1023)), ["M021"]),
        # The time of day counts as far as it is told.
        (kind("event", "", fields=version(9999, 9999), resolution=3600), []),
        (kind("count", _COUNT.format(2**28)), ["M202"]),
        (kind("count", _COUNT.format(2**28), resolution=86_400), []),
        # Each part is small by itself: 10, 9 and 8 bits, and two rates.
        (
            kind("count", _COUNT.format(1024), fields=version(20, 24)).replace(
                "bits = 28", "bits = 28\none_in = [1, 100]"
            ),
            [],
        ),
        (
            kind("count", _COUNT.format(1024), fields=version(511, 255)).replace(
                "bits = 28", "bits = 28\none_in = [1, 100]"
            ),
            ["M021"],
        ),
    ],
)
def test_the_whole_report_counts_and_not_only_its_fields(text: str, codes: list[str]) -> None:
    _, problems = lint_text(text, NOW)
    found = [one.code for one in problems if one.code != "M205"]
    assert found == codes


def test_a_pseudonym_links_counts_and_sequences_too() -> None:
    text = kind("sequence", steps(6, [5, 15, 60, 300], 5), resolution=86_400)
    text = text.replace("bits = 28", 'bits = 28\npseudonym = "session"')
    assert "M203" in [one.code for one in lint_text(text, NOW)[1]]


def _advised(text: str) -> list[tuple[str, str]]:
    source, _ = lint_text(text, NOW)
    assert source is not None
    advice = advise(source)
    assert all(one.severity == ADVICE and one.code in CODES for one in advice)
    return [(one.code, one.where) for one in advice]


def test_the_lint_proposes_a_day_unless_the_question_needs_hours() -> None:
    hourly = MINIMAL.replace("entropy_bits = 4", "entropy_bits = 4\nresolution = 3600")
    assert _advised(hourly) == [("M301", "types.visit.resolution")]
    assert "set 86400" in advise(lint_text(hourly, NOW)[0] or example_catalog())[0].message
    assert _advised(hourly.replace("How often?", "At what hour of the day?")) == []
    assert _advised(hourly.replace("How often?", "How shoury?")) != []
    assert _advised(hourly.replace("= 3600", "= 86400")) == []


def test_the_lint_proposes_nothing_for_counts_of_whole_days() -> None:
    assert _advised(example_source()) == [
        ("M301", "types.system.resolution"),
        ("M301", "types.signin.resolution"),
    ]

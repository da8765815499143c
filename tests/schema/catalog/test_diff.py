"""A new catalog asks again about everything that reveals more, and about nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.schema.catalog.test_lint import Declared
from tests.schema.catalog.test_source import MINIMAL
from tests.schema.declarations import field_maps, type_maps

from methrics.schema.catalog.diff import asks_again, diff
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_catalog, example_source

_FIELD = '[types.visit.fields.page]\ntype = "enum"\nvalues = ["home", "help"]'
_SEQUENCE = '[types.visit.sequence]\nsteps = ["a", "b"]\noffset_edges = [5, 60]\nmax_steps = 3\n'
_COUNT = "[types.visit.count]\nmax = 5\nwindow = 7200\n"


def changed(old: str, new: str, text: str = MINIMAL) -> tuple[set[str], list[str]]:
    """The types that ask again, and all lines of the diff, after a replacement in a source."""
    assert old in text
    changes = diff(parse_source(text), parse_source(text.replace(old, new)))
    assert all(change.type in str(change) for change in changes)
    return asks_again(changes), [str(change) for change in changes]


RANDOM = MINIMAL.replace(
    'values = ["home", "help"]', 'values = ["home", "help", "shop"]\nrandomize = {epsilon = 1.0}'
)


def test_other_values_of_a_randomized_field_ask_again_even_if_they_are_fewer() -> None:
    fewer = '["home", "help"]'
    assert changed('["home", "help", "shop"]', fewer, RANDOM)[0] == {"visit"}
    assert changed('["home", "help", "shop"]', fewer, RANDOM.replace("randomize", "#"))[0] == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [('["home", "help", "shop"]', '["shop", "home", "help"]'), ("1.0", "0.999"), ("1.0", "0.1")],
)
def test_a_randomized_field_does_not_ask_again_if_no_new_answer_is_drawn(
    old: str, new: str
) -> None:
    again, lines = changed(old, new, RANDOM)
    assert again == set()
    assert len(lines) == 1


@given(type_maps())
def test_a_catalog_does_not_differ_from_itself(wire: dict[str, Any]) -> None:
    assert diff(Declared(wire), Declared(wire)) == []


def test_a_signed_catalog_does_not_differ_from_its_source() -> None:
    assert diff(parse_source(example_source()), example_catalog()) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('["home", "help"]', '["home", "help", "shop"]', "fields.page.values"),
        ('says = "Which page."', 'says = "What you read."', "fields.page.says"),
        (
            _FIELD,
            f'[types.visit.fields.new]\ntype = "flag"\nsays = "x"\n{_FIELD}',
            "fields.new",
        ),
        (
            'type = "enum"\nvalues = ["home", "help"]',
            'type = "flag"',
            "fields.page.type",
        ),
        ('kind = "event"', 'kind = "event"\npseudonym = "session"', "pseudonym"),
        ("retention_days = 30", "retention_days = 31", "retention_days"),
        ('why = "To know."', 'why = "To sell."', "why"),
        ('owner = "me"', 'owner = "them"', "owner"),
        ("entropy_bits = 4", "entropy_bits = 4\none_in = [1, 10]", "one_in"),
    ],
)
def test_widening_asks_again(old: str, new: str, where: str) -> None:
    again, lines = changed(old, new)
    assert again == {"visit"}
    assert lines[0].startswith(f"types.visit.{where}: ")
    assert lines[0].endswith("(asks again)")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["home", "help"]', '["home"]'),
        ("retention_days = 30", "retention_days = 29"),
        ("jitter = 600", "jitter = 601"),
        ("2028-07-01", "2029-07-01"),
        ("How often?", "How many times?"),
        ("entropy_bits = 4", "entropy_bits = 5"),
        ("entropy_bits = 4", "entropy_bits = 4\nresolution = 3600"),
        ('chart = "line"', 'chart = "bar:page"'),
        (_FIELD + '\nsays = "Which page."', ""),
        ("/r", "/s"),
    ],
)
def test_narrowing_and_rewording_do_not_ask_again(old: str, new: str) -> None:
    again, lines = changed(old, new)
    assert again == set()
    assert len(lines) == 1
    assert not any("asks again" in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("1.5", "1.501", "was randomized with epsilon 1.5, is randomized with epsilon 1.501"),
        ("1.5", None, "was randomized with epsilon 1.5, is always the true value"),
        ("1.5", "1.499", None),
        (None, "10", None),
    ],
)
def test_an_answer_that_hides_less_asks_again(
    old: str | None, new: str | None, line: str | None
) -> None:
    def source(epsilon: str | None) -> str:
        random = f"\nrandomize = {{epsilon = {epsilon}}}" if epsilon else ""
        return MINIMAL.replace('says = "Which page."', f'says = "Which page."{random}')

    changes = diff(parse_source(source(old)), parse_source(source(new)))
    assert [str(change) for change in changes if change.asks_again] == (
        [f"types.visit.fields.page.randomize: {line} (asks again)"] if line else []
    )
    assert [change.where for change in changes] == ["types.visit.fields.page.randomize"]


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("delay = 600", "delay = 300", True),
        ("delay = 600", "delay = 900", False),
        ("jitter = 1200", "jitter = 600", True),
        ("resolution = 1200", "resolution = 600", True),
        ("resolution = 1200", "resolution = 1800", True),
        ("resolution = 1200", "resolution = 2400", False),
        ("every = [7200, 9000]", "every = [3600, 9000]", True),
        ("every = [7200, 9000]", "every = [7200, 7200]", True),
        ("every = [7200, 9000]", "every = [7200, 18000]", False),
    ],
)
def test_sooner_finer_or_more_often_asks_again(old: str, new: str, again: bool) -> None:
    text = MINIMAL.replace('kind = "event"', 'kind = "state"\nresolution = 1200')
    text = text.replace(
        "delay = 300\njitter = 600", "delay = 600\njitter = 1200\nevery = [7200, 9000]"
    )
    assert changed(old, new, text)[0] == ({"visit"} if again else set())


@pytest.mark.parametrize(
    ("kind", "table", "old", "new", "again"),
    [
        ("sequence", _SEQUENCE, '["a", "b"]', '["a", "b", "c"]', True),
        ("sequence", _SEQUENCE, '["a", "b"]', '["a"]', False),
        ("sequence", _SEQUENCE, '["a", "b"]', '["b", "a"]', False),
        ("sequence", _SEQUENCE, "[5, 60]", "[5, 30]", True),
        ("sequence", _SEQUENCE, "[5, 60]", "[5]", False),
        ("sequence", _SEQUENCE, "max_steps = 3", "max_steps = 4", True),
        ("sequence", _SEQUENCE, "max_steps = 3", "max_steps = 2", False),
        ("count", _COUNT, "max = 5", "max = 6", True),
        ("count", _COUNT, "max = 5", "max = 4", False),
        ("count", _COUNT, "window = 7200", "window = 3600", True),
        ("count", _COUNT, "window = 7200", "window = 9000", False),
    ],
)
def test_counts_and_sequences(kind: str, table: str, old: str, new: str, again: bool) -> None:
    text = MINIMAL.replace('kind = "event"', f'kind = "{kind}"')
    text = text.replace("entropy_bits = 4", "entropy_bits = 20").replace(_FIELD, table + _FIELD)
    found, lines = changed(old, new, text)
    assert found == ({"visit"} if again else set())
    assert len(lines) == 1


def test_only_the_type_that_changed_asks_again() -> None:
    text = example_source()
    changes = diff(
        parse_source(text),
        parse_source(text.replace('"firefox", "safari"]', '"firefox", "safari", "opera"]')),
    )
    assert asks_again(changes) == {"client"}
    assert [str(change) for change in changes] == [
        "types.client.fields.browser.values: was chrome, edge, firefox, safari, "
        "is chrome, edge, firefox, safari, opera (asks again)"
    ]


def test_a_new_type_asks_and_a_type_that_is_gone_does_not() -> None:
    changes = diff(parse_source(MINIMAL), parse_source(MINIMAL.replace("visit", "stay")))
    assert asks_again(changes) == {"stay"}
    assert [str(change) for change in changes] == [
        "types.stay: is new (asks again)",
        "types.visit: is gone",
    ]


_SHELL: dict[str, Any] = {
    "kind": "event",
    "question": "How?",
    "why": "To know.",
    "owner": "me",
    "review": "https://example.org/r",
    "expires": 1_846_022_400,
    "retention_days": 30,
    "lateness": 1_814_400,
    "resolution": 600,
    "release": {"delay": 300, "jitter": 600},
    "pseudonym": "none",
    "entropy_bits": 28,
    "chart": "line",
    "fields": [],
    "one_in": [1],
    "work": 0,
}


@given(st.data())
def test_more_possible_values_always_ask_again(data: st.DataObject) -> None:
    old = data.draw(field_maps(name="sample", small=True))
    new = data.draw(field_maps(name="sample", small=True))
    if data.draw(st.booleans()):
        new = {**new, "says": old["says"]}
    before, after = (Declared({**_SHELL, "fields": [field]}) for field in (old, new))
    assume(after.types["sample"].domain > before.types["sample"].domain)
    assert asks_again(diff(before, after)) == {"sample"}


@given(type_maps(), type_maps())
def test_every_difference_is_told_and_anything_that_says_more_asks_again(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    before, after = Declared(old), Declared(new)
    changes = diff(before, after)
    assert bool(changes) == (old != new)
    assert all("\n" not in str(change) for change in changes)
    if after.types["sample"].domain > before.types["sample"].domain:
        assert asks_again(changes) == {"sample"}

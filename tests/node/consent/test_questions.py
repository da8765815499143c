"""Which questions are open: after some use, once for all apps, never again after a no."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from methrics.node.consent.answer import EVERY, Answer, Answers
from methrics.node.consent.ledger_format import stamp
from methrics.node.consent.questions import (
    STARTS_MIN,
    USED_MIN,
    WAIT,
    Uses,
    every_question,
    questions,
    undecided,
)
from methrics.node.paths import namespace_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog

if TYPE_CHECKING:
    from collections.abc import Collection

NOW = 1_800_000_000
EXAMPLE = example_catalog()
ENOUGH = Uses(STARTS_MIN, USED_MIN)
NONE: frozenset[str] = frozenset()


def yes(name: str, later: str = "") -> Answer:
    entry = EXAMPLE.types[name]
    fields = frozenset(field.name for field in entry.fields)
    return Answer(True, fields, frozenset({"relay"}), stamp(NOW), later, entry.to_wire(), 1)


NO = Answer(False, NONE, NONE, stamp(NOW))


def put_off(ago: int) -> Answer:
    return Answer(False, NONE, NONE, stamp(NOW - ago), stamp(NOW - ago))


APP = namespace_of(EXAMPLE.label, EXAMPLE.short_key)


def due(
    answers: Answers,
    *,
    catalogs: Collection[Catalog] = (EXAMPLE,),
    uses: Uses | None = ENOUGH,
    asked: str = "",
    forbidden: str | None = None,
) -> list[str]:
    found = questions(catalogs, answers, now=NOW, uses=uses, asked=asked, forbidden=forbidden)
    return [question.event_type.name for question in found]


ALL = list(EXAMPLE.types)


@pytest.mark.shows("DEB-6")
@pytest.mark.parametrize("starts", [0, 1, STARTS_MIN - 1, STARTS_MIN, 99])
@pytest.mark.parametrize("seconds", [0, USED_MIN - 1, USED_MIN, 1e9])
def test_only_after_some_starts_and_five_minutes(starts: int, seconds: float) -> None:
    expected = ALL if starts >= 3 and seconds >= 300 else []
    assert due({}, uses=Uses(starts, seconds)) == expected


@pytest.mark.parametrize("rule", ["policy", "do-not-track", "methrics-off", "ci", "environment"])
@pytest.mark.parametrize("uses", [None, ENOUGH])
def test_never_when_a_higher_rule_says_no(rule: str, uses: Uses | None) -> None:
    assert due({}, uses=uses, forbidden=rule) == []


@pytest.mark.shows("DEB-6")
def test_no_is_final() -> None:
    refused = {APP: dict.fromkeys(ALL, NO)}
    for uses in (ENOUGH, None):
        assert due(refused, uses=uses) == []
        assert due({APP: {EVERY: NO}}, uses=uses) == []
        assert due({EVERY: {EVERY: NO}}, uses=uses) == []


def test_no_stays_final_for_a_type_that_has_changed() -> None:
    stale = NO._replace(shown={"kind": "event"})
    assert due({APP: dict.fromkeys(ALL, stale)}, uses=None) == []


@pytest.mark.shows("DEB-6")
def test_not_now_waits_ninety_days() -> None:
    assert WAIT == 90 * 86_400
    assert due({APP: dict.fromkeys(ALL, put_off(WAIT - 1))}) == []
    assert due({APP: dict.fromkeys(ALL, put_off(WAIT))}) == ALL
    assert due({APP: dict.fromkeys(ALL, put_off(1))}, uses=None) == ALL, "the person wants to"


@pytest.mark.shows("DEB-6")
def test_a_person_is_asked_once_for_all_apps() -> None:
    lately, long_ago = stamp(NOW - WAIT + 1), stamp(NOW - WAIT)
    assert due({}, asked=lately) == []
    assert due({}, asked=long_ago) == ALL
    assert due({}, asked=lately, uses=None) == ALL
    assert due({"bank-1": {"view": yes("signin")}}, asked=lately) == [], "a yes to another app"


def test_a_new_type_of_an_allowed_app_is_asked_about_alone() -> None:
    answers = {APP: {name: yes(name) for name in ALL if name != "signin"}}
    assert due(answers, asked=stamp(NOW - 1)) == ["signin"]
    assert due(answers, uses=None) == ["signin"]


def test_a_changed_type_is_asked_about_alone() -> None:
    old = {**EXAMPLE.types["system"].to_wire(), "why": "Once it was for something else."}
    answers = {APP: {name: yes(name) for name in ALL}}
    answers[APP]["system"] = answers[APP]["system"]._replace(shown=old)
    found = questions([EXAMPLE], answers, now=NOW, uses=ENOUGH, asked=stamp(NOW - 1))
    assert [question.event_type.name for question in found] == ["system"]
    assert found[0].state == "changed"
    assert "Once it was" in found[0].changes[0]
    put = answers[APP]["system"]._replace(later=stamp(NOW - 5))
    answers[APP]["system"] = put
    assert due(answers) == [], "not now, about the change"
    assert due(answers, uses=None) == ["system"]


def test_an_expired_type_is_not_asked_about() -> None:
    late = max(entry.expires for entry in EXAMPLE.types.values())
    assert questions([EXAMPLE], {}, now=late) == []
    assert every_question([EXAMPLE], {}, now=late) == []


@pytest.mark.shows("MIM-1")
def test_the_status_line_stays_until_every_type_is_decided() -> None:
    def open_now(answers: Answers) -> bool:
        return undecided([EXAMPLE], answers, now=NOW)

    assert open_now({})
    assert open_now({APP: {name: yes(name) for name in ALL[1:]}})
    assert not open_now({APP: {name: yes(name) for name in ALL}})
    assert not open_now({APP: {EVERY: NO}})
    assert not open_now({APP: dict.fromkeys(ALL, put_off(5))})
    assert open_now({APP: dict.fromkeys(ALL, put_off(WAIT))})


def test_every_combination_of_two_answers_asks_only_for_what_is_open() -> None:
    states = {
        "none": None,
        "yes": yes("heartbeat"),
        "no": NO,
        "waiting": put_off(5),
        "waited": put_off(WAIT),
    }
    for (first, one), (second, two) in itertools.product(states.items(), repeat=2):
        entries = {"heartbeat": one, "signin": two and two._replace(shown=None)}
        answers = {
            APP: {
                **dict.fromkeys(set(ALL) - {"heartbeat", "signin"}, NO),
                **{name: answer for name, answer in entries.items() if answer is not None},
            }
        }
        expected = {
            name
            for name, state in (("heartbeat", first), ("signin", second))
            if state in ("none", "waited")
        }
        assert set(due(answers)) == expected

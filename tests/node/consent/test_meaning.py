"""What an answer means: one function for every surface, and a field left out stays out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.consent.answer import EVERY, Answer
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.meaning import DEFAULT_ROUTES, WORDS, means, with_later_types
from methrics.node.consent.questions import Question, every_question, question_about
from methrics.node.paths import namespace_of
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.rules import read_type
from methrics.schema.example import example_catalog
from methrics.schema.wire.reading import Reader

CATALOG = example_catalog()
APP = namespace_of(CATALOG.label, CATALOG.short_key)
NEW_FIELD = {"name": "shell", "type": "flag", "says": "Whether a shell is used."}


def wire(entry: EventType) -> dict[str, Any]:
    """An event type as the ledger stores it: to JSON and back."""
    found: dict[str, Any] = json.loads(json.dumps(entry.to_wire()))
    return found


def changed(**parts: Any) -> EventType:
    """The heartbeat without its version, changed by `parts`."""
    before = wire(CATALOG.types["heartbeat"])
    fields = [field for field in before["fields"] if field["name"] != "version"]
    whole = {**before, "fields": fields, "entropy_bits": 28, "chart": "table", **parts}
    found = read_type(Reader(strict=True), "heartbeat", whole)
    assert found is not None
    return found


BEAT = changed()
ALL = frozenset(field.name for field in BEAT.fields)
WIDER = changed(fields=[*wire(BEAT)["fields"], NEW_FIELD])
OTHER_PURPOSE = changed(why="To sell it.")


def yes(fields: frozenset[str] | None, *routes: str) -> Answer:
    return Answer(True, fields, frozenset(routes or ("relay",)), shown=wire(BEAT), catalog=1)


def asked(entry: EventType, answer: Answer | None) -> Question:
    answers = {APP: {"heartbeat": answer}} if answer is not None else {}
    return question_about(CATALOG, entry, answers)


def shared(edit: Edit) -> tuple[str, frozenset[str], frozenset[str]]:
    return edit.said, frozenset(edit.fields or ()), frozenset(edit.routes)


def test_a_first_yes_shares_every_field_through_relays() -> None:
    assert shared(means(asked(BEAT, None), "yes")) == ("yes", ALL, frozenset(DEFAULT_ROUTES))


def test_a_yes_to_a_new_field_does_not_bring_back_a_field_left_out() -> None:
    question = asked(WIDER, yes(ALL - {"os"}, "relay", "direct"))
    assert question.left_out == {"os"}
    assert shared(means(question, "yes")) == (
        "yes",
        (ALL - {"os"}) | {"shell"},
        frozenset({"relay", "direct"}),
    )
    chosen = means(question, "yes", fields=["os", "shell"], routes=["relay"])
    assert shared(chosen) == ("yes", frozenset({"os", "shell"}), frozenset({"relay"}))


def test_keep_shares_what_was_agreed_before_and_asks_no_more() -> None:
    edit = means(asked(WIDER, yes(ALL - {"os"})), "keep")
    assert shared(edit) == ("yes", ALL - {"os"}, frozenset({"relay"}))
    assert edit.shown == WIDER
    after = asked(WIDER, yes(ALL - {"os"})._replace(shown=WIDER.to_wire()))
    assert after.state == "answered"


def test_keep_is_a_no_if_nothing_is_left_to_keep() -> None:
    for question in (
        asked(BEAT, None),
        asked(OTHER_PURPOSE, yes(ALL)),
        asked(BEAT, Answer(False, frozenset(), frozenset())),
    ):
        assert means(question, "keep").said == "no"


def test_a_no_is_a_no_to_the_whole_type() -> None:
    assert shared(means(asked(WIDER, yes(ALL)), "no")) == ("no", frozenset(), frozenset())


def test_a_question_that_cannot_be_read_any_more_brings_nothing_back() -> None:
    lost = yes(ALL - {"os"})._replace(shown={"kind": "ghost"})
    assert shared(means(asked(WIDER, lost), "yes"))[1] == ALL - {"os"}


@given(
    st.sampled_from([BEAT, WIDER, OTHER_PURPOSE]),
    st.none() | st.frozensets(st.sampled_from(sorted(ALL))),
    st.sampled_from(WORDS),
)
def test_no_word_alone_switches_on_what_was_left_out(
    entry: EventType, agreed: frozenset[str] | None, word: str
) -> None:
    edit = means(asked(entry, yes(agreed)), word)
    refused = ALL - (ALL if agreed is None else agreed)
    assert not refused & frozenset(edit.fields or ())
    if word != "yes" and edit.said == "yes":
        assert frozenset(edit.fields or ()) <= ALL - refused


@pytest.mark.parametrize("earlier", ["", "yes", "not-now"])
def test_a_no_to_every_type_covers_later_types(earlier: str) -> None:
    every = every_question([CATALOG], {}, now=1_700_000_000)
    first, *rest = every
    refused = [means(one, "no") for one in rest]
    answer = Answer(earlier == "yes", ALL, frozenset(), later="x" if earlier == "not-now" else "")
    known = [replace(first, answer=answer if earlier else None), *rest]
    assert with_later_types(refused, known) == refused
    assert with_later_types([*refused, means(first, "no")], known)[-1] == Edit(APP, EVERY, "no")
    assert with_later_types([means(first, "not-now")], known) == [means(first, "not-now")]

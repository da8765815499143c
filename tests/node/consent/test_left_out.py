"""A field that a person left out stays out, whatever they say about the type in between."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.consent.answer import EVERY
from methrics.node.consent.ledger_format import Document, Edit, answers, apply, empty
from methrics.node.consent.meaning import WORDS, means
from methrics.node.consent.questions import Question, question_about
from methrics.node.paths import namespace_of
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.rules import read_type
from methrics.schema.example import example_catalog
from methrics.schema.wire.reading import Reader

CATALOG = example_catalog()
APP = namespace_of(CATALOG.label, CATALOG.short_key)
NAME = "system"
NEW_FIELD = {"name": "shell", "type": "flag", "says": "Whether a shell is used."}
WIRE: dict[str, Any] = json.loads(json.dumps(CATALOG.types[NAME].to_wire()))


def version(*dropped: str, more: bool = False) -> EventType:
    """The type of a later catalog, without the fields `dropped`."""
    fields = [field for field in WIRE["fields"] if field["name"] not in dropped]
    whole = {**WIRE, "chart": "table", "entropy_bits": 28}
    whole["fields"] = [*fields, NEW_FIELD] if more else fields
    found = read_type(Reader(strict=True), NAME, whole)
    assert found is not None
    return found


NAMES = tuple(field["name"] for field in WIRE["fields"])
FIRST = version()
VERSIONS = (FIRST, version(more=True), version(NAMES[0]), version(NAMES[1], more=True))


class Person:
    """A person who answers about one event type, with the ledger as a file would hold it."""

    def __init__(self) -> None:
        self.document: Document = empty()

    def asked(self, entry: EventType) -> Question:
        return question_about(CATALOG, entry, answers(self.document))

    def write(self, *edits: Edit) -> None:
        apply(self.document, edits, now=1_800_000_000, through="app", who="ann")
        self.document = json.loads(json.dumps(self.document))

    def say(self, entry: EventType, word: str, fields: list[str] | None = None) -> Edit:
        edit = means(self.asked(entry), word, fields=fields)
        self.write(edit)
        return edit


@pytest.fixture
def person() -> Person:
    person = Person()
    person.say(FIRST, "yes", [name for name in NAMES if name != NAMES[0]])
    return person


def test_a_full_no_and_a_later_yes_do_not_bring_it_back(person: Person) -> None:
    person.say(FIRST, "no")
    assert NAMES[0] not in person.asked(FIRST).offered
    assert NAMES[0] not in (person.say(FIRST, "yes").fields or ())


def test_a_withdrawn_app_does_not_bring_it_back(person: Person) -> None:
    person.write(Edit(APP, NAME, "no"), Edit(APP, EVERY, "no"))
    assert NAMES[0] not in person.asked(FIRST).offered


def test_a_catalog_that_drops_it_and_a_later_one_do_not_bring_it_back(person: Person) -> None:
    assert person.say(VERSIONS[2], "yes").fields == frozenset(NAMES[1:])
    assert NAMES[0] not in person.asked(FIRST).offered


def test_a_person_who_names_it_brings_it_back(person: Person) -> None:
    person.say(FIRST, "no")
    person.say(FIRST, "yes", list(NAMES))
    person.say(FIRST, "no")
    assert person.asked(FIRST).offered == frozenset(NAMES)


_chosen = st.none() | st.lists(st.sampled_from(NAMES), unique=True)


@given(st.lists(st.tuples(st.sampled_from(VERSIONS), st.sampled_from(WORDS), _chosen)))
def test_only_a_field_that_is_named_comes_back(
    steps: list[tuple[EventType, str, list[str] | None]],
) -> None:
    person, out = Person(), set[str]()
    for entry, word, chosen in steps:
        declared = {field.name for field in entry.fields}
        fields = None if chosen is None else [name for name in chosen if name in declared]
        edit = person.say(entry, word, fields)
        shared = set(edit.fields or ())
        if word == "yes" and fields is not None:
            out -= set(fields)
        assert not shared & out
        if edit.said == "yes":
            out |= declared - shared
        assert person.asked(entry).left_out >= out & declared

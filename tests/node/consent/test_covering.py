"""A changed question: an earlier yes covers what was asked then, and never more."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from methrics.node.clock import ManualClock
from methrics.node.consent.answer import Answer
from methrics.node.consent.covering import covered
from methrics.node.consent.decide import decide
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths, namespace_of
from methrics.node.publish.permission import consent_of
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.rules import Content, read_type
from methrics.schema.example import example_catalog
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.reading import Reader

TYPES = example_catalog().types
SYSTEM = TYPES["system"]
ALL = frozenset(field.name for field in SYSTEM.fields)


def shown(entry: EventType) -> dict[str, Any]:
    """An event type as the ledger stores it: to JSON and back."""
    found: dict[str, Any] = json.loads(json.dumps(entry.to_wire()))
    return found


def answer(entry: EventType, fields: frozenset[str] | None = None) -> Answer:
    return Answer(True, fields, frozenset({"relay"}), shown=shown(entry), catalog=1)


def changed(entry: EventType, **parts: Any) -> EventType:
    wire = {**shown(entry), "entropy_bits": 28, "chart": "table", **parts}
    found = read_type(Reader(strict=True), entry.name, wire)
    assert found is not None
    return found


def with_field(entry: EventType, name: str, **parts: Any) -> EventType:
    fields = [dict(one) for one in shown(entry)["fields"]]
    for one in fields:
        if one["name"] == name:
            one.update(parts)
    return changed(entry, fields=fields)


NEW_FIELD = {"name": "shell", "type": "flag", "says": "Whether a shell is used."}


def test_an_unchanged_question_is_still_answered() -> None:
    for entry in TYPES.values():
        names = frozenset(field.name for field in entry.fields)
        assert covered(answer(entry), entry) == (names, ())


def test_a_new_field_is_off_and_asked_about_while_the_others_go_on() -> None:
    after = changed(SYSTEM, fields=[*shown(SYSTEM)["fields"], NEW_FIELD])
    fields, changes = covered(answer(SYSTEM), after)
    assert fields == ALL
    assert changes == ("fields.shell: is new",)


def test_a_wider_field_is_off_and_asked_about_while_the_others_go_on() -> None:
    values = [*shown(SYSTEM)["fields"][1]["values"], "haiku"]
    fields, changes = covered(answer(SYSTEM), with_field(SYSTEM, "os", values=values))
    assert fields == ALL - {"os"}
    assert len(changes) == 1


def test_changes_of_a_field_that_was_left_out_ask_nothing() -> None:
    values = [*shown(SYSTEM)["fields"][1]["values"], "haiku"]
    before = answer(SYSTEM, ALL - {"os"})
    assert covered(before, with_field(SYSTEM, "os", values=values)) == (ALL - {"os"}, ())


@pytest.mark.parametrize(
    "parts",
    [
        {"why": "To sell it."},
        {"owner": "Somebody else"},
        {"retention_days": 731},
        {"pseudonym": "day"},
        {"kind": "event", "release": {"delay": 300, "jitter": 3600}},
        {"release": {"delay": 300, "jitter": 3600, "every": [3600, 21600]}},
        {"one_in": [1, 2]},
    ],
    ids=lambda parts: next(iter(parts)),
)
def test_a_type_that_asks_for_more_is_off_until_asked_again(parts: dict[str, Any]) -> None:
    fields, changes = covered(answer(SYSTEM), changed(SYSTEM, **parts))
    assert fields is None
    assert changes


@pytest.mark.parametrize(
    "parts",
    [
        {"question": "What do servers run on?"},
        {"retention_days": 30},
        {"expires": SYSTEM.expires + 86_400},
        {"release": {"delay": 600, "jitter": 7200, "every": [10_800, 21_600]}},
        {"chart": "bar:os"},
    ],
    ids=lambda parts: next(iter(parts)),
)
def test_asking_for_less_or_in_other_words_changes_nothing(parts: dict[str, Any]) -> None:
    assert covered(answer(SYSTEM), changed(SYSTEM, **parts)) == (ALL, ())


def test_narrower_and_removed_fields_change_nothing_else() -> None:
    narrow = with_field(SYSTEM, "os", values=["linux"])
    assert covered(answer(SYSTEM), narrow) == (ALL, ())
    fields = [one for one in shown(SYSTEM)["fields"] if one["name"] != "os"]
    assert covered(answer(SYSTEM), changed(SYSTEM, fields=fields)) == (ALL - {"os"}, ())


def test_a_yes_that_covers_no_field_any_more_is_off() -> None:
    before = answer(SYSTEM, frozenset({"os"}))
    after = with_field(SYSTEM, "os", says="Which operating system, and whose it is.")
    assert covered(before, after).fields is None


@pytest.mark.parametrize("damage", [{}, {"kind": "ghost"}, {"fields": 3}, {"expires": "soon"}])
def test_a_question_that_cannot_be_read_any_more_is_asked_again(damage: dict[str, Any]) -> None:
    kept = {**shown(SYSTEM), **damage} if damage else {}
    before = Answer(True, None, frozenset({"relay"}), shown=kept)
    assert covered(before, SYSTEM).fields is None
    assert covered(before, SYSTEM).changes


def test_decide_follows_what_is_covered() -> None:
    def found(after: EventType) -> tuple[bool, str, frozenset[str] | None]:
        effective = decide(
            policy_off=False,
            env={},
            environment="production",
            answers={"app": {"system": answer(SYSTEM)}},
            namespace="app",
            type_name="system",
            declared=after,
        )
        return effective.on, effective.rule, effective.fields

    assert found(SYSTEM) == (True, "answer", None)
    assert found(changed(SYSTEM, question="Other words?")) == (True, "answer", ALL)
    more = changed(SYSTEM, fields=[*shown(SYSTEM)["fields"], NEW_FIELD])
    assert found(more) == (True, "changed", ALL)
    assert found(changed(SYSTEM, why="To sell it.")) == (False, "changed", frozenset())


@st.composite
def upgrades(draw: st.DrawFn) -> tuple[EventType, EventType]:
    """An event type before and after any mixture of changes."""
    before = draw(st.sampled_from(list(TYPES.values())))
    wire = copy.deepcopy(shown(before))
    wire["fields"] = [one for one in wire["fields"] if draw(st.integers(0, 5))]
    for one in wire["fields"]:
        if one["type"] == "enum" and "source" not in one and draw(st.booleans()):
            one["values"] = draw(
                st.lists(st.sampled_from([*one["values"], "n1", "n2"]), min_size=1, unique=True)
            )
        if not draw(st.integers(0, 4)):
            one["says"] = "Something else."
        if "randomize" in one and draw(st.booleans()):
            one["randomize"] = draw(st.integers(500, 1500))
            if one["randomize"] > 1400:
                del one["randomize"]
    if draw(st.booleans()):
        wire["fields"].append(dict(NEW_FIELD))
    if not draw(st.integers(0, 3)):
        wire["retention_days"] = draw(st.integers(1, 900))
    wire["entropy_bits"] = 28
    wire["chart"] = "table"
    reader = Reader(strict=False)
    after = read_type(reader, before.name, wire)
    # What was added can be too much for one report.
    assume(after is not None and not reader.problems)
    assert after is not None
    return before, after


@given(upgrades(), st.data())
def test_an_upgrade_never_adds_to_what_leaves(
    pair: tuple[EventType, EventType], data: st.DataObject
) -> None:
    before, after = pair
    names = [field.name for field in before.fields]
    agreed = data.draw(
        st.none() | st.lists(st.sampled_from(names), unique=True).map(frozenset), label="agreed"
    )
    still, changes = covered(answer(before, agreed), after)
    if still is None:
        assert changes
        return
    known = {field.name: field for field in before.fields}
    for name in still:
        assert agreed is None or name in agreed
        old, new = known[name], after.field(name)
        assert new is not None
        assert new.says == old.says
        if old.randomize is not None:
            assert new.randomize is not None
            assert new.randomize <= old.randomize
        if old.type == "enum":
            assert set(new.params["values"]) <= set(old.params["values"])  # type: ignore[call-overload]
    assert after.retention_days <= before.retention_days


def test_the_publisher_holds_back_what_the_newest_catalog_asks_beyond_an_answer(
    shop: Catalog, paths: Paths, clock: ManualClock
) -> None:
    name = namespace_of(shop.label, shop.short_key)
    grant(paths, name, ["view", "visit"], now=1, catalog=shop)
    ask = consent_of(paths, name, "relay", clock)
    names = {"color", "size", "version"}
    assert ask().allowed == {"view": names, "visit": {*names, "daily"}}
    wire = shown(shop.types["view"])
    types = {
        "view": changed(shop.types["view"], fields=[*wire["fields"], NEW_FIELD]),
        "visit": changed(shop.types["visit"], why="To sell it."),
    }
    content = Content(shop.label, 2, shop.id, shop.contact, shop.results, types)
    raw = seal(Kind.CATALOG, encode(content.to_wire()), bytes(32))
    newer = load(raw)
    outbox = Journal(paths.outbox(name), clock=clock)
    outbox.keep_catalog(shop.id, shop.raw)
    assert ask().allowed == {"view": names, "visit": {*names, "daily"}}
    outbox.keep_catalog(newer.id, newer.raw)
    outbox.close()
    assert ask().allowed == {"view": names}
    assert ask().withdrawn == frozenset(), "nothing is forgotten: the person may yet say yes"

"""The same earlier answer and the same intent give the same ledger, whichever surface is used."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.cli.main import main as command
from methrics.node.base.main import main as base_command
from methrics.node.clock import ManualClock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger import read_answers
from methrics.node.consent.page import form, render
from methrics.node.consent.prompt import prompt
from methrics.node.consent.questions import ANSWERED, Question
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source

SEED = bytes(32)
SOURCE = """
[catalog]
label = "editor"
contact = "https://example.org/editor"
[types.look]
kind = "event"
question = "How is it set up?"
why = "{why}"
owner = "Test"
review = "https://example.org/review"
expires = 2030-01-01
retention_days = 30
entropy_bits = 20
chart = "table"
[types.look.release]
delay = 300
jitter = 600
"""
FIELD = """
[types.look.fields.{name}]
type = "enum"
values = ["a", "b"]
says = "Which {name} you use."
"""
OLD = ("theme", "tables", "extensions")
NEW = (*OLD, "toc")


def source(*fields: str, why: str = "It is needed.") -> str:
    return SOURCE.format(why=why) + "".join(FIELD.format(name=name) for name in fields)


FIRST = load(sign(parse_source(source(*OLD)), SEED))
LATER = {
    "the same": FIRST,
    "a field more": load(sign(parse_source(source(*NEW)), SEED, previous=FIRST)),
    "another purpose": load(
        sign(parse_source(source(*NEW, why="To sell it.")), SEED, previous=FIRST)
    ),
}
APP = namespace_of(FIRST.label, FIRST.short_key)


class Earlier(NamedTuple):
    """The earlier answer to the first catalog; "" for none."""

    said: str
    fields: tuple[str, ...]
    routes: tuple[str, ...]


class Intent(NamedTuple):
    """What the person wants: to accept what is asked, to keep to the earlier answer, to stop, to
    decide later, or to share just `fields`."""

    word: str
    fields: tuple[str, ...] = ()


SOME = st.lists(st.sampled_from(OLD), min_size=1, unique=True).map(tuple)
EARLIER = st.builds(
    Earlier,
    st.sampled_from(["", "yes", "yes", "no", "not-now"]),
    SOME,
    st.sampled_from([("relay",), ("direct", "relay"), ("direct",)]),
)
INTENTS = st.one_of(
    st.sampled_from([Intent("accept"), Intent("keep"), Intent("stop"), Intent("later")]),
    st.builds(Intent, st.just("choose"), SOME),
)

Surface = Callable[[Asking, Question, Intent], bool]
"""Gives the answer; returns False if the surface has no way to say it."""


def by_app(asking: Asking, question: Question, intent: Intent) -> bool:
    word = {"accept": "yes", "keep": "keep", "stop": "no", "later": "not-now"}.get(intent.word)
    asking.answer("look", word or "yes", fields=None if word else intent.fields)
    return True


def by_prompt(asking: Asking, question: Question, intent: Intent) -> bool:
    if question.state == ANSWERED:
        return False  # the prompt asks open questions only
    changed = question.state == "changed" and not question.lapsed
    numbers = [
        str(number)
        for number, field in enumerate(question.event_type.fields, 1)
        if (field.name in question.offered) != (field.name in intent.fields)
    ]
    typed = {
        "accept": "y\n",
        "keep": "n\n",
        "stop": "c\ns\n" if changed else "n\n",
        "later": "\n",
        "choose": f"c\ny\n{' '.join(numbers)}\n\n",
    }[intent.word]
    out = io.StringIO()
    prompt(asking, [asking.sheet(question)], stdin=io.StringIO(typed), stdout=out)
    return True


def by_prompt_one_by_one(asking: Asking, question: Question, intent: Intent) -> bool:
    """As `by_prompt`, by the key that asks about each type. Enter takes the fields as shown."""
    typed = {"accept": "c\ny\n\n\n", "keep": "c\nn\n", "later": "c\n\n"}.get(intent.word)
    if question.state == ANSWERED or typed is None:
        return False
    out = io.StringIO()
    prompt(asking, [asking.sheet(question)], stdin=io.StringIO(typed), stdout=out)
    return True


def by_page(asking: Asking, question: Question, intent: Intent) -> bool:
    """The form as the page shows it, and then the switches that the person moves."""
    asked = asking.sheet(question)
    shown = render.questions_page(asking.first_screen([question]), [asked], "token")
    if intent.word == "later" and question.state == ANSWERED:
        return False  # the page offers to put off open questions only
    on = re.findall(r'name="field-0" value="(\w+)" checked', shown)
    said, fields = "yes", intent.fields
    if intent.word == "accept":
        fields = tuple(on)
    elif intent.word == "keep" and 'value="keep"' in shown:
        said, fields = "keep", tuple(on)
    elif intent.word == "keep":
        fields = tuple(question.still)
        said = "yes" if fields else "no"
    elif intent.word in ("stop", "later"):
        said = {"stop": "no", "later": "not-now"}[intent.word]
    sent = {
        "answer-0": [said],
        "field-0": list(fields),
        "route-0": re.findall(r'name="route-0" value="(\w+)" checked', shown),
    }
    result = form.answers(asking, [asked], sent)
    assert result.errors == []
    if result.edits:
        asking.write(result.edits)
    return True


def by_command(run: Callable[[list[str]], int]) -> Surface:
    def answer(asking: Asking, question: Question, intent: Intent) -> bool:
        fields = {"accept": (), "keep": tuple(question.still)}.get(intent.word, intent.fields)
        assert asking.paths.home is not None
        with tempfile.NamedTemporaryFile(suffix=".cbor") as file:
            file.write(asking.catalogs[0].raw)
            file.flush()
            grant = ["grant", "--catalog", file.name, "--type", "look", "--yes"]
            grant += [word for name in fields for word in ("--field", name)]
            if intent.word == "later":
                return False  # no command puts a question off
            if intent.word == "stop" or (intent.word == "keep" and not fields):
                if not read_answers(asking.paths.ledger).get(APP):
                    return False  # the command stops apps that it knows
                grant = ["withdraw", "--app", APP]
            assert run(["consent", *grant, "--home", asking.paths.home]) == 0
        return True

    return answer


SURFACES: dict[str, Surface] = {
    "app": by_app,
    "prompt": by_prompt,
    "prompt, one by one": by_prompt_one_by_one,
    "page": by_page,
    "command": by_command(command),
    "base command": by_command(base_command),
}


def decided(paths: Paths) -> dict[str, tuple[bool, frozenset[str] | None, frozenset[str]]]:
    """What the ledger allows: for the type, and for types that the app adds later."""
    found = read_answers(paths.ledger).get(APP, {})
    return {
        name: (answer.on, answer.fields, answer.routes)
        for name, answer in found.items()
        if name == "look" or not answer.on
    }


def after(
    surface: Surface, earlier: Earlier, catalog: Catalog, intent: Intent
) -> dict[str, object] | None:
    with tempfile.TemporaryDirectory() as folder:
        paths = user_paths(folder, policy=str(Path(folder) / "policy.json"))
        clock = ManualClock(1_800_000_000)
        if earlier.said:
            yes = {"fields": earlier.fields, "routes": earlier.routes}
            before = Asking([FIRST], paths, clock=clock)
            before.answer("look", earlier.said, **(yes if earlier.said == "yes" else {}))
        asking = Asking([catalog], paths, clock=clock)
        (question,) = asking.questions(everything=True)
        if not surface(asking, question, intent):
            return None
        return dict(decided(paths))


def same(earlier: Earlier, change: str, intent: Intent) -> None:
    expected = after(by_app, earlier, LATER[change], intent)
    assert expected is not None
    for name, surface in SURFACES.items():
        found = after(surface, earlier, LATER[change], intent)
        assert found in (None, expected), name


@pytest.mark.parametrize("change", LATER)
@pytest.mark.parametrize("word", ["accept", "keep", "stop", "later", "choose"])
@pytest.mark.parametrize("said", ["", "yes", "no", "not-now"])
def test_each_intent_after_each_answer_gives_the_same_ledger(
    change: str, word: str, said: str
) -> None:
    fields = ("tables", "extensions") if word == "choose" else ()
    same(Earlier(said, ("theme", "tables"), ("relay",)), change, Intent(word, fields))


@settings(max_examples=40, deadline=None)
@given(EARLIER, st.sampled_from(sorted(LATER)), INTENTS)
def test_the_same_intent_gives_the_same_ledger_on_every_surface(
    earlier: Earlier, change: str, intent: Intent
) -> None:
    same(earlier, change, intent)


@settings(max_examples=40, deadline=None)
@given(SOME, st.sampled_from(sorted(LATER)), st.sampled_from(["accept", "keep", "stop", "later"]))
def test_no_surface_brings_back_a_field_that_was_left_out(
    agreed: tuple[str, ...], change: str, word: str
) -> None:
    left_out = set(OLD) - set(agreed)
    earlier = Earlier("yes", agreed, ("relay",))
    for name, surface in SURFACES.items():
        found = after(surface, earlier, LATER[change], Intent(word)) or {}
        on, fields, _ = found.get("look", (False, frozenset(), frozenset()))  # type: ignore[misc]
        assert not left_out & set(fields if on else ()), name


def test_a_no_to_the_only_type_covers_later_types_on_every_surface() -> None:
    for name, surface in SURFACES.items():
        found = after(surface, Earlier("not-now", (), ()), FIRST, Intent("stop"))
        assert found is None or EVERY in found, name

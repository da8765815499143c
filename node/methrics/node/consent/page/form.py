"""Converts the form that a person sent from the page to answers to be written (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.questions import ANSWERED, Question
from methrics.node.consent.wording import Sheet
from methrics.schema.errors import ConfigError

FORM_MAX = 262_144
"""Most bytes of a form, which is far more than the types and fields of several apps need."""
_PAIRS_MAX = 20_000

Form = Mapping[str, Sequence[str]]


class Given(NamedTuple):
    """The result of reading a form. `edits`: the answers to write. `errors`: why no answer can be
    written, in words. `wrong`: the numbers of the questions that the errors are about. `elsewhere`:
    the questions that were answered elsewhere since the form was made; if there are any, no answer
    is written either."""

    edits: list[Edit]
    errors: list[str]
    wrong: tuple[int, ...] = ()
    elsewhere: tuple[Sheet, ...] = ()


def parse(body: bytes) -> Form:
    """Returns the form's fields. Raises ValueError for a body that no browser sends."""
    return parse_qs(
        body.decode("ascii"),
        keep_blank_values=True,
        strict_parsing=True,
        encoding="utf-8",
        errors="strict",
        max_num_fields=_PAIRS_MAX,
    )


def mark(question: Question) -> str:
    """Returns a short text that differs if the question has another answer. The form contains it,
    so that an answer given elsewhere is noticed."""
    answer = question.answer
    if answer is None:
        return "none"
    fields = None if answer.fields is None else sorted(answer.fields)
    known = (answer.said, fields, sorted(answer.routes), answer.time, answer.later)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def tied(key: str, number: int) -> bool:
    """Returns whether an input of this name belongs to the question of this number."""
    return key.endswith(f"-{number}") and key.partition("-")[0] in ("answer", "field", "route")


def elsewhere(sheets: Sequence[Sheet], form: Form) -> list[int]:
    """Returns the numbers of the questions that were answered elsewhere since the form was made."""
    found = []
    for number, one in enumerate(sheets):
        seen = form.get(f"seen-{number}")
        if seen and seen[0] != mark(one.question):
            found.append(number)
    return found


def without(form: Form, numbers: Collection[int]) -> Form:
    """Returns the form without what it says about the questions of these numbers."""
    return {
        key: value
        for key, value in form.items()
        if not any(tied(key, number) for number in numbers)
    }


def answers(asking: Asking, sheets: Sequence[Sheet], form: Form) -> Given:
    """Returns the answers in `form` to the questions of `sheets`, which have the numbers of the
    page. Answers that have not changed are left out. The button that was pressed can give one
    answer to all questions: `no`, `not-now` to those that are open, or `yes` as far as the switches
    allow."""
    pressed = (form.get("all") or [""])[0]
    if pressed == "no":
        return Given(asking.same_answer([one.question for one in sheets], "no"), [])
    edits: list[Edit] = []
    errors: dict[int, str] = {}
    for number, one in enumerate(sheets):
        if pressed == "not-now" and one.question.state == ANSWERED:
            continue
        refused = one.question.answer is not None and one.question.answer.said == "no"
        if pressed == "yes" and refused and one.question.state == ANSWERED:
            continue
        said = pressed or (form.get(f"answer-{number}") or [""])[0]
        fields = form.get(f"field-{number}", ())
        routes = form.get(f"route-{number}", ())
        if said == "yes" and not routes:
            errors[number] = f"{one.title}: choose at least one way for it to leave, or say no."
            continue
        if (
            said == "yes"
            and one.fields
            and not fields
            and one.question.event_type.max_count is None
        ):
            errors[number] = f"{one.title}: switch on at least one thing it may say, or say no."
            continue
        try:
            edit = asking.edit(
                one.title, said, fields=fields, routes=routes, namespace=one.question.namespace
            )
        except ConfigError as error:
            errors[number] = f"{one.title}: {error}"
            continue
        if not _unchanged(one, edit):
            edits.append(edit)
    return Given([] if errors else edits, list(errors.values()), tuple(errors))


def _unchanged(one: Sheet, edit: Edit) -> bool:
    """Returns whether `edit` is the same as the person's current answer."""
    question = one.question
    if question.state != ANSWERED or question.answer is None or question.answer.said != edit.said:
        return False
    if edit.said != "yes":
        return True
    return question.still == frozenset(edit.fields or ()) and question.answer.routes == frozenset(
        edit.routes
    )

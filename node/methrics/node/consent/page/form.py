"""Converts the form that a person sent from the page to answers to be written (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger_format import Edit
from methrics.node.consent.questions import ANSWERED
from methrics.node.consent.wording import Sheet
from methrics.schema.errors import ConfigError

FORM_MAX = 262_144
"""Most bytes of a form, which is far more than the types and fields of several apps need."""
_PAIRS_MAX = 20_000

Form = Mapping[str, Sequence[str]]


class Given(NamedTuple):
    """The result of reading a form. `edits`: the answers to write. `errors`: why no answer can be
    written, in words."""

    edits: list[Edit]
    errors: list[str]


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


def answers(asking: Asking, sheets: Sequence[Sheet], form: Form) -> Given:
    """Returns the answers in `form` to the questions of `sheets`, which have the numbers of the
    page. Answers that have not changed are left out."""
    if form.get("all") == ["no"]:
        return Given(asking.same_answer([one.question for one in sheets], "no"), [])
    edits: list[Edit] = []
    errors: list[str] = []
    for number, one in enumerate(sheets):
        said = (form.get(f"answer-{number}") or [""])[0]
        fields = form.get(f"field-{number}", ())
        routes = form.get(f"route-{number}", ())
        if said == "yes" and not routes:
            errors.append(f"{one.title}: choose at least one way for it to leave, or say no.")
            continue
        if (
            said == "yes"
            and one.fields
            and not fields
            and one.question.event_type.max_count is None
        ):
            errors.append(f"{one.title}: switch on at least one thing it may say, or say no.")
            continue
        try:
            edit = asking.edit(
                one.title, said, fields=fields, routes=routes, namespace=one.question.namespace
            )
        except ConfigError as error:
            errors.append(f"{one.title}: {error}")
            continue
        if not _unchanged(one, edit):
            edits.append(edit)
    return Given([] if errors else edits, errors)


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

"""Makes the HTML of the page (pure): one document without scripts or images."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from methrics.node.consent.first_screen import NOTHING_YET
from methrics.node.consent.questions import ANSWERED, CHANGED, NEW
from methrics.node.consent.wording import NAMELESS, PUBLIC, ROUTE_WORDS, Sheet
from methrics.node.html.templates import render
from methrics.schema.wire.diagnostic import hexdump

OFFERED = ("relay", "direct")
"""Routes that always have a switch. A route that was allowed before has a switch too."""

_LINK = re.compile(r"https://[^\s<>&;\"']*[^\s<>&;\"'.,]")
_ANSWERS = {
    "yes": "Yes, share this",
    "no": "No, never",
    "not-now": "Not now",
}
_SO_FAR = {"yes": "You said yes to this.", "no": "You said no to this."}


@dataclass(frozen=True, slots=True)
class Option:
    """A radio button or switch: the `value` that the form sends, its `label`, and whether it is
    `on`."""

    value: str
    label: str
    on: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One question as the page shows it. `number`: the number in the names of its inputs.
    `changed`: whether it has changed since a yes. `so_far`: the current answer in words, empty if
    there is none. `fields`: the fields that are switched on."""

    number: int
    sheet: Sheet
    changed: bool
    so_far: str
    answers: tuple[Option, ...]
    fields: frozenset[str]
    routes: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: an https address to link, or plain text."""

    text: str
    link: bool


@cache
def style() -> str:
    """Returns the style sheet, which is part of the document."""
    return files(__package__ or __name__).joinpath("style.css").read_text("utf-8")


@cache
def policy() -> str:
    """Returns the Content-Security-Policy. It only allows this style sheet, and a form that is sent
    to this server."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def questions_page(
    sheets: Sequence[Sheet],
    token: str,
    *,
    overridden: str = "",
    errors: Iterable[str] = (),
    given: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Returns the page with every question. `overridden`: the rule that forbids everything, in
    words. After a refused form, `errors` are the reasons and `given` is the form as it was sent."""
    return _page(
        "questions.html",
        title="Usage reports: your choice",
        apps=_names(sheets),
        lead=_lead(sheets),
        errors=list(errors),
        overridden=overridden,
        public=PUBLIC,
        nameless=NAMELESS,
        token=token,
        cards=[_card(number, one, given or {}) for number, one in enumerate(sheets)],
        pieces=_pieces,
        hexdump=hexdump,
    )


def forward_page(url: str) -> str:
    """Returns a page that leads the browser on to `url` at once, by itself or by its link."""
    return _page("forward.html", title="Usage reports", url=url)


def code_page(*, wrong: bool = False) -> str:
    """Returns the page that asks for the code. `wrong`: whether the last one was wrong."""
    return _page("code.html", title="Usage reports: the code", wrong=wrong)


def message_page(title: str, lines: Iterable[str], *, good: bool) -> str:
    """Returns a page with a heading and some sentences, without a form."""
    return _page("message.html", title=title, lines=list(lines), good=good)


def _page(template: str, **values: object) -> str:
    return render("methrics.node.consent.page", template, style=style(), **values)


def saved_lines(
    answers: Iterable[tuple[str, str, Sequence[str] | None]], *, way_back: str
) -> list[str]:
    """Returns the lines about saved answers, each a triple of event type, answer and fields.
    `way_back`: the command that changes answers."""
    lines = []
    for name, said, fields in answers:
        listed = "every field" if fields is None else ", ".join(fields) or "no field"
        lines.append({"yes": f"{name}: on ({listed})", "no": f"{name}: off"}.get(said, ""))
    again = f"To change your mind: {way_back}"
    return [line or "" for line in lines if line] + [again, "You can close this page."]


def _names(sheets: Sequence[Sheet]) -> str:
    names = list(dict.fromkeys(one.question.catalog.label for one in sheets)) or ["apps"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lead(sheets: Sequence[Sheet]) -> str:
    if any(one.question.answer is not None and one.question.answer.on for one in sheets):
        return "Your answers so far are shown below. The app works the same whatever you choose."
    return NOTHING_YET


def _card(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> Card:
    return Card(
        number=number,
        sheet=one,
        changed=one.question.state == CHANGED,
        so_far=_so_far(one),
        answers=_answers(number, one, given),
        fields=_fields(number, one, given),
        routes=_routes(number, one, given),
    )


def _pieces(text: str) -> list[Piece]:
    """Splits `text` at its https addresses, which become links on the page."""
    parts = re.split(f"({_LINK.pattern})", text)
    return [Piece(part, link=bool(place % 2)) for place, part in enumerate(parts)]


def _so_far(one: Sheet) -> str:
    question = one.question
    if question.state != ANSWERED or question.answer is None:
        return ""
    when = f" On {question.answer.time[:10]}." if question.answer.time else ""
    return f"{_SO_FAR[question.answer.said]}{when}"


def _answers(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> tuple[Option, ...]:
    question = one.question
    said = "not-now"
    if question.state == ANSWERED and question.answer is not None:
        said = question.answer.said
    said = (given.get(f"answer-{number}") or [said])[0]
    offered = ("yes", "no") if question.state == ANSWERED else ("yes", "no", "not-now")
    return tuple(Option(value, _ANSWERS[value], on=value == said) for value in offered)


def _fields(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> frozenset[str]:
    if given:
        return frozenset(given.get(f"field-{number}", ()))
    question = one.question
    if question.state == NEW or question.answer is None or not question.answer.on:
        return frozenset(field.name for field in one.fields)
    return frozenset(question.still)


def _routes(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> tuple[Option, ...]:
    answer = one.question.answer
    allowed = set(answer.routes) if answer is not None and answer.on else {"relay"}
    chosen = set(given.get(f"route-{number}", ())) if given else allowed
    return tuple(
        Option(route, words, on=route in chosen)
        for route, words in ROUTE_WORDS.items()
        if route in OFFERED or route in allowed
    )

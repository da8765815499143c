"""Makes the HTML of the page (pure): one document without scripts or images."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from methrics.node.consent.first_screen import (
    FOOTNOTE,
    IF_NO,
    IF_NO_LABEL,
    TO_STOP,
    FirstScreen,
    Row,
)
from methrics.node.consent.page.form import mark, tied
from methrics.node.consent.questions import ANSWERED, CHANGED
from methrics.node.consent.wording import NAMELESS, PUBLIC, ROUTE_WORDS, Sheet
from methrics.node.html.templates import render
from methrics.schema.wire.diagnostic import hexdump

OFFERED = ("relay", "direct")
"""Routes that always have a switch. A route that was allowed before has a switch too."""

_LINK = re.compile(r"https://[^\s<>&;\"']*[^\s<>&;\"'.,]")
_ANSWERS = {
    "yes": "Yes",
    "keep": "Keep as before",
    "no": "No",
    "not-now": "Not now",
}
_SO_FAR = {"yes": "You said yes to this", "no": "You said no to this"}
_NOW = {"yes": "yes", "no": "no", "not-now": "not now", "": "not answered"}


@dataclass(frozen=True, slots=True)
class Option:
    """A radio button or switch: the `value` that the form sends, its `label`, and whether it is
    `on`."""

    value: str
    label: str
    on: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One question as the page shows it. `number`: the number in the names of its inputs. `row`:
    its first layer. `mark`: what tells whether it is answered elsewhere later. `so_far`: the
    current answer in words, empty if there is none. `fields`: the fields that are switched on.
    `unfolded`: whether its details are shown at first."""

    number: int
    row: Row
    sheet: Sheet
    mark: str
    so_far: str
    answers: tuple[Option, ...]
    fields: frozenset[str]
    routes: tuple[Option, ...]
    unfolded: bool


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
    first: FirstScreen,
    sheets: Sequence[Sheet],
    token: str,
    *,
    overridden: str = "",
    errors: Iterable[str] = (),
    unfolded: Collection[int] = (),
    elsewhere: Iterable[str] = (),
    given: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Returns the page with every question. `first`: its first layer, with a row for each of
    `sheets`, in the same order. `overridden`: the rule that forbids everything, in words.

    After a refused form, `errors` are the reasons, `unfolded` are the numbers of the questions that
    they are about, whose details are shown, and `given` is the form as it was sent.
    `elsewhere`: sentences about questions that were answered elsewhere since the form was made.
    """
    # On the page, "no" refuses an event type as a whole, also one that has changed since a yes.
    facts = [(label, IF_NO if label == IF_NO_LABEL else text) for label, text in first.facts]
    return _page(
        "questions.html",
        title="Usage reports: your choice",
        first=first,
        facts=facts,
        footnote=FOOTNOTE,
        to_stop=TO_STOP,
        errors=list(errors),
        elsewhere=list(elsewhere),
        overridden=overridden,
        public=PUBLIC,
        nameless=NAMELESS,
        token=token,
        not_now=any(one.question.state != ANSWERED for one in sheets),
        cards=[
            _card(number, row, one, given or {}, unfolded=number in unfolded)
            for number, (row, one) in enumerate(zip(first.rows, sheets, strict=True))
        ],
        pieces=_pieces,
    )


def bytes_page(sheet: Sheet) -> str:
    """Returns the page with the exact bytes of an example. It makes the work stamp, which can take
    up to a minute."""
    return _page(
        "bytes.html",
        title=f"Bytes of {sheet.title}",
        name=sheet.title,
        note=sheet.note,
        hexdump=hexdump(sheet.raw, width=16),
    )


def elsewhere_lines(changed: Iterable[Sheet]) -> list[str]:
    """Returns a sentence about each question that was answered elsewhere: what holds now, since
    when, and how the answer was given."""
    lines = []
    for one in changed:
        answer = one.question.answer
        now = _NOW["" if answer is None else answer.said]
        if answer is not None and answer.on and answer.fields is not None:
            now += f" ({', '.join(sorted(answer.fields)) or 'no field'})"
        when = f", since {answer.time}" if answer is not None and answer.time else ""
        how = f", through {answer.through}" if answer is not None and answer.through else ""
        lines.append(f"{one.title}: {now}{when}{how}.")
    return lines


def forward_page(url: str) -> str:
    """Returns a page that leads the browser on to `url` at once, by itself or by its link."""
    return _page("forward.html", title="Usage reports", url=url, refresh=f"0; url={url}")


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


def _card(
    number: int, row: Row, one: Sheet, given: Mapping[str, Sequence[str]], *, unfolded: bool
) -> Card:
    sent = {key: value for key, value in given.items() if tied(key, number)}
    return Card(
        number=number,
        row=row,
        sheet=one,
        mark=mark(one.question),
        so_far=_so_far(one),
        answers=_answers(number, one, sent),
        fields=_fields(number, one, sent),
        routes=_routes(number, one, sent),
        unfolded=unfolded,
    )


def _pieces(text: str) -> list[Piece]:
    """Splits `text` at its https addresses, which become links on the page."""
    parts = re.split(f"({_LINK.pattern})", text)
    return [Piece(part, link=bool(place % 2)) for place, part in enumerate(parts)]


def _so_far(one: Sheet) -> str:
    question = one.question
    if question.state != ANSWERED or question.answer is None:
        return ""
    when = f" on {question.answer.time[:10]}" if question.answer.time else ""
    how = f", through {question.answer.through}" if question.answer.through else ""
    return f"{_SO_FAR[question.answer.said]}{when}{how}."


def _answers(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> tuple[Option, ...]:
    question = one.question
    said = "not-now"
    if question.state == ANSWERED and question.answer is not None:
        said = question.answer.said
    said = (given.get(f"answer-{number}") or [said])[0]
    offered = ["yes", "no"]
    if question.state == CHANGED and not question.lapsed:
        offered.insert(1, "keep")
    if question.state != ANSWERED:
        offered.append("not-now")
    return tuple(Option(value, _ANSWERS[value], on=value == said) for value in offered)


def _fields(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> frozenset[str]:
    if given:
        return frozenset(given.get(f"field-{number}", ()))
    if one.question.state == ANSWERED and one.question.still:
        return one.question.still
    return one.question.offered


def _routes(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> tuple[Option, ...]:
    answer = one.question.answer
    allowed = set(answer.routes) if answer is not None and answer.on else {"relay"}
    chosen = set(given.get(f"route-{number}", ())) if given else allowed
    return tuple(
        Option(route, words, on=route in chosen)
        for route, words in ROUTE_WORDS.items()
        if route in OFFERED or route in allowed
    )

"""The page's HTML (pure): one document without scripts, images or anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files

from methrics.node.consent.questions import ANSWERED, CHANGED, NEW
from methrics.node.consent.wording import AGAIN, NAMELESS, NOTHING_YET, PUBLIC, ROUTE_WORDS, Sheet
from methrics.schema.wire.diagnostic import hexdump

OFFERED = ("relay", "direct")
"""Routes with a switch; one that was allowed otherwise keeps its own."""

_LINK = re.compile(r"https://[^\s<>&;\"']*[^\s<>&;\"'.,]")
_ANSWERS = {
    "yes": "Yes, share this",
    "no": "No, never",
    "not-now": "Not now",
}
_STANDS = {"yes": "You said yes to this.", "no": "You said no to this."}


@cache
def style() -> str:
    """The style sheet, which stands in the document."""
    return files(__package__ or __name__).joinpath("style.css").read_text("utf-8")


@cache
def policy() -> str:
    """The Content-Security-Policy: nothing but this one style sheet and a form to ourselves."""
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
    """The page with every question. `overridden`: in words, the rule that says no to everything;
    `errors` and `given` (the form as it was sent) for a form that could not be taken."""
    names = _names(sheets)
    parts = [
        '<a class="skip" href="#answers">Skip to your answers</a>',
        f"<header><h1>May {escape(names)} share usage reports?</h1>",
        f'<p class="lead">{escape(_lead(sheets))}</p></header><main>',
    ]
    wrong = list(errors)
    if wrong:
        listed = "".join(f"<p>{escape(text)}</p>" for text in wrong)
        parts.append(f'<div class="error" role="alert"><h2>Not saved yet</h2>{listed}</div>')
    if overridden:
        parts.append(
            '<div class="notice"><h2>Off, whatever you answer</h2>'
            f"<p>{escape(overridden)}</p></div>"
        )
    parts += [
        f'<section class="public"><h2>Before you say yes</h2><p>{escape(PUBLIC)}</p></section>',
        f"<p>{escape(NAMELESS)}</p>",
        '<form method="post" action="save" id="answers" autocomplete="off">',
        f'<input type="hidden" name="token" value="{escape(token)}">',
    ]
    app = ""
    for number, one in enumerate(sheets):
        if one.question.namespace != app:
            app = one.question.namespace
            label = escape(one.question.catalog.label)
            parts.append(f'<h2 class="app">{label} <code>{escape(app)}</code></h2>')
        parts.append(_card(number, one, given or {}))
    parts.append(
        '<div class="bar"><div><p>Nothing is saved before you press a button.</p>'
        '<button type="submit">Save my answers</button>'
        '<button type="submit" class="quiet" name="all" value="no">No to everything</button>'
        "</div></div></form></main>"
    )
    return _document("Usage reports: your choice", "".join(parts))


def message_page(title: str, lines: Iterable[str], *, good: bool) -> str:
    """A page that only says something."""
    said = "".join(f"<p>{escape(line)}</p>" for line in lines)
    kind = "notice done" if good else "notice"
    return _document(
        title,
        f'<main><h1>{escape(title)}</h1><div class="{kind}" role="status" aria-live="polite">'
        f"{said}</div></main>",
    )


def saved_lines(answers: Iterable[tuple[str, str, Sequence[str] | None]]) -> list[str]:
    """What was saved, in words: (event type, answer, fields) each."""
    lines = []
    for name, said, fields in answers:
        listed = "every field" if fields is None else ", ".join(fields) or "no field"
        lines.append({"yes": f"{name}: on ({listed})", "no": f"{name}: off"}.get(said, ""))
    return [line or "" for line in lines if line] + [AGAIN, "You can close this page."]


def _names(sheets: Sequence[Sheet]) -> str:
    names = list(dict.fromkeys(one.question.catalog.label for one in sheets)) or ["apps"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lead(sheets: Sequence[Sheet]) -> str:
    if any(one.question.answer is not None and one.question.answer.on for one in sheets):
        return "Your answers so far are shown below. The app works the same whatever you choose."
    return NOTHING_YET


def _card(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> str:
    parts = [
        f'<fieldset class="card"><legend><span class="type">{escape(one.title)}</span>'
        f'<span class="asks">{escape(one.asks)}</span></legend>',
        _standing(one),
        _choices(number, one, given),
        "<dl>",
        *(f"<dt>{escape(label)}</dt><dd>{_linked(text)}</dd>" for label, text in one.facts),
        "</dl>",
        _fields(number, one, given),
        _routes(number, one, given),
    ]
    if one.report:
        parts.append(
            "<details open><summary>A real report, exactly as it would leave</summary>"
            f'<pre tabindex="0" aria-label="Example report of {escape(one.title)}">'
            f"{escape(one.report)}</pre>"
            f'<p class="hint">{escape(one.note)}</p>'
            "<details><summary>The same, byte for byte</summary>"
            f'<pre tabindex="0" aria-label="Bytes of the example report of {escape(one.title)}">'
            f"{escape(hexdump(one.raw, width=16))}</pre></details></details>"
        )
    return "".join(parts) + "</fieldset>"


def _linked(text: str) -> str:
    """Text with its https addresses as links, which open beside this page."""
    return _LINK.sub(
        lambda found: (
            f'<a href="{found[0]}" target="_blank" rel="noopener noreferrer">{found[0]}</a>'
        ),
        escape(text),
    )


def _standing(one: Sheet) -> str:
    question = one.question
    if question.state == CHANGED:
        listed = "".join(f"<p>{escape(text)}</p>" for text in one.news)
        return (
            '<div class="notice"><h2>This has changed</h2><p>You said yes before; what is new '
            f"stays off until you say yes to it.</p>{listed}</div>"
        )
    if question.state == ANSWERED and question.answer is not None:
        when = f" On {question.answer.time[:10]}." if question.answer.time else ""
        return f'<p class="hint">{_STANDS[question.answer.said]}{escape(when)}</p>'
    return ""


def _choices(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> str:
    question = one.question
    said = "not-now"
    if question.state == ANSWERED and question.answer is not None:
        said = question.answer.said
    said = (given.get(f"answer-{number}") or [said])[0]
    offered = ("yes", "no") if question.state == ANSWERED else ("yes", "no", "not-now")
    labels = "".join(
        f'<label><input type="radio" name="answer-{number}" value="{value}" class="{value}"'
        f"{' checked' if value == said else ''}>{_ANSWERS[value]}</label>"
        for value in offered
    )
    return (
        '<div class="choices" role="radiogroup" '
        f'aria-label="Your answer about {escape(one.title)}">{labels}</div>'
    )


def _fields(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> str:
    if not one.fields:
        return ""
    name = f"field-{number}"
    chosen = set(given[name]) if given and name in given else _chosen_fields(one, bool(given))
    rows = "".join(
        f'<label class="row"><input type="checkbox" role="switch" name="{name}" '
        f'value="{escape(field.name)}"{" checked" if field.name in chosen else ""}>'
        f'<span><span class="name">{escape(field.name)}</span>. {escape(field.says)}</span>'
        f'<span class="more">Can be: {escape(field.can_be)}. '
        f"{'For example' if field.made_up else 'Here'}: {escape(field.example)}.</span></label>"
        for field in one.fields
    )
    return (
        '<fieldset class="part"><legend>What it may say about you, and nothing else</legend>'
        f'<p class="hint">Yes shares what is switched on.</p>{rows}</fieldset>'
    )


def _chosen_fields(one: Sheet, sent: bool) -> set[str]:
    question = one.question
    if sent:
        return set()
    if question.state == NEW or question.answer is None or not question.answer.on:
        return {field.name for field in one.fields}
    return set(question.still)


def _routes(number: int, one: Sheet, given: Mapping[str, Sequence[str]]) -> str:
    name, answer = f"route-{number}", one.question.answer
    allowed = set(answer.routes) if answer is not None and answer.on else {"relay"}
    chosen = set(given.get(name, ())) if given else allowed
    offered = [route for route in ROUTE_WORDS if route in OFFERED or route in allowed]
    rows = "".join(
        f'<label class="row"><input type="checkbox" role="switch" name="{name}" value="{route}"'
        f"{' checked' if route in chosen else ''}>"
        f'<span><span class="name">{route}</span>. {escape(ROUTE_WORDS[route])}</span></label>'
        for route in offered
    )
    return f'<fieldset class="part"><legend>How it may travel</legend>{rows}</fieldset>'


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style()}</style></head>"
        f'<body><div class="page">{body}</div></body></html>'
    )

"""The consent screen as text (pure): the prompt and `methrics catalog show` print the same."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from methrics.node.consent.questions import CHANGED
from methrics.node.consent.wording import NAMELESS, NOTHING_MORE, NOTHING_YET, PUBLIC, Sheet

WIDTH = 88
"""Columns at most."""

_LABELS = 12
_FIELDS = 16
"""Columns of the labels of facts, and of field names."""


def bounded(width: int) -> int:
    """A terminal's width as the screen uses it: 40 columns at least, WIDTH at most."""
    return min(max(width, 40), WIDTH)


def screen(sheets: Sequence[Sheet], *, before: bool, width: int = WIDTH) -> str:
    """Everything a person reads before deciding about `sheets`, in lines of at most `width`.

    `before`: whether anything was allowed before, so that "nothing has been recorded" stays true.
    """
    apps = ", ".join(dict.fromkeys(one.question.catalog.label for one in sheets))
    parts = [
        title(f"May {apps} share usage reports?", width),
        paragraphs(NOTHING_MORE if before else NOTHING_YET, "", PUBLIC, "", NAMELESS, width=width),
    ]
    for number, one in enumerate(sheets, 1):
        parts.append(_question(one, f"{number} of {len(sheets)}: ", width))
    return "".join(parts)


def title(text: str, width: int = WIDTH) -> str:
    """A heading with a line under it."""
    return f"\n{text}\n{'-' * min(len(text), width)}\n"


def paragraphs(*texts: str, width: int = WIDTH) -> str:
    """Paragraphs, broken at `width`; a paragraph's indent holds for all its lines."""
    lines = []
    for text in texts:
        indent = " " * (len(text) - len(text.lstrip()))
        lines.append(_wrapped(text, width, first="", later=indent))
    return "\n".join(lines) + "\n"


def _question(one: Sheet, count: str, width: int) -> str:
    parts = [
        title(f"{count}{one.title} ({one.question.catalog.label})", width),
        paragraphs(one.asks, width=width),
    ]
    if one.question.state == CHANGED:
        news = (f"  {change}" for change in one.news)
        before = "You said yes to this before. It now asks for more:"
        parts.append(paragraphs("", before, *news, width=width))
    parts.append("\n")
    parts += [_fact(label, text, width) for label, text in one.facts]
    if one.fields:
        parts.append(paragraphs("", "It can say about you, and nothing else:", width=width))
        parts += [
            _fact(f"  {field.name}", f"{field.says} Can be: {field.can_be}.", width, _FIELDS)
            for field in one.fields
        ]
    if one.report:
        parts.append(paragraphs("", "A real report, exactly as it would leave:", "", width=width))
        parts.append(f"{textwrap.indent(one.report, '    ')}\n")
        parts.append(paragraphs("", one.note, width=width))
    return "".join(parts)


def _fact(label: str, text: str, width: int, column: int = _LABELS) -> str:
    """A label and its text, in two columns."""
    head = f"{label:<{column}} "
    return _wrapped(text, width, first=head, later=" " * len(head[: column + 1])) + "\n"


def _wrapped(text: str, width: int, *, first: str, later: str) -> str:
    return "\n".join(
        textwrap.wrap(
            text,
            width,
            initial_indent=first,
            subsequent_indent=later,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )

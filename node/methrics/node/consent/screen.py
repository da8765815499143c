"""Makes the text of the consent screen, for the prompt and `methrics catalog show` (pure)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from methrics.node.consent.questions import CHANGED
from methrics.node.consent.wording import NAMELESS, NOTHING_MORE, NOTHING_YET, PUBLIC, Sheet

WIDTH = 88
"""Most columns of the screen."""

_LABELS = 12
_FIELDS = 16
"""Widths of the column of fact labels and of the column of field names."""


def bounded(width: int) -> int:
    """Returns the width that the screen uses in a terminal of this width: at least 40 columns and
    at most WIDTH."""
    return min(max(width, 40), WIDTH)


def screen(sheets: Sequence[Sheet], *, before: bool, width: int = WIDTH) -> str:
    """Returns everything that a person reads before deciding about `sheets`, in lines of at most
    `width` columns.

    `before`: whether the person has allowed anything before. If so, the text does not state that
    nothing has been recorded.
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
    """Returns a heading with a line under it."""
    return f"\n{text}\n{'-' * min(len(text), width)}\n"


def paragraphs(*texts: str, width: int = WIDTH) -> str:
    """Returns paragraphs, broken at `width`. Each line has the indent of its paragraph."""
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
        caption = "An example report, made and signed like a real one:"
        parts.append(paragraphs("", caption, "", width=width))
        parts.append(f"{textwrap.indent(one.report, '    ')}\n")
        parts.append(paragraphs("", one.note, width=width))
    return "".join(parts)


def _fact(label: str, text: str, width: int, column: int = _LABELS) -> str:
    """Returns a label and its text, in two columns."""
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

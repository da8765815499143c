"""Lays out what a person reads before deciding, as text: the first screen, and details (pure).

The first screen fits a terminal: it has one row per event type and the answers to what a newcomer
asks. If it does not fit, the rows continue on further pages. The details have everything.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from methrics.node.consent.first_screen import FOOTNOTE, TO_STOP, FirstScreen, Row
from methrics.node.consent.questions import CHANGED
from methrics.node.consent.wording import NAMELESS, PUBLIC, Sheet

WIDTH = 88
"""Most columns of the screen."""
HEIGHT = 24
"""Lines of a terminal whose height is unknown."""
KEYS = 3
"""Lines below a page of the first screen: those of `keys`, and the one with ANSWER."""
ANSWER = "Your answer: "

_LABELS = 13
_FIELDS = 16
"""Widths of the column of fact labels and of the column of field names."""
_NUMBERS = 4
_AMOUNTS = 16
"""Widths of the columns of a row: its number, and its bits with the time for which it is kept."""


def bounded(width: int) -> int:
    """Returns the width that the screen uses in a terminal of this width: at least 40 columns and
    at most WIDTH."""
    return min(max(width, 40), WIDTH)


def first_pages(first: FirstScreen, *, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Returns the first screen as pages of at most `height` lines and `width` columns. A page has
    more lines only if even one row does not fit.

    Each row has the whole question and what a yes sends, if all rows fit on one page like this;
    otherwise questions are cut at the end of their line.
    """
    head = paragraphs(first.title, first.lead, width=width)
    note = paragraphs(f"* {FOOTNOTE}", width=width)
    facts = "".join(_short_fact(label, text, width) for label, text in first.facts)
    room = height - _height(head + note + facts, width) - 1
    for layout in (_whole_row, _cut_row_and_fields, _cut_row):
        rows = [layout(row, width) for row in first.rows]
        lines = sum(map(len, rows))
        if lines <= room:
            break
    gap = "\n" if lines + 2 <= room else ""
    pages: list[list[str]] = []
    for row in rows:
        if not pages or len(pages[-1]) + len(row) > room:
            pages.append([])
        pages[-1] += row
    columns = _columns(width)
    return [f"{head}{gap}{columns}\n{_lines(page)}{note}{gap}{facts}" for page in pages]


def keys(first: FirstScreen, more: int) -> tuple[str, str]:
    """Returns the two lines about the keys, below a page of the first screen after which `more`
    pages follow. A yes is offered once all rows have been shown."""
    some = len(first.rows) > 1
    no = "n: no to what is new" if first.changed else f"n: no{' to all' if some else ''}"
    yes = f"y: yes{' to all' if some else ''}"
    if more:
        yes = f"m: show more ({more} page{'' if more == 1 else 's'} left)"
    choose = "c: one by one" if some else "c: choose parts"
    one = " (d2: only line 2)" if some else ""
    return (
        f"{yes}   {no}   {choose}   d: details{one}",
        "Enter: not now, ask in 90 days   never: no to all apps   b: the exact bytes",
    )


def details(sheets: Sequence[Sheet], *, width: int = WIDTH) -> str:
    """Returns everything about `sheets` that a person can read before deciding, in lines of at most
    `width` columns."""
    parts = [paragraphs(PUBLIC, "", NAMELESS, width=width)]
    count = len(sheets)
    parts += [_question(one, f"{place} of {count}: ", width) for place, one in enumerate(sheets, 1)]
    return "".join(parts)


def whole(first: FirstScreen, sheets: Sequence[Sheet], *, width: int = WIDTH) -> str:
    """Returns the first screen, without a limit of its height, and all details."""
    rows = 10 * len(sheets) + 2 * HEIGHT
    pages = first_pages(first, width=width, height=rows)
    return "".join([*pages, "\n", details(sheets, width=width)])


def detail(one: Sheet, *, width: int = WIDTH) -> str:
    """Returns everything about one question."""
    return _question(one, "", width)


def _columns(width: int) -> str:
    """Returns the line above the rows, which names their columns."""
    room = width - _AMOUNTS
    words = "Each line is one kind of report:"[:room]
    return f"{words:<{room}}{'bits*':>6}  kept"


def _whole_row(row: Row, width: int) -> list[str]:
    return [*_question_lines(row, width), *_fields_line(row, width), *_news_lines(row, width)]


def _cut_row_and_fields(row: Row, width: int) -> list[str]:
    return [*_cut_row(row, width), *_fields_line(row, width)]


def _cut_row(row: Row, width: int) -> list[str]:
    return [_cut(row.question, row, width), *_news_lines(row, width)]


def _question_lines(row: Row, width: int) -> list[str]:
    first, *more = textwrap.wrap(row.question, width - _NUMBERS - _AMOUNTS) or [""]
    return [_cut(first, row, width), *(" " * _NUMBERS + line for line in more)]


def _cut(question: str, row: Row, width: int) -> str:
    """Returns a row's first line, with the question cut to its column."""
    room = width - _NUMBERS - _AMOUNTS
    words = textwrap.shorten(question, room, placeholder=" ...")
    return f"{row.number:>3} {words:<{room}}{row.bits:>6}  {row.kept}"


def _fields_line(row: Row, width: int) -> list[str]:
    words = textwrap.shorten(f"sends {', '.join(row.sends)}", width - 6, placeholder=" ...")
    return [f"      {words}"] if row.sends else []


def _news_lines(row: Row, width: int) -> list[str]:
    indent = " " * _NUMBERS
    return [indent + line for line in textwrap.wrap(row.news, width - _NUMBERS)]


def _short_fact(label: str, text: str, width: int) -> str:
    """Returns a fact of the first screen: a command in one line, and no word that is too long."""
    if label == TO_STOP:
        return f"{label:<{_LABELS}} {text}\n"
    room = width - _LABELS - 1
    words = [word if len(word) <= room else f"{word[: room - 3]}..." for word in text.split()]
    return _fact(label, " ".join(words), width)


def _height(text: str, width: int) -> int:
    """Returns how many lines of a terminal `text` takes."""
    return sum(max(1, -(-len(line) // width)) for line in text.splitlines())


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


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

"""Represent a page as blocks of plain text, and render it as Markdown.

The text of a page comes from catalogs, and anyone can write a catalog. So blocks contain plain
text, and each renderer escapes all text in one place: characters in a catalog cannot become a link,
an image, a script or a heading. `methrics.node.html.document` renders the HTML.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from methrics.schema.wire.reading import is_address


@dataclass(frozen=True, slots=True)
class Strong:
    """Emphasized text."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A name or command, shown as it is typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A web address. It becomes a link only if `is_link` is true; otherwise it is shown as text."""

    url: str


Span = str | Strong | Code | Link
Text = Span | tuple[Span, ...]
"""The content of one line: plain text, or several pieces in order."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 2 or 3; only the title has level 1. `anchor`: the HTML id of the
    heading."""

    level: int
    text: Text
    anchor: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph."""

    text: Text


@dataclass(frozen=True, slots=True)
class Bullets:
    """A bulleted list."""

    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head. `caption` describes the table (screen readers announce it); the first cell
    of a row names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]


Block = Heading | Paragraph | Bullets | Table


@dataclass(frozen=True, slots=True)
class Document:
    """A page: its title (plain text) and its blocks."""

    title: str
    blocks: tuple[Block, ...]


_NAME = re.compile(r"[A-Za-z0-9 ._<>|/=-]+")
_MARKS = re.compile(r"[\\`*_{}\[\]<>|~&$@^!#=]|:(?=\S)")
_FIRST = re.compile(r"^(\d+(?=[.)])|(?=[-+]))(.)")
_WWW = re.compile(r"(?i)(www)\.")


def plain(text: str) -> str:
    """Return `text` as one line: breaks and control characters become spaces, and invisible
    characters are removed.

    Characters that reverse the direction of writing or have no width could make a page read
    differently from its bytes.
    """
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if category in ("Cc", "Zl", "Zp", "Zs"):
            kept.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn"):
            kept.append(char)
    return " ".join("".join(kept).split())


def spaced(span: str, shown: str) -> str:
    """Add to `shown` the spaces at the ends of `span`, which separate it from the pieces beside
    it."""
    lead, tail = " " * span.startswith(" "), " " * (span.endswith(" ") and len(span) > 1)
    return f"{lead}{shown}{tail}"


def is_link(url: str) -> bool:
    """Tell whether `url` may be a link: https, without characters that HTML or Markdown
    interprets."""
    return is_address(url)


def spans(text: Text) -> tuple[Span, ...]:
    """Return the pieces of a line."""
    return text if isinstance(text, tuple) else (text,)


def words(text: Text) -> str:
    """Return the plain text of a line."""
    return "".join(
        piece if isinstance(piece, str) else piece.url if isinstance(piece, Link) else piece.text
        for piece in spans(text)
    )


def markdown(document: Document) -> str:
    """Render the page as CommonMark with GitHub's tables, ending with a line break."""
    parts = [f"# {escape(document.title)}"]
    parts += [_markdown_block(block) for block in document.blocks]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape plain text for Markdown, so that a line, cell or heading shows exactly `text`."""
    safe = _MARKS.sub(r"\\\g<0>", plain(text))
    safe = _FIRST.sub(lambda found: f"{found[1] or ''}\\{found[2]}", safe)
    return _WWW.sub(r"\1\\.", safe)


def _markdown_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_inline(block.text)}"
    if isinstance(block, Paragraph):
        return _inline(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_inline(item)}" for item in block.items)
    lines = [tuple(map(escape, block.head)), tuple("---" for _ in block.head)]
    lines += [tuple(map(_inline, row)) for row in block.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inline(text: Text) -> str:
    return "".join(map(_markdown_span, spans(text)))


def _markdown_span(span: Span) -> str:
    if isinstance(span, str):
        return spaced(span, escape(span))
    if isinstance(span, Strong):
        return f"**{escape(span.text)}**" if plain(span.text) else ""
    if isinstance(span, Link):
        return f"<{span.url}>" if is_link(span.url) else escape(span.url)
    safe = _NAME.fullmatch(span.text) and "|" not in span.text and span.text.strip() == span.text
    return f"`{span.text}`" if safe else escape(span.text)

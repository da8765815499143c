"""A catalog page (`methrics.schema.pages.document`) as one self-contained HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from methrics.node.html.templates import render
from methrics.schema.pages.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    Paragraph,
    Span,
    Strong,
    Table,
    Text,
    is_link,
    plain,
    spaced,
    spans,
    words,
)

_PACKAGE = "methrics.node.html"
_BLOCKS: dict[type[Block], str] = {
    Heading: "heading",
    Paragraph: "paragraph",
    Bullets: "bullets",
    Table: "table",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one form: `kind` is text, strong, code or link."""

    kind: str
    text: str


def web_page(document: Document, *, foot: str = "") -> str:
    """The page as one HTML file: it has no script and loads nothing; a screen reader, a dark
    theme and a printer can use it.

    `foot` is a plain sentence under the page. Needs the extra `node`.
    """
    return render(
        _PACKAGE,
        "document.html",
        title=document.title,
        contents=[one for one in document.blocks if isinstance(one, Heading) and one.level == 2],
        blocks=document.blocks,
        foot=foot,
        style=_style(),
        block_kind=lambda block: _BLOCKS[type(block)],
        pieces=_pieces,
        plain=plain,
        words=words,
    )


@cache
def _style() -> str:
    return files(_PACKAGE).joinpath("document.css").read_text("utf-8").strip()


def _pieces(text: Text) -> list[Piece]:
    return [_piece(span) for span in spans(text)]


def _piece(span: Span) -> Piece:
    if isinstance(span, str):
        return Piece("text", spaced(span, plain(span)))
    if isinstance(span, Strong):
        return Piece("strong", plain(span.text))
    if isinstance(span, Code):
        return Piece("code", plain(span.text))
    return Piece("link" if is_link(span.url) else "text", plain(span.url))

"""A page as plain blocks, written as Markdown or as one self-contained HTML file.

Text comes from catalogs, and catalogs come from strangers. So a page is never pasted together from
markup: it is built of blocks that hold plain text, and each writer escapes every text in one place.
What stands in a catalog can be read on the page, and can be nothing else there: no link of its own,
no image, no script, no heading, whatever characters it holds.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strong:
    """Text that matters more."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A name or command, shown as it is typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """An address of the web: a link if it is plainly one (https, unreserved characters)."""

    url: str


Span = str | Strong | Code | Link
Text = Span | tuple[Span, ...]
"""What stands in a line: plain text, or several pieces in order."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Level 2 or 3; the title is the only level 1. `anchor`: its HTML id, letters and dashes."""

    level: int
    text: Text
    anchor: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph."""

    text: Text


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list without order."""

    items: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; `caption` says what it shows, for those who do not see it. The first cell
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


_URL = re.compile(r"https://[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/?=&%+#-]*)?")
_NAME = re.compile(r"[A-Za-z0-9 ._<>|/=-]+")
_MARKS = re.compile(r"[\\`*_{}\[\]<>|~&$@^!#=]|:(?=\S)")
_FIRST = re.compile(r"^(\d+(?=[.)])|(?=[-+]))(.)")
_WWW = re.compile(r"(?i)(www)\.")


def plain(text: str) -> str:
    """One line: spaces for breaks and controls, nothing for what is not seen.

    Characters that turn the direction of writing, or have no width, could make a page say
    something else than its bytes.
    """
    kept = []
    for char in text:
        category = unicodedata.category(char)
        if category in ("Cc", "Zl", "Zp", "Zs"):
            kept.append(" ")
        elif category not in ("Cf", "Cs", "Co", "Cn"):
            kept.append(char)
    return " ".join("".join(kept).split())


def is_link(url: str) -> bool:
    """Whether `url` may stand as a link: https and no character that any format gives a meaning."""
    return _URL.fullmatch(url) is not None


def spans(text: Text) -> tuple[Span, ...]:
    """The pieces of a line."""
    return text if isinstance(text, tuple) else (text,)


def words(text: Text) -> str:
    """A line without its form."""
    return "".join(
        piece if isinstance(piece, str) else piece.url if isinstance(piece, Link) else piece.text
        for piece in spans(text)
    )


# -- Markdown (CommonMark with GitHub's tables) ---------------------------------------------------


def markdown(document: Document) -> str:
    """The page as Markdown, ending with a line break."""
    parts = [f"# {escape(document.title)}"]
    parts += [_markdown_block(block) for block in document.blocks]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text as Markdown that shows just that, in a line, a cell or a heading."""
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
        # The space at an end separates it from its neighbour.
        lead, tail = " " * span.startswith(" "), " " * (span.endswith(" ") and len(span) > 1)
        return f"{lead}{escape(span)}{tail}"
    if isinstance(span, Strong):
        return f"**{escape(span.text)}**" if plain(span.text) else ""
    if isinstance(span, Link):
        return f"<{span.url}>" if is_link(span.url) else escape(span.url)
    safe = _NAME.fullmatch(span.text) and "|" not in span.text and span.text.strip() == span.text
    return f"`{span.text}`" if safe else escape(span.text)


# -- HTML ------------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2127;--soft:#55606c;--line:#d9dee4;--paper:#fff;
--band:#f4f6f8;--mark:#0b5c8a;--tint:#e8f2f8}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#a3afbb;--line:#36404a;
--paper:#14181c;--band:#1c2228;--mark:#7cc4ee;--tint:#17303f}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--paper);color:var(--ink);
font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main,nav,header,footer{max-width:62rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:3rem}
h1{font-size:2.1rem;line-height:1.2;margin:0 0 1rem;letter-spacing:-.01em}
h2{font-size:1.4rem;line-height:1.3;margin:3rem 0 .75rem;padding-top:1.25rem;
border-top:1px solid var(--line)}
h3{font-size:1.1rem;margin:2.25rem 0 .5rem}
h1,h2,h3{text-wrap:balance}
p,ul{max-width:44rem;margin:.75rem 0}
ul{padding-left:1.25rem}
li{margin:.35rem 0}
a{color:var(--mark);text-underline-offset:.15em;overflow-wrap:anywhere}
a:focus-visible,.scroll:focus-visible{outline:3px solid var(--mark);outline-offset:3px}
code{font:.9em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--band);
border:1px solid var(--line);border-radius:.3rem;padding:.05em .35em;overflow-wrap:anywhere}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:1rem;background:var(--paper);padding:.5rem 1rem;z-index:1}
nav ul{columns:18rem;list-style:none;margin:0;padding:1rem 1.25rem;max-width:none;
background:var(--band);border-radius:.6rem}
nav li{break-inside:avoid;margin:.15rem 0}
.scroll{overflow-x:auto;margin:1rem 0;border:1px solid var(--line);border-radius:.6rem}
table{border-collapse:collapse;width:100%;font-size:.95rem;line-height:1.45}
caption{text-align:left;padding:.65rem .9rem;color:var(--soft);font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.55rem .9rem;border-top:1px solid var(--line)}
thead th{background:var(--band);white-space:nowrap}
tbody th{font-weight:600}
tbody th code{white-space:nowrap}
td,th{overflow-wrap:break-word;min-width:5rem}
#in-short+ul{background:var(--tint);border-radius:.6rem;padding:1rem 1.25rem 1rem 2.25rem;
max-width:none}
footer{color:var(--soft);font-size:.9rem;padding-top:2rem;padding-bottom:3rem}
@media print{nav,.skip{display:none}body{font-size:10pt}.scroll{overflow:visible}
h2,h3{break-after:avoid}tr{break-inside:avoid}}
""".strip()

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def web_page(document: Document, *, foot: str = "") -> str:
    """The page as one HTML file: no script, nothing loaded, readable by ear, in the dark, on paper.

    `foot` is a plain sentence under the page.
    """
    headings = [one for one in document.blocks if isinstance(one, Heading)]
    contents = "\n".join(
        f'<li><a href="#{one.anchor}">{_safe(words(one.text))}</a></li>'
        for one in headings
        if one.level == 2
    )
    title = _safe(document.title)
    blocks = "\n".join(map(_html_block, document.blocks))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{title}</h1></header>
<nav aria-label="Contents">
<ul>
{contents}
</ul>
</nav>
<main id="content">
{blocks}
</main>
<footer><p>{_safe(foot)}</p></footer>
</body>
</html>
"""


def _safe(text: str) -> str:
    return html.escape(plain(text), quote=True)


def _html_block(block: Block) -> str:
    if isinstance(block, Heading):
        tag = f"h{block.level}"
        return f'<{tag} id="{block.anchor}">{_html(block.text)}</{tag}>'
    if isinstance(block, Paragraph):
        return f"<p>{_html(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>\n" + "\n".join(f"<li>{_html(item)}</li>" for item in block.items) + "\n</ul>"
    head = "".join(f'<th scope="col">{_safe(cell)}</th>' for cell in block.head)
    rows = "\n".join(f"<tr>{_row(row)}</tr>" for row in block.rows)
    caption = _safe(block.caption)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">\n<table>\n'
        f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n"
        "</tbody>\n</table>\n</div>"
    )


def _row(row: Sequence[Text]) -> str:
    first = f'<th scope="row">{_html(row[0])}</th>'
    return first + "".join(f"<td>{_html(cell)}</td>" for cell in row[1:])


def _html(text: Text) -> str:
    return "".join(map(_html_span, spans(text)))


def _html_span(span: Span) -> str:
    if isinstance(span, str):
        lead, tail = " " * span.startswith(" "), " " * (span.endswith(" ") and len(span) > 1)
        return f"{lead}{_safe(span)}{tail}"
    if isinstance(span, Strong):
        return f"<strong>{_safe(span.text)}</strong>"
    if isinstance(span, Code):
        return f"<code>{_safe(span.text)}</code>"
    if is_link(span.url):
        return (
            f'<a href="{_safe(span.url)}" rel="noopener noreferrer nofollow">{_safe(span.url)}</a>'
        )
    return _safe(span.url)

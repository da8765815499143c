"""The policy page shows all declarations, and a hostile catalog cannot inject markup."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.schema.declarations import catalog_maps, type_maps, type_of

from methrics.node.html.document import web_page
from methrics.schema.catalog.chance import randomized_words
from methrics.schema.catalog.event_type import EventType
from methrics.schema.example import example_catalog
from methrics.schema.pages.dictionary import dictionary
from methrics.schema.pages.document import (
    Bullets,
    Code,
    Document,
    Heading,
    Link,
    Paragraph,
    Strong,
    Table,
    is_link,
    markdown,
    plain,
    words,
)
from methrics.schema.pages.explain import PSEUDONYM_WORDS, Described
from methrics.schema.pages.notice import notice

CATALOG = example_catalog()
PAGES = (notice, dictionary)
Page = Callable[[Described], Document]


class Declared:
    """A catalog with one event type."""

    label = "sample"
    number = 3
    results = "https://example.org/charts"

    def __init__(self, entry: EventType, contact: str = "https://example.org/") -> None:
        self.types = {entry.name: entry}
        self.contact = contact


class Read(HTMLParser):
    """A page as a browser reads it: its tags with attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def rendered(text: str) -> list[Any]:
    """The tokens of GitHub's Markdown, inner ones included."""
    found = []
    for token in MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text):
        found += [token, *(token.children or ())]
    return found


def said(text: str) -> str:
    return "".join(one.content for one in rendered(text) if one.type in ("text", "code_inline"))


@pytest.mark.shows("KPI-13")
@given(type_maps())
@settings(max_examples=60)
def test_both_pages_say_everything_that_is_declared(wire: dict[str, Any]) -> None:
    entry = type_of(wire)
    for page in PAGES:
        document = page(Declared(entry))
        for text in (said(markdown(document)), "".join(Read(web_page(document)).text)):
            for field in entry.fields:
                assert field.name in text
                assert plain(field.says) in text
                assert plain(randomized_words(field)) in text
            for needed in (entry.question, entry.why, entry.owner, entry.review):
                assert plain(needed) in text
            if entry.sequence is not None:
                assert all(step in text for step in entry.sequence.steps)
            assert f"{entry.retention_days} days" in text
            assert PSEUDONYM_WORDS[entry.pseudonym] in text
            assert f"{entry.revealed_bits:.1f}" in text


def test_the_notice_answers_what_people_must_be_told() -> None:
    text = words_of(notice(CATALOG))
    for entry in CATALOG.types.values():
        assert entry.question in text
    for route in ("relay", "direct"):
        assert f"\n{route}\n" in text
    assert "\ntor\n" not in text
    for command in ("consent", "consent withdraw", "preview", "mine", "trail", "erase", "reset"):
        assert f"methrics {command}\n" in text
    for needed in ("DO_NOT_TRACK=1", "Public for ever", "never collected", CATALOG.contact):
        assert needed in text
    assert "180 to 730 days" in text


def words_of(document: Document) -> str:
    lines: list[str] = []
    for block in document.blocks:
        if isinstance(block, Heading | Paragraph):
            lines.append(words(block.text))
        elif isinstance(block, Bullets):
            lines += map(words, block.items)
        else:
            lines += [words(cell) for row in block.rows for cell in row]
    return "\n".join(lines) + "\n"


def test_only_who_asks_for_a_country_may_learn_one() -> None:
    bare = type_of({**_wire("heartbeat"), "fields": _wire("heartbeat")["fields"][:2]})
    assert "beyond the country" in words_of(notice(CATALOG))
    assert "beyond the country" not in words_of(notice(Declared(bare)))
    assert "\nwhere you are\n" in words_of(notice(Declared(bare)))


def _wire(name: str) -> dict[str, Any]:
    return dict(CATALOG.types[name].to_wire())


def test_a_type_without_fields_is_described() -> None:
    bare = type_of({**_wire("module"), "fields": [], "chart": "line"})
    assert "It has no fields" in words_of(notice(Declared(bare)))


ATTACKS = (
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "https://evil.example www.evil.example a@evil.example",
    "`code` ``more`` **bold** _it_ ~~gone~~ $math$ :tada:",
    "a | b | c",
    "a\\",
    "\\|",
    "# Title",
    "- item",
    "1. item",
    "+ item",
    "> quote",
    "===",
    "---",
    "[x]: https://evil.example",
    "[^1]",
    "&lt;script&gt; &#60;b&#62; &amp;",
    "{{ template }} {% x %}",
    "@everyone",
    "\u202etxt.exe\u200b",
    "line\u2028break",
    "<!-- comment",
    "]]>",
)
hostile = st.one_of(
    st.sampled_from(ATTACKS),
    st.lists(st.sampled_from(ATTACKS), min_size=2, max_size=3).map(" ".join),
    st.text(st.sampled_from(r"""<>&"'`*_~[](){}!|\#+-.=$@^:;/ ab1"""), min_size=1, max_size=40),
    st.text(st.characters(exclude_categories=["Cc"]), min_size=1, max_size=40),
)


def everywhere(text: str) -> Document:
    """A page with `text` in every place that can hold text."""
    row = (text, Strong(text), Code(text), (text, " ", Link(text)))
    return Document(
        text,
        (
            Heading(2, ("x ", text), "one"),
            Heading(3, text, "two"),
            Paragraph(text),
            Paragraph((Strong(text), text, Code(text), Link(text))),
            Bullets((text, (Code(text), "y"))),
            Table(text, (text, "b", "c", "d"), (row, row)),
        ),
    )


def shape(document: Document) -> tuple[list[str], list[str]]:
    page = Read(web_page(document, foot="foot"))
    inline = ("text", "code_inline", "strong_open", "strong_close", "softbreak")
    return (
        [tag for tag, _ in page.tags],
        [one.type for one in rendered(markdown(document)) if one.type not in inline],
    )


BENIGN = shape(everywhere("benign"))


@pytest.mark.parametrize("text", ATTACKS)
def test_attack_no_known_trick_changes_a_page(text: str) -> None:
    harmless(text)


@given(hostile)
@settings(max_examples=300)
def test_attack_no_text_of_a_stranger_changes_a_page(text: str) -> None:
    harmless(text)


def harmless(text: str) -> None:
    """The page has the same tags, tokens and attributes as with a harmless word, and shows the
    text."""
    document = everywhere(text)
    if is_link(text) or not plain(text):
        return
    assert shape(document) == BENIGN
    page = Read(web_page(document))
    for tag, attributes in page.tags:
        for name, value in attributes:
            assert not name.startswith("on"), tag
            assert name != "src"
            if name == "href":
                assert value is not None
                assert value.startswith("#")
    assert page.text.count(plain(text)) >= 8 or len(plain(text)) < 3
    tokens = rendered(markdown(document))
    assert {one.type for one in tokens}.isdisjoint({"html_inline", "html_block", "image"})
    assert not [one for one in tokens if one.type == "link_open"]
    paragraph = next(
        one
        for one in rendered(markdown(Document("t", (Paragraph(text),))))[3:]
        if one.type == "inline"
    )
    shown = "".join(one.content for one in paragraph.children or ())
    assert shown == plain(text)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://example.org/",
        "https://example.org/ onclick=x",
        "https://user@example.org/",
        'https://example.org/"',
        "https://example.org/<b>",
        "https://example.org/)",
        "https://[::1]/",
        "data:text/html,x",
        "",
    ],
)
def test_attack_only_plain_https_addresses_become_links(url: str) -> None:
    assert not is_link(url)
    document = Document("t", (Paragraph(Link(url)),))
    assert "a" not in [tag for tag, _ in Read(web_page(document)).tags][12:]
    assert [one for one in rendered(markdown(document)) if one.type == "link_open"] == []


def test_an_honest_address_is_a_link() -> None:
    page = web_page(notice(CATALOG))
    assert f'<a href="{CATALOG.contact}" rel="noopener noreferrer nofollow">' in page
    assert f"<{CATALOG.contact}>" in markdown(notice(CATALOG))


@given(catalog_maps(), hostile)
@settings(max_examples=30)
def test_attack_a_whole_hostile_catalog_gives_the_page_of_a_harmless_one(
    wire: dict[str, Any], text: str
) -> None:
    for entry in (type_of(one) for one in wire["types"].values()):
        good = Declared(entry)
        bad = Declared(entry, contact=text)
        bad.label = text
        for page in PAGES:
            if is_link(text) or not plain(text):
                continue
            tags = [tag for tag, _ in Read(web_page(page(bad))).tags]
            expected = [tag for tag, _ in Read(web_page(page(good))).tags]
            expected.remove("a")  # the contact is not a link there
            tags.remove("a") if len(tags) > len(expected) else None
            assert sorted(tags) == sorted(expected)


@pytest.mark.parametrize("page", PAGES)
def test_the_web_page_loads_nothing_and_can_be_read_by_ear(page: Page) -> None:
    text = web_page(page(CATALOG), foot="foot")
    tags = Read(text).tags
    names = [tag for tag, _ in tags]
    assert {"script", "img", "link", "iframe", "form", "object"}.isdisjoint(names)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert ("html", (("lang", "en"),)) in tags
    assert names.count("h1") == names.count("main") == 1
    tables = names.count("table")
    assert tables == names.count("caption") == text.count('role="region" tabindex="0"')
    assert all(dict(attributes).get("scope") for tag, attributes in tags if tag == "th")
    ids = [value for _, attributes in tags for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', text):
        assert target in ids
    assert "prefers-color-scheme:dark" in text
    assert "prefers-reduced-motion" in text


@pytest.mark.parametrize("page", PAGES)
def test_the_address_of_the_results_is_a_link(page: Page) -> None:
    links = [
        piece.url
        for block in page(CATALOG).blocks
        if isinstance(block, Paragraph) and isinstance(block.text, tuple)
        for piece in block.text
        if isinstance(piece, Link)
    ]
    assert CATALOG.results in links
    assert CATALOG.contact in links


def test_the_notice_says_which_relay_sees_the_address_and_which_the_report() -> None:
    (routes,) = [
        block
        for block in notice(CATALOG).blocks
        if isinstance(block, Table) and "route" in block.head
    ]
    relay = [words(cell) for cell in routes.rows[0]]
    assert relay[0] == "relay"
    assert "operator of the entry" in relay[1]
    assert "operator of the exit" in relay[2]
    assert "Neither sees your address" in relay[2]

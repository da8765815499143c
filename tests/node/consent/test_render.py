"""The consent page's HTML: whatever a catalog says, the page has the tags of a harmless one."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from methrics.node.consent.answer import Answer
from methrics.node.consent.asking import Asking
from methrics.node.consent.first_screen import TO_STOP, FirstScreen, Row
from methrics.node.consent.page.render import (
    bytes_page,
    code_page,
    elsewhere_lines,
    forward_page,
    message_page,
    questions_page,
)
from methrics.node.consent.wording import Sheet
from methrics.node.paths import user_paths
from methrics.schema.example import example_catalog

ATTACKS = (
    "<script>alert(1)</script>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></fieldset></form><form action=//evil.example>",
    "&lt;b&gt; &#60;b&#62;",
    "{{ 7 * 7 }}{% x %}",
)


class Read(HTMLParser):
    """The tags of a page with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


def sheet_with(text: str) -> Sheet:
    """A question that says `text` wherever a catalog can say something."""
    asking = Asking([example_catalog()], user_paths("/nonexistent"))
    sheet = asking.sheet(asking.questions()[0])
    fields = tuple(
        replace(one, name=text, says=text, can_be=text, example=text) for one in sheet.fields
    )
    facts = ((text, text), (text, f"see {text}"))
    return replace(
        sheet,
        title=text,
        asks=text,
        news=(text,),
        facts=facts,
        fields=fields,
        report=text,
        note=text,
    )


def first_with(text: str) -> FirstScreen:
    """The first layer of that question, which says `text` wherever a catalog can say something."""
    row = Row(1, text, text, (text, text), text, 1, 1)
    return FirstScreen(text, text, (row,), ((text, text), (TO_STOP, text)), changed=True)


def questions(text: str) -> Read:
    page = questions_page(
        first_with(text),
        [sheet_with(text)],
        text,
        overridden=text,
        errors=[text, text],
        elsewhere=[text],
    )
    return Read(page)


@pytest.mark.parametrize("text", ATTACKS)
def test_attack_no_text_of_a_catalog_changes_the_page(text: str) -> None:
    page = questions(text)
    assert page.tags == questions("harmless").tags
    assert page.text.count(text) >= 10


@pytest.mark.parametrize("text", ATTACKS)
def test_attack_no_message_changes_its_page(text: str) -> None:
    page = Read(message_page(text, [text], good=False))
    assert page.tags == Read(message_page("harmless", ["harmless"], good=False)).tags
    assert page.text.count(text) == 3


@pytest.mark.parametrize(
    ("fact", "links"),
    [
        ("Reviewed at https://example.org/a?x=1.", ["https://example.org/a?x=1"]),
        ("https://a.example, https://b.example/", ["https://a.example", "https://b.example/"]),
        ('https://a.example/"onclick="x', ["https://a.example/"]),
        ("https://a.example/<script>", ["https://a.example/"]),
        ("http://a.example javascript:alert(1)", []),
    ],
)
def test_only_https_addresses_become_links(fact: str, links: list[str]) -> None:
    sheet = replace(sheet_with("x"), facts=(("reviewed", fact),))
    page = Read(questions_page(first_with("x"), [sheet], "token"))
    assert [link for link in page.links if not link.startswith(("#", "bytes/"))] == links
    assert fact in page.text


@pytest.mark.parametrize("text", ATTACKS)
def test_attack_no_name_changes_the_page_of_bytes(text: str) -> None:
    page = Read(bytes_page(sheet_with(text)))
    assert page.tags == Read(bytes_page(sheet_with("harmless"))).tags
    assert text in page.text


def test_the_page_of_the_code_tells_a_wrong_one() -> None:
    assert "not the code" not in Read(code_page()).text
    assert "not the code" in Read(code_page(wrong=True)).text
    assert Read(forward_page("http://a.example/?b=1&c=2")).links == ["http://a.example/?b=1&c=2"]


def test_the_first_layer_has_plurals() -> None:
    def text(bits: int, days: int) -> str:
        first = first_with("x")
        row = replace(first.rows[0], bits=bits, days=days, sends=())
        page = questions_page(replace(first, rows=(row,)), [sheet_with("x")], "token")
        return " ".join(Read(page).text.split())

    assert "At most 1 bit, kept 1 day. Sends that it happened." in text(1, 1)
    assert "At most 2 bits, kept 730 days." in text(2, 730)


def test_an_answer_from_elsewhere_is_told_in_words() -> None:
    sheet = sheet_with("beat")
    answer = Answer(True, frozenset({"os"}), frozenset(), "2026-01-31T12:00:00Z")
    assert elsewhere_lines(
        [
            replace(sheet, question=replace(sheet.question, answer=one))
            for one in (
                None,
                answer._replace(through="terminal"),
                Answer(False, frozenset(), frozenset()),
            )
        ]
    ) == [
        "beat: not answered.",
        "beat: yes (os), since 2026-01-31T12:00:00Z, through terminal.",
        "beat: no.",
    ]

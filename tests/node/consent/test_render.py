"""The consent page's HTML: whatever a catalog says, the page has the tags of a harmless one."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from methrics.node.consent.asking import Asking
from methrics.node.consent.page.render import message_page, questions_page
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
    return replace(sheet, title=text, asks=text, facts=facts, fields=fields, report=text, note=text)


def questions(text: str) -> Read:
    return Read(questions_page([sheet_with(text)], text, overridden=text, errors=[text, text]))


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
    page = Read(questions_page([sheet], "token"))
    assert [link for link in page.links if not link.startswith("#")] == links
    assert fact in page.text

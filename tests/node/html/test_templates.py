"""Templates: values are escaped, a missing value is an error, and nothing opts out of escaping."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest
import source
from jinja2 import nodes

from methrics.node.html.templates import render

TEMPLATES = sorted((source.ROOT / "node").rglob("templates/*"))


def test_a_template_without_a_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="good"):
        render("methrics.node.consent.page", "message.html", title="t", style="", lines=[])


def test_attack_no_value_becomes_markup() -> None:
    evil = "</title><script>alert('1')</script>\"&{{ 7 * 7 }}"
    text = render(
        "methrics.node.consent.page", "message.html", title=evil, style="", lines=[evil], good=True
    )
    assert "<script" not in text
    assert "{{ 7 * 7 }}" in text
    assert text.count("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&#34;&amp;") == 3


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_only_style_sheets_are_exempt_from_escaping(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = jinja2.Environment(autoescape=True).parse(text)
    for one in tree.find_all(nodes.Filter):
        exempt = one.name == "safe"
        assert not exempt or (isinstance(one.node, nodes.Name) and one.node.name == "style")
    assert not re.search(r"autoescape|Markup", text)
    for attribute in re.findall(r"=\{\{", text):
        pytest.fail(f"an attribute without quotes: {attribute}")

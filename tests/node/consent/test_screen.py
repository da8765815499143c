"""The consent screen as text: everything that is declared is on it, within the width."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import type_maps

from methrics.node.consent.questions import every_question
from methrics.node.consent.screen import bounded, screen
from methrics.node.consent.wording import sheet
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.chance import randomized_words
from methrics.schema.example import example_catalog
from methrics.schema.pages.explain import PSEUDONYM_WORDS, date
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal, split

CATALOG = example_catalog()
NOW = 1_700_000_000


def shown(catalog: Catalog, *, width: int = 88, before: bool = False) -> str:
    asked = every_question([catalog], {}, now=NOW)
    return screen(
        [sheet(one, now=NOW, seed=bytes(32)) for one in asked], before=before, width=width
    )


def one_type(wire: dict[str, Any]) -> Catalog:
    """A catalog with the event type `sample` alone."""
    payload = {
        "label": "sample",
        "number": 1,
        "contact": "https://example.org/",
        "types": {"sample": wire},
    }
    raw = seal(Kind.CATALOG, encode(payload), bytes(32))
    item = split(raw)
    return Catalog.from_payload(item.payload, item.key, item.id, raw)


def words(text: str) -> str:
    return " ".join(text.split())


def affordable(wire: dict[str, Any]) -> dict[str, Any]:
    """The type with at most 8 bits of work. The screen shows a real, stamped report, whose stamp
    takes 2**work hashes: minutes at 24 bits. No word on the screen depends on it."""
    return {**wire, "work": min(wire["work"], 8)}


@given(type_maps().map(affordable))
def test_the_screen_says_everything_that_is_declared(wire: dict[str, Any]) -> None:
    catalog = one_type(wire)
    entry = catalog.types["sample"]
    text = words(shown(catalog))
    for field in entry.fields:
        assert field.name in text
        assert words(field.says) in text
    if entry.sequence is not None:
        assert all(step in text for step in entry.sequence.steps)
    if entry.max_count is not None:
        assert f"1 to {entry.max_count}" in text
    for needed in (entry.question, entry.why, entry.owner, entry.review):
        assert words(needed) in text
    assert f"{entry.retention_days} days" in text
    assert date(entry.expires) in text
    assert words(PSEUDONYM_WORDS[entry.pseudonym]) in text


@given(st.integers(0, 200))
def test_no_line_of_prose_is_wider_than_the_terminal(columns: int) -> None:
    width = bounded(columns)
    assert 40 <= width <= 88
    lines = shown(CATALOG, width=width).splitlines()
    whole = [line for line in lines if not line.startswith("    ")]
    for line in whole:
        longest = max(map(len, line.split()), default=0)
        assert len(line) <= max(width, longest + 18), "only a word that is too long may be wider"


def test_the_screen_of_the_example() -> None:
    text = words(shown(CATALOG))
    assert "May example share usage reports?" in text
    assert "How many people use the app" in text
    assert "daily Whether this is your first report of the day, so that you are counted" in text
    assert (
        "When Once for each day (UTC) on which you use it, sent at least 5 minutes later, plus up "
        "to 3 hours at random; if several wait, 1 hour to 12 hours apart."
    ) in text
    assert "d0, d1, d7, d30" in text
    for entry in CATALOG.types.values():
        for field in entry.fields:
            assert words(randomized_words(field)) in text
    assert (
        "When Only for your first day (UTC) and days 1, 7 and 30 after it, if you use it then, "
    ) in text


@pytest.mark.parametrize("before", [False, True])
def test_the_screen_does_not_claim_that_nothing_is_recorded_after_a_yes(
    before: bool,
) -> None:
    assert ("Nothing has been recorded or sent" in words(shown(CATALOG, before=before))) != before

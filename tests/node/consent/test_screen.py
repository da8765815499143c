"""The consent screen as text: the first screen fits a terminal, and the details say everything."""

from __future__ import annotations

import re
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import type_maps

from methrics.node.consent.first_screen import first_screen
from methrics.node.consent.questions import Question, every_question
from methrics.node.consent.screen import bounded, first_pages, whole
from methrics.node.consent.wording import sheet
from methrics.node.outbox.records import Kept
from methrics.node.paths import namespace_of
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.catalog.chance import randomized_words
from methrics.schema.example import example_catalog
from methrics.schema.pages.explain import PSEUDONYM_WORDS, date
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, seal, sign_item, split, zero_bits
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import sign_record

CATALOG = example_catalog()
NOW = 1_700_000_000
ROOT = Path(__file__).parents[3]
SIGNED = (
    "docs/examples/app.cbor",
    "docs/examples/otel.cbor",
    "docs/examples/pytest_plugin/pytest_census/catalog.cbor",
)


def shown(catalog: Catalog, *, width: int = 88, before: bool = False) -> str:
    asked = every_question([catalog], {}, now=NOW)
    first = first_screen(asked, before=before, way_back="methrics consent")
    return whole(first, [sheet(one, now=NOW, seed=bytes(32)) for one in asked], width=width)


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


def of(catalog: Catalog, count: int = 0) -> list[Question]:
    """The questions of `catalog`, repeated or cut to `count`, if that is given."""
    asked = every_question([catalog], {}, now=NOW)
    return (asked * 64)[: count or len(asked)]


def publishing(catalog: Catalog, results: str) -> Catalog:
    """The catalog with another address of its results, or with none."""
    payload = {**cbor2.loads(split(catalog.raw).payload), "results": results}
    kept = {key: value for key, value in payload.items() if value != ""}
    return load(seal(Kind.CATALOG, encode(kept), bytes(32)))


def pages(asked: list[Question], *, height: int = 21) -> list[str]:
    first = first_screen(asked, before=False, way_back="methrics consent")
    return first_pages(first, width=80, height=height)


CATALOGS = [example_catalog(), *(load((ROOT / path).read_bytes()) for path in SIGNED)]


@pytest.mark.shows("METH-19")
@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda one: one.label)
@pytest.mark.parametrize("results", ["", "https://example.org/metrics", f"https://{'x' * 188}.org"])
def test_the_first_screen_of_each_example_fits_80_columns_and_24_lines(
    catalog: Catalog, results: str
) -> None:
    (page,) = pages(of(publishing(catalog, results)))
    assert not results or results.split("//")[1][:40] in page
    lines = page.splitlines()
    assert len(lines) <= 21, "three more lines are for the keys and the answer"
    assert max(map(len, lines)) <= 80
    for question in of(catalog):
        assert question.event_type.question[:40] in page
        assert f"{question.event_type.retention_days} days" in page


@pytest.mark.shows("METH-19")
@pytest.mark.parametrize("count", range(1, 9))
def test_up_to_eight_types_fit_the_first_screen(count: int) -> None:
    (page,) = pages(of(CATALOG, count))
    assert len(page.splitlines()) <= 21
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("count", [9, 20, 64])
@pytest.mark.parametrize("height", [10, 21, 40])
def test_more_types_continue_on_further_pages(count: int, height: int) -> None:
    shown = pages(of(CATALOG, count), height=height)
    rows = [line for page in shown for line in page.splitlines() if re.match(r"^ *\d+ ", line)]
    assert [int(line.split()[0]) for line in rows] == list(range(1, count + 1))
    if height >= 21:
        assert max(len(page.splitlines()) for page in shown) <= height
    assert all("If you say no" in page for page in shown)


def test_a_tall_terminal_shows_whole_questions_and_fields() -> None:
    (page,) = pages(of(CATALOG), height=60)
    text = words(page)
    for question in of(CATALOG):
        lines = page.splitlines()
        assert all(word in text for word in question.event_type.question.split())
        assert any(line.strip().startswith("sends version, os, daily") for line in lines)


def test_one_is_not_written_as_a_plural() -> None:
    wire = {**CATALOG.types["module"].to_wire(), "retention_days": 1}
    assert " 1 day\n" in pages(of(one_type(wire)))[0]


def test_the_first_screen_makes_no_work_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counting(*args: Any, work_bits: int = 0) -> Any:
        made.append(work_bits)
        return sign_item(*args, work_bits=work_bits)

    monkeypatch.setattr("methrics.node.report.prepare.sign_item", counting)
    catalog = one_type({**CATALOG.types["module"].to_wire(), "work": 6})
    (asked,) = of(catalog)
    stamped = sheet(asked, now=NOW, seed=bytes(32))
    assert pages([asked])
    assert stamped.report
    assert "work stamp" in stamped.note
    assert set(made) == {0}
    item = split(stamped.raw)
    assert item.work is not None
    assert zero_bits(sha256(item.signed).digest()) >= 6
    assert stamped.raw == item.raw, "made once"
    assert made == [0, 6]


def test_the_bits_count_the_catalog_that_a_report_names() -> None:
    types = CATALOG.types["module"].revealed_bits
    app = namespace_of(CATALOG.label, CATALOG.short_key)

    def shown(kept: dict[str, Kept]) -> tuple[int, str]:
        asked = every_question([CATALOG], {}, now=NOW, kept=kept)
        first = first_screen(asked, before=False, way_back="methrics consent")
        (row,) = [one for one in first.rows if one.name == "module"]
        facts = dict(sheet(asked[0], now=NOW, seed=bytes(32)).facts)
        return row.bits, facts["Its catalog"]

    def record(count: int) -> tuple[bytes]:
        ids = [bytes([number]) * 32 for number in range(count)]
        return (sign_record(ids, bytes(32), time=0, expires=TIME_MAX).raw,)

    assert shown({})[0] == ceil(types + 5)
    assert "not known on this machine yet" in shown({})[1]
    assert shown({app: Kept(record(1), 2)})[0] == ceil(types)
    assert "Only this one is listed, which tells 0.0 bits." in shown({app: Kept(record(1), 2)})[1]
    assert shown({app: Kept(record(8), 2)})[0] == ceil(types + 3)
    _, words = shown({app: Kept(record(8), 1)})
    assert "8 are listed, which tells 3.0 bits." in words
    assert "one relay, not cross-checked" in words

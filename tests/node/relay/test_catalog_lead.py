"""When a relay's bundle takes the newest catalog along, and when it has no room for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.relay.catalog_lead import CatalogLead
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import pack, unpack
from methrics.schema.wire.limits import BUNDLE_ITEMS_MAX, BUNDLE_MAX, ITEM_MAX

SOURCE = parse_source(example_source())
FIRST = load(sign(SOURCE, b"s" * 32))
SECOND = load(sign(SOURCE, b"s" * 32, FIRST))
STRANGE = load(sign(SOURCE, b"x" * 32))
TOPIC = FIRST.topic


def lead(every: float | None = 100.0) -> CatalogLead:
    book = CatalogBook()
    for catalog in (STRANGE, SECOND, FIRST):
        assert book.add(catalog)
    return CatalogLead(book, every)


def test_the_newest_of_the_topic_is_due_until_it_was_published() -> None:
    leading = lead()
    assert leading.due(TOPIC, b"", [], 0.0) == SECOND
    leading.published(TOPIC, [FIRST.id], 0.0)
    assert leading.due(TOPIC, b"", [], 0.0) == SECOND
    leading.published(TOPIC, [SECOND.id], 5.0)
    assert leading.due(TOPIC, b"", [], 104.0) is None
    assert leading.due(TOPIC, b"", [], 105.0) == SECOND
    assert leading.due(STRANGE.topic, b"", [], 104.0) == STRANGE


def test_a_newer_catalog_is_due_at_once() -> None:
    book = CatalogBook()
    assert book.add(FIRST)
    leading = CatalogLead(book, 100.0)
    leading.published(TOPIC, [FIRST.id], 0.0)
    assert leading.due(TOPIC, b"", [], 1.0) is None
    assert book.add(SECOND)
    assert leading.due(TOPIC, b"", [], 1.0) == SECOND


def test_nothing_is_due_without_a_catalog_or_an_interval() -> None:
    assert lead(None).due(TOPIC, b"", [], 0.0) is None
    assert CatalogLead(CatalogBook(), 1.0).due(TOPIC, b"", [], 0.0) is None
    assert lead().due(TOPIC, b"", [SECOND.id], 0.0) is None


@given(st.lists(st.integers(112, ITEM_MAX), min_size=1, max_size=3))
def test_a_due_catalog_fits_into_the_bundle(sizes: list[int]) -> None:
    items = [bytes(size) for size in sizes]
    try:
        bundle = pack(items)
    except ValueError:
        return
    due = lead().due(TOPIC, bundle, [b"id"] * len(items), 0.0)
    if due is not None:
        assert unpack(pack([due.raw, *items])) == [due.raw, *items]
    else:
        assert len(bundle) + len(SECOND.raw) > BUNDLE_MAX - 10


@pytest.mark.parametrize(
    ("items", "room"), [(BUNDLE_ITEMS_MAX - 1, True), (BUNDLE_ITEMS_MAX, False)]
)
def test_a_bundle_of_the_most_items_has_no_room(items: int, room: bool) -> None:
    bundle = pack([b"x"] * items)
    due = lead().due(TOPIC, bundle, [bytes([n & 255]) for n in range(items)], 0.0)
    assert (due is not None) is room

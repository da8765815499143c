"""Catalog books with a record, as a node has them after it joined a topic.

A node judges reports only of catalogs that the record of their namespace lists. `listed_book` makes
a book in which that is the case; `list_catalogs` adds a record to a book that a test has.
"""

from __future__ import annotations

from collections.abc import Collection

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import Revoked, decode_record, sign_record


def record_of(
    *catalogs: Catalog, seed: bytes, time: int = 0, revoked: dict[str, Revoked] | None = None
) -> Item:
    """A record that lists `catalogs` from the beginning of time. `seed`: of the namespace key."""
    ids = [catalog.id for catalog in catalogs]
    return sign_record(ids, seed, time=time, expires=TIME_MAX, revoked=revoked)


def list_catalogs(
    book: CatalogBook,
    *catalogs: Catalog,
    seed: bytes,
    time: int = 0,
    revoked: dict[str, Revoked] | None = None,
) -> Item:
    """Add a record that lists `catalogs` to `book`, then the catalogs. Returns the record."""
    item = record_of(*catalogs, seed=seed, time=time, revoked=revoked)
    book.records.add(item, decode_record(item.payload))
    for catalog in catalogs:
        book.add(catalog)
    return item


def listed_book(
    *catalogs: Catalog, seed: bytes, topics: Collection[str] | None = None
) -> CatalogBook:
    """A book that knows `catalogs`, and a record of their namespace that lists them."""
    book = CatalogBook(topics)
    list_catalogs(book, *catalogs, seed=seed)
    return book

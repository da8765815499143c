"""Stores, voters and reports of days that are over, for the tests of closing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from aggregate_making import DAY, NOW, beat, catalog, record, seed

from methrics.aggregate.closing.contested import Offer
from methrics.aggregate.closing.door import Door
from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, accept
from methrics.schema.wire.envelope import Item, Kind, public_key
from methrics.schema.wire.items import Report

CATALOG = catalog()
LATENESS = max(one.lateness for one in CATALOG.types.values())
OLD = NOW - LATENESS - 5 * DAY
"""A time on a day that is over."""

KEYS = [seed("aggregator", i) for i in range(4)]
"""The seeds of four aggregators' peer keys."""

VOTERS = [public_key(key) for key in KEYS]


def known_book() -> CatalogBook:
    """A book with the catalog and a record that has listed it for ten years."""
    book = CatalogBook()
    book.add(CATALOG, given=True)
    learn(accept(record(CATALOG), book, NOW), book)
    return book


BOOK = known_book()


def accepted(raws: Iterable[bytes]) -> list[Accepted]:
    """Judge items of the past; all are accepted."""
    return [accept(raw, BOOK, NOW, live=False) for raw in raws]


def old_beats(numbers: Iterable[int], time: int = OLD) -> list[Accepted]:
    """Validly signed reports of a day that is over."""
    return accepted(beat(CATALOG, i, time) for i in numbers)


def invented(count: int, time: int = OLD) -> Iterator[Accepted]:
    """As many reports of an old day, each of 205 bytes, without the work of signing them."""
    body = Report(CATALOG.id, "beat", time, {"os": "linux"})
    for i in range(count):
        key = sha256(b"invented %d" % i).digest()
        yield Accepted(Item(Kind.REPORT, key, key, b"", key * 6 + bytes(13), b"", None), body)


def fill(store: Store, numbers: Iterable[int] = (), time: int = OLD, now: int = NOW) -> Committed:
    """Commit the record, the catalog and reports of `time`, as if they had come in time."""
    newest = BOOK.records.newest(CATALOG.key)
    assert newest is not None
    first = [Accepted(*newest), accept(CATALOG.raw, BOOK, NOW, live=False)]
    return store.commit(Batch(now, [*first, *old_beats(numbers, time)]))


def let_in(door: Door, store: Store, items: list[Accepted], voter: bytes, now: int = NOW) -> int:
    """Offer items at the door and commit what it lets in; return the number of new reports."""
    found = door.admit(items, Offer(voter, b"origin"))
    return store.commit(Batch(now, found.commit)).reports


def clock(now: int = NOW) -> ManualClock:
    """A clock that stands."""
    return ManualClock(now)

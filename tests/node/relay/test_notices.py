"""When a relay publishes a catalog, and when it repeats a record."""

from __future__ import annotations

import random

from relay_making import CATALOG, NAMESPACE, TOPIC
from tests.listing import record_of

from methrics.node.relay.notices import QUEUE_MAX, RETRY, Notice, Notices
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item, Kind, sign_item, split
from methrics.schema.wire.record import decode_record


def notices(*records: Item, every: float = 3600.0) -> Notices:
    book = CatalogBook([TOPIC])
    for item in records:
        book.records.add(item, decode_record(item.payload))
    return Notices(book, [TOPIC], every=every, rng=random.Random(1).random)


def record(time: int) -> Item:
    return record_of(CATALOG, seed=NAMESPACE, time=time)


CATALOG_NOTICE = Notice(TOPIC, split(CATALOG.raw))


def test_a_record_is_due_at_once_and_again_in_about_an_hour() -> None:
    one = notices(record(0))
    assert one.next_due(5.0) == 5.0
    (due,) = one.take(5.0)
    assert due == Notice(TOPIC, record(0))
    one.sent(due, 5.0)
    again = one.next_due(6.0)
    assert again is not None
    assert 2700 <= again - 5.0 <= 4500
    assert one.take(again - 1) == []
    assert one.take(again) == [due]


def test_a_newer_record_takes_the_place_of_the_one_before() -> None:
    book = CatalogBook([TOPIC])
    one = Notices(book, [TOPIC], every=3600.0, rng=random.Random(1).random)
    assert (one.next_due(0.0), one.take(0.0)) == (None, [])
    first = record(600)
    book.records.add(first, decode_record(first.payload))
    one.refresh()
    one.sent(one.take(0.0)[0], 0.0)
    second = record_of(CATALOG, seed=NAMESPACE, time=1200)
    book.records.add(second, decode_record(second.payload))
    one.refresh()
    assert [notice.item for notice in one.take(1.0)] == [second]


def test_a_submitted_item_is_published_once() -> None:
    one = notices()
    assert one.add(CATALOG_NOTICE)
    assert CATALOG_NOTICE.key in one
    assert one.take(0.0) == [CATALOG_NOTICE]
    one.sent(CATALOG_NOTICE, 0.0)
    assert (one.next_due(0.0), one.take(9e9)) == (None, [])
    assert CATALOG_NOTICE.key not in one


def test_what_found_no_peer_is_tried_again() -> None:
    one = notices(record(0))
    one.add(CATALOG_NOTICE)
    for notice in one.take(0.0):
        one.failed(notice, 0.0)
    assert one.next_due(0.0) == RETRY
    assert one.take(RETRY - 1) == []
    assert one.take(RETRY - 1, everything=True) == [CATALOG_NOTICE]
    assert len(one.take(RETRY)) == 2


def test_a_submitted_record_is_published_once_at_first() -> None:
    one = notices(record(0))
    one.add(Notice(TOPIC, record(0)))
    (due,) = one.take(0.0)
    one.sent(due, 0.0)
    assert one.take(1.0) == []
    assert one.next_due(1.0) is not None


def test_attack_the_owner_of_a_topic_cannot_fill_the_memory() -> None:
    one = notices()
    items = [
        sign_item(Kind.ANNOUNCEMENT, number.to_bytes(4, "big"), NAMESPACE) for number in range(1000)
    ]
    assert sum(one.add(Notice(TOPIC, item)) for item in items) == QUEUE_MAX

"""When a relay publishes a catalog, and when it repeats a record."""

from __future__ import annotations

import random

from relay_making import CATALOG, NAMESPACE, STRANGE, TOPIC
from tests.listing import record_of

from methrics.node.relay.notices import (
    ANNOUNCEMENTS_MAX,
    CATALOGS_MAX,
    RETRY,
    Notice,
    Notices,
)
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item, Kind, sign_item, split
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import decode_record, sign_record


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


def announcement(number: int, topic: str = TOPIC) -> Notice:
    return Notice(topic, sign_item(Kind.ANNOUNCEMENT, number.to_bytes(4, "big"), NAMESPACE))


def test_attack_the_owner_of_a_topic_cannot_fill_the_memory() -> None:
    one = notices()
    for number in range(1000):
        one.add(announcement(number), time=number)
    assert len(one.take(0.0)) == ANNOUNCEMENTS_MAX
    catalogs = [
        sign_item(Kind.CATALOG, number.to_bytes(4, "big"), NAMESPACE) for number in range(99)
    ]
    listed = [item.id for item in catalogs[:CATALOGS_MAX]]
    one = notices(sign_record(listed, NAMESPACE, time=0, expires=TIME_MAX))
    assert sum(one.add(Notice(TOPIC, item)) for item in catalogs) == CATALOGS_MAX


def test_attack_the_owner_of_a_topic_takes_no_place_of_another() -> None:
    one = notices()
    for number in range(1000):
        one.add(announcement(number, STRANGE.topic), time=number)
    for notice in one.take(0.0):
        one.failed(notice, 0.0)
    others = [Notice(TOPIC, record(0)), CATALOG_NOTICE, announcement(1)]
    assert all(one.add(notice) for notice in others)
    assert one.take(0.0) == others


def test_a_newer_announcement_takes_the_place_of_the_oldest() -> None:
    one = notices()
    for number in range(1, ANNOUNCEMENTS_MAX + 1):
        assert one.add(announcement(number), time=number)
    assert not one.add(announcement(0), time=0)
    assert one.add(announcement(99), time=99)
    waiting = one.take(0.0)
    assert announcement(99) in waiting
    assert announcement(1) not in waiting
    assert announcement(2) in waiting


def test_an_announcement_that_has_expired_is_not_published() -> None:
    one = notices()
    one.add(announcement(1), until=100.0)
    assert one.take(99.0) == [announcement(1)]
    assert one.take(100.0) == []
    assert announcement(1).key not in one
    assert one.next_due(101.0) is None


def test_of_submitted_records_the_newest_is_published() -> None:
    one = notices()
    for time in (600, 1800, 1200):
        assert one.add(Notice(TOPIC, record(time)), time=time)
    assert one.take(0.0) == [Notice(TOPIC, record(1800))]


def test_a_catalog_that_is_listed_no_more_is_not_published() -> None:
    book = CatalogBook([TOPIC])
    first = record(0)
    second = sign_record([], NAMESPACE, time=600, expires=TIME_MAX, previous=[first.id])
    book.records.add(first, decode_record(first.payload))
    one = Notices(book, [TOPIC], every=3600.0, rng=random.Random(1).random)
    one.add(CATALOG_NOTICE)
    book.records.add(second, decode_record(second.payload))
    one.refresh()
    assert one.take(0.0) == [Notice(TOPIC, second)]

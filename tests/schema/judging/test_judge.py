"""Verdicts on items: any bytes get one, and rejection never depends on the node that judges."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.listing import list_catalogs, listed_book
from vector_world import (
    CATALOG,
    NOW,
    TIME,
    World,
    event_type,
    malleable,
    protected,
    seed,
    sign_by_hand,
)

from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Body, accept, judge, judge_item
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import Kind, inner_hash, seal, split
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.record import Listing, Record, Revoked, decode_record, sign_record
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Decision, Reason

WORLD = World()
DAY = 86_400
wires = st.booleans() | st.integers(-2, 9) | st.sampled_from(["linux", "macos", "other", "x", ""])
noise = st.recursive(
    wires | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


def known() -> CatalogBook:
    return listed_book(load(WORLD.catalog), seed=seed("namespace"))


BOOK = known()


@given(st.binary(max_size=400))
def test_any_bytes_get_a_verdict(raw: bytes) -> None:
    verdict = judge(raw, BOOK, NOW)
    assert verdict.decision is verdict.reason.decision is not Decision.ACCEPT


@given(st.sampled_from(Kind), noise.map(encode) | st.binary(max_size=200))
def test_any_signed_payload_gets_a_verdict(kind: Kind, payload: bytes) -> None:
    verdict = judge(seal(kind, payload, bytes(32)), BOOK, NOW)
    assert verdict.reason is not Reason.FORGED
    assert verdict.decision is verdict.reason.decision


def mutated(body: Any, draw: Any) -> Any:
    """`body` with one entry replaced, removed or added."""
    if isinstance(body, dict) and body and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(body)))
        return {**body, key: mutated(body[key], draw)}
    if isinstance(body, dict) and body and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(body)))
        return {key: value for key, value in body.items() if key != gone}
    if isinstance(body, dict) and draw(st.booleans()):
        return {**body, draw(st.text(max_size=5)): draw(noise)}
    return draw(noise)


@given(st.data())
def test_any_signed_catalog_gets_a_verdict(data: st.DataObject) -> None:
    body = mutated(CATALOG, data.draw)
    try:
        raw = WORLD.namespace(Kind.CATALOG, body)
    except ValueError:
        return  # nested too deeply to be encoded at all
    verdict = judge(raw, CatalogBook(), NOW, live=False)
    assert verdict.reason in (Reason.OK, Reason.OFF_SCHEMA, Reason.MALFORMED)


@pytest.mark.shows("MARS-1", "METH-2")
@given(st.data())
def test_any_change_to_a_report_that_is_accepted_is_within_the_schema(data: st.DataObject) -> None:
    """Accepted reports have only declared fields with declared values (METH-2)."""
    body = mutated(WORLD.body(), data.draw)
    verdict = judge(seal(Kind.REPORT, encode(body), bytes(32)), BOOK, NOW)
    if isinstance(verdict, Accepted):
        report = verdict.body
        assert isinstance(report, Report)
        allowed = {"os": ("linux", "macos", "other"), "new": (True, False), "size": range(4)}
        for name, value in report.values.items():
            assert value in allowed[name]
            assert isinstance(value, bool) == (name == "new")


def body_of(raw: bytes) -> Body:
    verdict = judge(raw, BOOK, NOW)
    assert isinstance(verdict, Accepted)
    return verdict.body


def test_the_body_is_the_decoded_payload() -> None:
    report = body_of(WORLD.report())
    values = {"os": "linux", "new": True, "size": 2}
    assert report == Report(WORLD.catalog_id, "ping", TIME, values)
    erasure = body_of(WORLD.erasure())
    signed = split(WORLD.report())
    assert erasure == Erasure(WORLD.catalog_id, inner_hash(signed), TIME // DAY)
    assert isinstance(erasure, Erasure)
    assert erasure.report_id(signed.key) == signed.id
    assert body_of(WORLD.catalog) == load(WORLD.catalog)
    record = body_of(WORLD.records()["ok-record-revoked"][1])
    assert isinstance(record, Record)
    assert record.revoked == {"ping": Revoked(TIME, "no longer needed")}
    announcement = body_of(WORLD.announcement())
    assert isinstance(announcement, Announcement)
    assert announcement.newest_version == "2.0"


def test_a_content_that_came_before_gets_the_verdict_that_a_new_one_gets() -> None:
    for _ in range(3):
        assert judge(WORLD.report(), BOOK, NOW).reason is Reason.OK
        assert judge(WORLD.report(time=TIME + 1), BOOK, NOW).reason is Reason.UNROUNDED
        assert judge(WORLD.report(values={"os": "beos"}), BOOK, NOW).reason is Reason.OFF_SCHEMA
        assert judge(WORLD.report(values={}), BOOK, NOW).reason is Reason.EMPTY


def test_a_content_is_checked_by_each_event_type() -> None:
    book = known()
    catalog = book.get(WORLD.catalog_id)
    assert catalog is not None
    assert judge(WORLD.report(), book, NOW).reason is Reason.OK
    stricter = copy(catalog.types["ping"])
    stricter._check = {**stricter._check, "os": lambda wire: wire == "macos"}
    catalog.types = {**catalog.types, "ping": stricter}
    assert judge(WORLD.report(), book, NOW).reason is Reason.OFF_SCHEMA


def test_a_verdict_on_a_split_item_is_that_on_its_bytes() -> None:
    for raw in (WORLD.report(), WORLD.catalog, malleable(WORLD.report())):
        assert judge_item(split(raw), BOOK, NOW) == judge(raw, BOOK, NOW)


everything = [
    WORLD.report(),
    WORLD.erasure(),
    WORLD.catalog,
    WORLD.record(),
    WORLD.announcement(),
]


@given(
    st.sampled_from(everything),
    st.integers(0, 2**33),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, WORLD.topic]),
)
def test_no_node_rejects_an_item_that_another_node_accepts(
    raw: bytes, now: int, live: bool, informed: bool, topic: str | None
) -> None:
    """Otherwise a node would lose peer score for forwarding an item that it accepted."""
    book = known() if informed else CatalogBook()
    verdict = judge(raw, book, now, live=live, topic=topic)
    assert verdict.decision is not Decision.REJECT


@pytest.mark.shows("MARS-12")
@given(st.sampled_from(everything), st.integers(0, 2**33), st.booleans(), st.booleans())
def test_a_forged_item_is_rejected_under_any_clock_and_catalogs(
    raw: bytes, now: int, live: bool, informed: bool
) -> None:
    book = known() if informed else CatalogBook()
    assert judge(malleable(raw), book, now, live=live).decision is Decision.REJECT


@given(st.integers(0, 2**33), st.integers(0, 2**33))
def test_items_from_files_are_judged_without_a_clock(one: int, other: int) -> None:
    for raw in everything:
        assert judge(raw, BOOK, one, live=False) == judge(raw, BOOK, other, live=False)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (TIME - 301, Reason.EARLY),
        (TIME - 300, Reason.OK),
        (TIME, Reason.OK),
        (TIME + 21 * DAY, Reason.OK),
        (TIME + 21 * DAY + 1, Reason.LATE),
    ],
)
def test_a_report_lives_between_early_and_late(now: int, reason: Reason) -> None:
    assert judge(WORLD.report(), BOOK, now).reason is reason


@pytest.mark.parametrize("name", ["report", "erasure", "record", "announcement", "catalog"])
def test_a_needless_work_stamp_is_free_content_and_refused(name: str) -> None:
    raw = WORLD.catalog if name == "catalog" else getattr(WORLD, name)()
    item = split(raw)
    signer = "report" if name in ("report", "erasure") else "namespace"
    header = b"\xa4" + protected(item.kind, item.key)[1:] + b"\x64work\x01"
    stamped = sign_by_hand(header, item.payload, name=signer)
    assert judge(stamped, BOOK, NOW).reason is Reason.OFF_SCHEMA


@pytest.mark.shows("MARS-12", "DEB-10")
def test_a_stranger_cannot_revoke_announce_or_declare_on_a_topic() -> None:
    stranger = {
        Kind.CATALOG: CATALOG,
        Kind.RECORD: {"time": TIME, "expires": TIME + DAY, "previous": [], "catalogs": []}
        | {"revoked": {"ping": {"time": TIME, "reason": "Theft."}}},
        Kind.ANNOUNCEMENT: {"time": TIME, "expires": TIME + DAY * 30 - DAY * 30 % 600},
    }
    only_ours = listed_book(load(WORLD.catalog), seed=seed("namespace"), topics={WORLD.topic})
    for kind, body in stranger.items():
        raw = WORLD.namespace(kind, body, name="stranger")
        assert judge(raw, BOOK, NOW, topic=WORLD.topic).reason is Reason.FOREIGN
        assert judge(raw, only_ours, NOW).reason is Reason.FOREIGN
        assert judge(WORLD.namespace(kind, body), only_ours, NOW).reason is Reason.OK


def test_a_book_full_of_topics_still_keeps_each_report_on_its_own() -> None:
    other = WORLD.namespace(Kind.CATALOG, CATALOG, name="other namespace")
    both = known()
    list_catalogs(both, load(other), seed=seed("other namespace"))
    report = WORLD.report(catalog=split(other).id)
    assert judge(report, both, NOW, topic=load(other).topic).reason is Reason.OK
    assert judge(report, both, NOW, topic=WORLD.topic).reason is Reason.FOREIGN


@pytest.mark.shows("METH-15", "DEB-10")
def test_a_revocation_applies_from_its_time_to_its_type_and_namespace_only() -> None:
    catalog = load(WORLD.catalog)
    book = known()
    revoked = {"ping": Revoked(TIME, "No longer needed.")}
    list_catalogs(book, catalog, seed=seed("namespace"), time=1, revoked=revoked)
    assert judge(WORLD.report(), book, NOW).reason is Reason.REVOKED
    assert judge(WORLD.report(), book, NOW, live=False).reason is Reason.REVOKED
    assert judge(WORLD.report(time=TIME - 600), book, NOW).reason is Reason.OK
    click = WORLD.report(type="click", count=1, values={})
    assert judge(click, book, NOW).reason is Reason.OK


def catalogs(count: int) -> list[Catalog]:
    """So many catalogs of the namespace."""
    bodies = [CATALOG | {"contact": f"c{n}"} for n in range(count)]
    return [load(WORLD.namespace(Kind.CATALOG, body)) for body in bodies]


def test_a_full_book_keeps_its_catalogs_and_takes_no_more() -> None:
    book = CatalogBook(capacity=2)
    three = catalogs(3)
    assert [book.add(one, given=True) for one in three] == [True, True, False]
    assert book.add(three[0])
    assert list(book) == three[:2]
    assert book.get(three[2].id) is None


def test_a_book_takes_catalogs_that_are_listed_or_given() -> None:
    book = CatalogBook()
    one, other = catalogs(2)
    assert not book.add(one)
    list_catalogs(book, one, seed=seed("namespace"))
    assert book.lists(one)
    assert book.get(one.id) == one
    assert not book.add(other)
    assert book.add(other, given=True)


def test_catalogs_that_are_listed_or_given_stay_when_a_namespace_has_too_many() -> None:
    book = CatalogBook(per_namespace=3)
    given_one, once, now, new = catalogs(4)
    list_catalogs(book, once, now, seed=seed("namespace"))
    assert book.add(given_one, given=True)
    list_catalogs(book, now, new, seed=seed("namespace"), time=1)
    assert {one.id for one in book} == {given_one.id, now.id, new.id}


def test_a_catalog_is_judged_live_only_if_the_newest_record_lists_it() -> None:
    book = CatalogBook()
    assert judge(WORLD.catalog, book, NOW).reason is Reason.UNLISTED
    assert judge(WORLD.catalog, book, NOW, live=False).reason is Reason.OK
    list_catalogs(book, load(WORLD.catalog), seed=seed("namespace"))
    assert judge(WORLD.catalog, book, NOW).reason is Reason.OK


@given(
    st.integers(TIME - 1300, TIME + 1300),
    st.none() | st.integers(1, 1300),
    st.integers(TIME - 1300, TIME + 1300),
)
def test_a_report_is_judged_by_its_own_time_whatever_the_clock(
    listed: int, length: int | None, expires: int
) -> None:
    """So nodes agree, whenever a report reaches them."""
    delisted = None if length is None else listed + length
    listing = Listing(WORLD.catalog_id, listed, delisted)
    item = sign_record([listing], seed("namespace"), time=0, expires=expires)
    record = decode_record(item.payload)
    right = listed < TIME + 600 and expires > TIME and (delisted is None or delisted > TIME)
    assert record.listed_at(WORLD.catalog_id, TIME, 600) == right
    book = CatalogBook()
    book.records.add(item, record)
    book.add(load(WORLD.catalog), given=True)
    for now in (TIME, TIME + DAY):
        reason = judge(WORLD.report(), book, now).reason
        assert reason is (Reason.OK if right else Reason.UNLISTED)
    assert judge(WORLD.report(), book, NOW, live=False).reason is Reason.OK


def test_a_book_for_some_topics_takes_no_others() -> None:
    catalog = load(WORLD.catalog)
    assert CatalogBook({catalog.topic}).add(catalog, given=True)
    elsewhere = CatalogBook({"/methrics/1/other-aaaaaaaaaaaaaaaa/cbor"})
    assert not elsewhere.add(catalog, given=True)
    assert len(elsewhere) == 0
    with pytest.raises(RefusedError):
        CatalogBook({"news"})
    assert parse_topic(catalog.topic) == ("vectors", catalog.short_key)


@given(st.integers(1, 3))
def test_more_work_than_the_type_asks_for_is_accepted(extra: int) -> None:
    enough = WORLD.report(type="stamped", values={"os": "linux"}, work_bits=8 + extra)
    assert judge(enough, BOOK, NOW).reason is Reason.OK


def test_an_event_type_of_the_vectors_is_complete() -> None:
    """The tests above need a valid catalog; with a refused one, they would check nothing."""
    lonely = CATALOG | {"types": {"t": event_type("event")}}
    assert (
        judge(WORLD.namespace(Kind.CATALOG, lonely), CatalogBook(), NOW, live=False).reason
        is Reason.OK
    )
    assert len(load(WORLD.catalog).types) == 7


def test_accept_raises_for_an_item_that_is_not_accepted() -> None:
    assert accept(WORLD.report(), BOOK, NOW) == judge(WORLD.report(), BOOK, NOW)
    with pytest.raises(RefusedError) as refused:
        accept(WORLD.report(), CatalogBook(), NOW)
    assert refused.value.code == Reason.UNKNOWN_CATALOG

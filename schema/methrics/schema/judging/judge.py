"""The verdict on one item: a pure function of its bytes, the catalogs known, and now.

What every node sees the same way is checked first, and with it everything that is rejected:
structure, payload, event type, signature. What depends on the node (its clock, the revocations it
has heard of) comes after and is only ever ignored. So a node that passes on a bundle never passes
on what its peers, with other clocks and other memories, would reject and blame it for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item, Kind, split, verify, zero_bits
from methrics.schema.wire.items import (
    Announcement,
    Erasure,
    Report,
    Revocation,
    decode_announcement,
    decode_erasure,
    decode_report,
    decode_revocation,
)
from methrics.schema.wire.limits import EARLY_MAX, TIME_STEP
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Decision, Reason

Body = Report | Erasure | Catalog | Revocation | Announcement
"""What an item says, once decoded."""


class Verdict(NamedTuple):
    """A decision on an item and its reason.

    `item` is None if the bytes have no item's structure, `body` is None if the payload was refused.
    An ignored item is as well formed and as well signed as an accepted one, unless the reason is
    UNKNOWN_KIND.
    """

    decision: Decision
    reason: Reason
    item: Item | None = None
    body: Body | None = None


class _Context(NamedTuple):
    book: CatalogBook
    now: int
    live: bool
    topic: str | None


def judge(
    raw: bytes, book: CatalogBook, now: int, *, live: bool = True, topic: str | None = None
) -> Verdict:
    """The verdict on the bytes of one item; never raises for any bytes.

    `now` is in unix seconds. `live=False` is for history: then nothing is early, late or expired by
    the clock, and `now` is not looked at. `topic` is where the item was heard, if on a topic:
    items of other namespaces are FOREIGN there.
    """
    try:
        item = split(raw)
    except RefusedError as error:
        return _refused(Reason(error.code))
    return judge_item(item, book, now, live=live, topic=topic)


def judge_item(
    item: Item, book: CatalogBook, now: int, *, live: bool = True, topic: str | None = None
) -> Verdict:
    """As `judge`, for an item already split."""
    body: Body
    try:
        if item.kind is Kind.REPORT:
            reason, body = _report(item, book, now, live, topic)
        else:
            reason, body = _JUDGES[item.kind](item, _Context(book, now, live, topic))
    except RefusedError as error:
        return _refused(Reason(error.code), item)
    if reason is Reason.OK:
        return Verdict(Decision.ACCEPT, reason, item, body)
    return _refused(reason, item, body)


def _refused(reason: Reason, item: Item | None = None, body: Body | None = None) -> Verdict:
    return Verdict(reason.decision, reason, item, body)


def _refuse_if(breach: bool, reason: Reason, message: str) -> None:
    if breach:
        raise RefusedError(reason, message)


def _report(
    item: Item, book: CatalogBook, now: int, live: bool, topic: str | None
) -> tuple[Reason, Report]:
    report = decode_report(item.payload)
    catalog = book.get(report.catalog)
    if catalog is None:
        verify(item)
        return Reason.UNKNOWN_CATALOG, report
    if topic is not None and book.topic_of(catalog) != topic:
        return Reason.FOREIGN, report
    declared = catalog.types.get(report.type)
    if declared is None:
        return Reason.OFF_SCHEMA, report
    time = report.time
    reason = declared.check_report(
        report.values, report.count, report.one_in, report.sequence, time
    )
    if reason is not Reason.OK and reason is not Reason.EXPIRED:
        return reason, report
    if declared.work or item.work is not None:
        _check_work(item, declared.work)
    verify(item)
    if reason is Reason.EXPIRED:
        return reason, report
    if live and not now - declared.lateness <= time <= now + EARLY_MAX:
        return (Reason.EARLY if time > now else Reason.LATE), report
    if book.revoked(catalog, report.type, time):
        return Reason.REVOKED, report
    return Reason.OK, report


def _check_work(item: Item, bits: int) -> None:
    """A stamp stands where the event type asks for it, and nowhere else: it is free content."""
    stamped = item.work is not None
    _refuse_if(stamped and not bits, Reason.OFF_SCHEMA, "a work stamp that nobody asked for")
    _refuse_if(not stamped or zero_bits(item.id) < bits, Reason.NO_WORK, "too little work")


def _erasure(item: Item, context: _Context) -> tuple[Reason, Erasure]:
    _refuse_if(item.work is not None, Reason.OFF_SCHEMA, "a work stamp that nobody asked for")
    erasure = decode_erasure(item.payload)
    _refuse_if(erasure.time % TIME_STEP != 0, Reason.UNROUNDED, "a time that is not rounded")
    catalog = context.book.get(erasure.catalog)
    if catalog is None:
        verify(item)
        return Reason.UNKNOWN_CATALOG, erasure
    if context.topic is not None and context.book.topic_of(catalog) != context.topic:
        return Reason.FOREIGN, erasure
    verify(item)
    if context.live and erasure.time > context.now + EARLY_MAX:
        return Reason.EARLY, erasure
    return Reason.OK, erasure


def _check_namespace(item: Item, context: _Context) -> None:
    """Only a namespace's own key speaks on its topic."""
    _refuse_if(item.work is not None, Reason.OFF_SCHEMA, "a work stamp that nobody asked for")
    if context.topic is not None:
        own = parse_topic(context.topic)[1] == short_key(item.key)
    else:
        own = context.book.allows_key(item.key)
    _refuse_if(not own, Reason.FOREIGN, "signed by another namespace")
    verify(item)


def _catalog(item: Item, context: _Context) -> tuple[Reason, Catalog]:
    # The signature comes first here: reading a catalog costs a hundred times as much.
    _check_namespace(item, context)
    catalog = context.book.get(item.id)
    if catalog is None:
        catalog = Catalog.from_payload(item.payload, item.key, item.id, item.raw)
    heard = context.topic
    allowed = context.book.allows(catalog) if heard is None else catalog.topic == heard
    return (Reason.OK if allowed else Reason.FOREIGN), catalog


def _revocation(item: Item, context: _Context) -> tuple[Reason, Revocation]:
    _check_namespace(item, context)
    revocation = decode_revocation(item.payload)
    _refuse_if(revocation.time % TIME_STEP != 0, Reason.UNROUNDED, "a time that is not rounded")
    known = context.book.knows_namespace(item.key)
    return (Reason.OK if known else Reason.UNKNOWN_CATALOG), revocation


def _announcement(item: Item, context: _Context) -> tuple[Reason, Announcement]:
    _check_namespace(item, context)
    announcement = decode_announcement(item.payload)
    unrounded = announcement.time % TIME_STEP != 0 or announcement.expires % TIME_STEP != 0
    _refuse_if(unrounded, Reason.UNROUNDED, "a time that is not rounded")
    if not context.book.knows_namespace(item.key):
        return Reason.UNKNOWN_CATALOG, announcement
    if context.live and announcement.time > context.now + EARLY_MAX:
        return Reason.EARLY, announcement
    if context.live and announcement.expires <= context.now:
        return Reason.EXPIRED, announcement
    return Reason.OK, announcement


_JUDGES: dict[Kind, Callable[[Item, _Context], tuple[Reason, Body]]] = {
    Kind.ERASURE: _erasure,
    Kind.CATALOG: _catalog,
    Kind.REVOCATION: _revocation,
    Kind.ANNOUNCEMENT: _announcement,
}

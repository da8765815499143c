"""Judge one item: a pure function of its bytes, the known catalogs and the time.

Checks that give the same result on every node come first: structure, payload, event type,
signature. Only these checks can reject an item. Checks that depend on the node (its clock, the
namespace records it knows) come later and can only ignore an item. So whatever a node forwards, its
peers do not reject it because their clocks or records differ.
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
    decode_announcement,
    decode_erasure,
    recall_report,
)
from methrics.schema.wire.limits import DAY, EARLY_MAX, TIME_STEP
from methrics.schema.wire.record import Record, decode_record
from methrics.schema.wire.sha256 import sha256
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Decision, Reason

Body = Report | Erasure | Catalog | Record | Announcement
"""The decoded payload of an item."""


class Accepted(NamedTuple):
    """The verdict on an item that is well formed, correctly signed and allowed now."""

    item: Item
    body: Body

    @property
    def decision(self) -> Decision:
        """ACCEPT."""
        return Decision.ACCEPT

    @property
    def reason(self) -> Reason:
        """OK."""
        return Reason.OK


class Refused(NamedTuple):
    """The verdict on an item that is ignored or rejected; `reason` determines which.

    `item` is None if the bytes do not have the structure of an item. An ignored item is well formed
    and correctly signed, unless the reason is UNKNOWN_KIND.
    """

    reason: Reason
    item: Item | None = None

    @property
    def decision(self) -> Decision:
        """IGNORE or REJECT."""
        return self.reason.decision


_REPORT, _OK, _EXPIRED = Kind.REPORT, Reason.OK, Reason.EXPIRED
"""Members that are compared for each report: to find them in their enumeration takes longer."""

Verdict = Accepted | Refused
"""A decision on one item and its reason."""


class _Context(NamedTuple):
    book: CatalogBook
    now: int
    live: bool
    topic: str | None
    about: bytes | None
    verified: bool


def judge(
    raw: bytes, book: CatalogBook, now: int, *, live: bool = True, topic: str | None = None
) -> Verdict:
    """Judge the bytes of one item. Never raises.

    `now` is in unix seconds. `live=False` is for items from files: `now` is not used, so no item is
    early, late or expired by the clock, and a report needs a catalog that a record has ever listed.
    `topic` is the topic on which the item arrived, if any: items of other namespaces are FOREIGN
    there.
    """
    try:
        item = split(raw)
    except RefusedError as error:
        return Refused(Reason(error.code))
    return judge_item(item, book, now, live=live, topic=topic)


def accept(raw: bytes, book: CatalogBook, now: int, *, live: bool = True) -> Accepted:
    """Judge like `judge`, but raise RefusedError if the item is not accepted."""
    verdict = judge(raw, book, now, live=live)
    if isinstance(verdict, Refused):
        raise RefusedError(verdict.reason, "the item is refused")
    return verdict


def judge_item(
    item: Item,
    book: CatalogBook,
    now: int,
    *,
    live: bool = True,
    topic: str | None = None,
    about: bytes | None = None,
    verified: bool = False,
) -> Verdict:
    """Judge like `judge`, but get an item that is already split into its parts.

    `about` is the catalog of the bundle in which a report or erasure arrived, which was compared
    with the topic: one of another catalog is MALFORMED. `verified`: the signature of this report
    or erasure was found to be valid before.
    """
    found: Body | Reason
    try:
        if item.kind is _REPORT:
            found = _report(item, book, now, live, topic, about, verified)
        else:
            found = _JUDGES[item.kind](item, _Context(book, now, live, topic, about, verified))
    except RefusedError as error:
        return Refused(Reason(error.code), item)
    if isinstance(found, Reason):
        return Refused(found, item)
    return tuple.__new__(Accepted, (item, found))  # as `Accepted(...)`, without a call in Python


def _refuse_if(breach: bool, reason: Reason, message: str) -> None:
    if breach:
        raise RefusedError(reason, message)


def _report(
    item: Item,
    book: CatalogBook,
    now: int,
    live: bool,
    topic: str | None,
    about: bytes | None,
    verified: bool,
) -> Report | Reason:
    report, content = recall_report(item.payload)
    if about is not None and report.catalog != about:
        return Reason.MALFORMED
    catalog = book.get(report.catalog)
    if catalog is None:
        if not verified:
            verify(item)
        return Reason.UNKNOWN_CATALOG
    if topic is not None and book.topic_of(catalog) != topic:
        return Reason.FOREIGN
    declared = catalog.types.get(report.type)
    if declared is None:
        return Reason.OFF_SCHEMA
    if content is None or content.fits is not declared:
        reason = declared.check_content(report.values, report.count, report.one_in, report.sequence)
        if reason is not _OK:
            return reason
        if content is not None:
            content.fits = declared
    time = report.time
    reason = declared.check_time(time)
    if reason is not _OK and reason is not _EXPIRED:
        return reason
    if declared.work or item.work is not None:
        _check_work(item, declared.work)
    if not verified:
        verify(item)
    if reason is _EXPIRED:
        return reason
    if live and not now - declared.lateness <= time <= now + EARLY_MAX:
        return Reason.EARLY if time > now else Reason.LATE
    newest = book.records.newest(catalog.key)
    if newest is None:
        return Reason.UNLISTED
    if live:
        # As `Record.listed_at`, without a call: most of the work of a node is here.
        period = newest.record.periods.get(report.catalog)
        listed = period is not None and period[0] - declared.resolution < time < period[1]
    else:
        listed = book.records.ever_listed(catalog.key, report.catalog)
    if not listed:
        return Reason.UNLISTED
    revoked = newest.record.revoked
    return Reason.REVOKED if revoked and newest.record.revoked_at(report.type, time) else report


def _check_work(item: Item, bits: int) -> None:
    """Refuse a missing work stamp, and one that the type does not require: its nonce could carry
    any content."""
    stamped = item.work is not None
    _refuse_if(stamped and not bits, Reason.OFF_SCHEMA, "the event type asks for no work stamp")
    done = zero_bits(sha256(item.signed).digest()) if stamped else 0
    _refuse_if(not stamped or done < bits, Reason.NO_WORK, "too little work")


def _erasure(item: Item, context: _Context) -> Erasure | Reason:
    _refuse_if(item.work is not None, Reason.OFF_SCHEMA, "only a report may have a work stamp")
    erasure = decode_erasure(item.payload)
    if context.about is not None and erasure.catalog != context.about:
        return Reason.MALFORMED
    catalog = context.book.get(erasure.catalog)
    if catalog is None:
        if not context.verified:
            verify(item)
        return Reason.UNKNOWN_CATALOG
    if context.topic is not None and context.book.topic_of(catalog) != context.topic:
        return Reason.FOREIGN
    if not context.verified:
        verify(item)
    if context.live and erasure.day * DAY > context.now + EARLY_MAX:
        return Reason.EARLY
    return erasure


def _check_namespace(item: Item, context: _Context) -> None:
    """Refuse an item that is not signed by the namespace key of the topic."""
    _refuse_if(item.work is not None, Reason.OFF_SCHEMA, "only a report may have a work stamp")
    if context.topic is not None:
        own = parse_topic(context.topic)[1] == short_key(item.key)
    else:
        own = context.book.allows_key(item.key)
    _refuse_if(not own, Reason.FOREIGN, "signed by another namespace")
    verify(item)


def _catalog(item: Item, context: _Context) -> Catalog | Reason:
    # The signature is checked first here, because reading a catalog takes a hundred times as long.
    _check_namespace(item, context)
    catalog = context.book.get(item.id)
    if catalog is None:
        catalog = Catalog.from_payload(item.payload, item.key, item.id, item.raw)
    heard = context.topic
    allowed = context.book.allows(catalog) if heard is None else catalog.topic == heard
    if not allowed:
        return Reason.FOREIGN
    if context.live and not context.book.lists(catalog):
        return Reason.UNLISTED
    return catalog


def _record(item: Item, context: _Context) -> Record | Reason:
    _check_namespace(item, context)
    record = decode_record(item.payload)
    if context.live and record.time > context.now + EARLY_MAX:
        return Reason.EARLY
    return record


def _announcement(item: Item, context: _Context) -> Announcement | Reason:
    _check_namespace(item, context)
    announcement = decode_announcement(item.payload)
    unrounded = announcement.time % TIME_STEP != 0 or announcement.expires % TIME_STEP != 0
    _refuse_if(unrounded, Reason.UNROUNDED, "a time that is not rounded")
    if context.live and announcement.time > context.now + EARLY_MAX:
        return Reason.EARLY
    if context.live and announcement.expires <= context.now:
        return Reason.EXPIRED
    return announcement


def _manifest(_item: Item, _context: _Context) -> Reason:
    """A manifest goes from peer to peer by request (`wire.manifest`), never on a topic."""
    return Reason.MALFORMED


def _descriptor(_item: Item, _context: _Context) -> Reason:
    """Descriptors have a topic of their own (`wire.descriptor`). On others they are what they are
    to nodes that do not know them, so that all nodes give the same verdict."""
    return Reason.UNKNOWN_KIND


_JUDGES: dict[Kind, Callable[[Item, _Context], Body | Reason]] = {
    Kind.ERASURE: _erasure,
    Kind.CATALOG: _catalog,
    Kind.RECORD: _record,
    Kind.ANNOUNCEMENT: _announcement,
    Kind.MANIFEST: _manifest,
    Kind.DESCRIPTOR: _descriptor,
}

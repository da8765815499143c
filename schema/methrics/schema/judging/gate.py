"""Judge a bundle: which items to keep, and whether to forward the bundle.

A bundle of one catalog is judged as a whole: if this node does not know the catalog, or its record
may be too old to tell whether a report counts, the bundle waits and nothing of it is kept. So no
item can make a node forget another one. `judge_bundle` changes only the catalog book and the `Seen`
that it is given; threads may share both. Signatures need most of the time. They are checked many at
a time, while Python's global lock is released, so worker threads can judge in parallel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Refused, Verdict, judge_item
from methrics.schema.judging.records import Added
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import decode_erasure, decode_report
from methrics.schema.wire.record import Record
from methrics.schema.wire.sha256 import sha256
from methrics.schema.wire.shard import WHOLE, Shard
from methrics.schema.wire.signatures import count_valid
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Decision, Reason

_REPORT, _ERASURE = Kind.REPORT, Kind.ERASURE

_TOGETHER = 64
"""Most signatures that are checked with one call. If the bundle is rejected for another reason than
a signature, at most so many were checked in vain."""


class Refusal(NamedTuple):
    """An item that was not accepted: the reason, its bytes, and its id if it is well formed."""

    reason: Reason
    raw: bytes
    id: bytes | None


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """Whether to forward a bundle, the reason, and the items of the bundle by their verdict.

    ACCEPT: forward the bundle and keep the items in `accepted`. IGNORE and REJECT: `accepted` is
    empty. If `waits_for` is set, judge the bundle again once this node has what it names: the
    catalog with that id, or a newer record for `b"record:" + short key`. REJECT: an item was
    rejected; it is the last of `refused`. `about` is the catalog id of the bundle's head.
    """

    decision: Decision
    reason: Reason
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    waits_for: bytes | None = None
    about: bytes = b""


def named_catalog(raw: bytes) -> bytes:
    """Return the catalog id in a well-formed report or erasure. Empty for other kinds of items."""
    return _named(split(raw))


def _named(item: Item) -> bytes:
    if item.kind is Kind.REPORT:
        return decode_report(item.payload).catalog
    if item.kind is Kind.ERASURE:
        return decode_erasure(item.payload).catalog
    return b""


def record_wait(short: str) -> bytes:
    """Return what a bundle waits for that needs a newer record of a short key."""
    return b"record:" + short.encode()


def judge_bundle(
    raw: bytes,
    book: CatalogBook,
    now: int,
    seen: Seen,
    *,
    live: bool = True,
    topic: str | None = None,
    shard: Shard = WHOLE,
) -> BundleVerdict:
    """Judge the bytes of a bundle. Never raises. `now` is in Unix seconds.

    Only reports and erasures of `shard` are judged; of the others nothing is known but that they
    have the form of an item, and they are not in the verdict. If the bundle has no other, it is
    ignored with the reason OK. Who judges a shard must not forward a bundle.

    An accepted catalog or record is added to `book` at once. Items are added to `seen` only if the
    bundle is accepted. A caller that fails to store an item must `seen.discard` it. `live` and
    `topic` are as for `judge`.
    """
    try:
        about, items = unpack(raw)
    except RefusedError as error:
        return BundleVerdict(Decision.REJECT, Reason(error.code))
    context = _Context(book, now, seen, live, topic, shard)
    if not about:
        return _notice(items[0], context)
    catalog = book.get(about)
    if catalog is None:
        return _unknown(about, context)
    if topic is not None and book.topic_of(catalog) != topic:
        return BundleVerdict(Decision.REJECT, Reason.FOREIGN, about=about)
    if live and not book.lists(catalog) and not _only_erasures(items):
        return _waiting(Reason.UNLISTED, about, short_key(catalog.key))
    return _of_catalog(catalog, items, context)


class _Context(NamedTuple):
    book: CatalogBook
    now: int
    seen: Seen
    live: bool
    topic: str | None
    shard: Shard


def _waiting(
    reason: Reason, about: bytes, short: str | None, refused: Sequence[Refusal] = ()
) -> BundleVerdict:
    """The verdict on a bundle that waits for a catalog, or for a newer record of `short`."""
    wait = about if short is None else record_wait(short)
    return BundleVerdict(Decision.IGNORE, reason, [], list(refused), wait, about)


def _unknown(about: bytes, context: _Context) -> BundleVerdict:
    if not context.live or context.topic is None:
        return _waiting(Reason.UNKNOWN_CATALOG, about, None)
    short = parse_topic(context.topic)[1]
    newest = context.book.records.newest_of(short)
    if any(about in known.record.listings for known in newest):
        return _waiting(Reason.UNKNOWN_CATALOG, about, None)
    return _waiting(Reason.UNLISTED, about, short)


def _only_erasures(items: Sequence[bytes]) -> bool:
    try:
        return all(split(raw).kind is Kind.ERASURE for raw in items)
    except RefusedError:
        return False


def _of_catalog(catalog: Catalog, items: Sequence[bytes], context: _Context) -> BundleVerdict:
    """Judge the reports and erasures of one known catalog."""
    about, seen = catalog.id, context.seen
    accepted: dict[bytes, Accepted] = {}
    refused: list[Refusal] = []
    outdated = False
    for data, verdict in _verdicts(items, catalog, context):
        if isinstance(verdict, Accepted):
            if verdict.item.id in accepted:
                verdict = Refused(Reason.DUPLICATE, verdict.item)
            else:
                accepted[verdict.item.id] = verdict
                continue
        refused.append(Refusal(verdict.reason, data, verdict.item and verdict.item.id))
        if verdict.decision is Decision.REJECT:
            return BundleVerdict(Decision.REJECT, verdict.reason, [], refused, about=about)
        if verdict.reason is Reason.UNLISTED and context.live:
            outdated = outdated or _outdated(verdict.item, catalog, context.book)
    if outdated:
        return _waiting(Reason.UNLISTED, about, short_key(catalog.key))
    fresh = []
    for one in accepted.values():
        if seen.add(one.item):
            fresh.append(one)
        else:  # another thread has accepted it meanwhile
            refused.append(Refusal(Reason.DUPLICATE, one.item.raw, one.item.id))
    if not fresh:
        reason = refused[0].reason if refused else Reason.OK  # nothing of this shard
        return BundleVerdict(Decision.IGNORE, reason, [], refused, about=about)
    return BundleVerdict(Decision.ACCEPT, Reason.OK, fresh, refused, about=about)


def _verdicts(
    items: Sequence[bytes], catalog: Catalog, context: _Context
) -> Iterator[tuple[bytes, Verdict]]:
    """Judge the items of a bundle that is about `catalog`, in their order."""
    book, now, live, about = context.book, context.now, context.live, catalog.id
    for start in range(0, len(items), _TOGETHER):
        raws = items[start : start + _TOGETHER]
        parts = [_part(raw, catalog, context) for raw in raws]
        valid = count_valid([part for part in parts if isinstance(part, Item)])
        for raw, part in zip(raws, parts, strict=True):
            if part is None:
                continue
            if isinstance(part, Item):
                verified, valid = valid > 0, valid - 1
                yield raw, judge_item(part, book, now, live=live, about=about, verified=verified)
            else:
                yield raw, part


def _part(raw: bytes, catalog: Catalog, context: _Context) -> Item | Refused | None:
    """Return a report or erasure that is not judged yet, or the verdict on anything else; None for
    one of another shard."""
    try:
        item = split(raw)
    except RefusedError as error:
        unknown = error.code == Reason.UNKNOWN_KIND
        return Refused(Reason.MALFORMED if unknown else Reason(error.code))
    if item.kind is not _REPORT and item.kind is not _ERASURE:
        return Refused(Reason.MALFORMED, item)
    if context.shard.count > 1 and not context.shard.has(_place(item)):
        return None
    if context.seen.holds(item):
        own = _named(item) == catalog.id
        return Refused(Reason.DUPLICATE if own else Reason.MALFORMED, item)
    return item


def place_of(raw: bytes) -> bytes:
    """Return the hash that decides to which shard any bytes belong: a report's id, for an erasure
    the id of the report that it erases, and for all else a hash of the bytes."""
    try:
        return _place(split(raw))
    except RefusedError:
        return sha256(raw).digest()


def _place(item: Item) -> bytes:
    if item.kind is _REPORT:
        return item.id
    if item.kind is not _ERASURE:
        return sha256(item.raw).digest()
    try:
        return decode_erasure(item.payload).report_id(item.key)
    except RefusedError:
        return sha256(item.raw).digest()


def _outdated(item: Item | None, catalog: Catalog, book: CatalogBook) -> bool:
    """Tell whether a newer record may list an unlisted report: if the record that this node has
    expired before the report's time, or has gone meanwhile."""
    newest = book.records.newest(catalog.key)
    if newest is None or item is None or catalog.id not in newest.record.listings:
        return True
    return decode_report(item.payload).time >= newest.record.expires


def _notice(raw: bytes, context: _Context) -> BundleVerdict:
    """Judge a bundle of one catalog, record or announcement."""
    verdict = _judge_notice(raw, context)
    if isinstance(verdict, Accepted):
        return BundleVerdict(Decision.ACCEPT, Reason.OK, [verdict])
    refused = [Refusal(verdict.reason, raw, verdict.item and verdict.item.id)]
    if verdict.reason is Reason.UNLISTED and verdict.item is not None:
        return _waiting(Reason.UNLISTED, b"", short_key(verdict.item.key), refused)
    return BundleVerdict(verdict.decision, verdict.reason, [], refused)


def _judge_notice(raw: bytes, context: _Context) -> Verdict:
    book, seen, topic = context.book, context.seen, context.topic
    try:
        item = split(raw)
    except RefusedError as error:
        return Refused(Reason(error.code))
    if item.kind in (Kind.REPORT, Kind.ERASURE, Kind.MANIFEST):
        return Refused(Reason.MALFORMED, item)
    # If a full book lacks a catalog, judge that catalog again: only its payload has its label.
    placed = item.kind is not Kind.CATALOG or book.get(item.id) is not None
    if placed and seen.holds(item):
        # Nodes that have not seen this item reject it on the topic of another namespace. A node
        # that called it a duplicate would forward the bundle and lose peer score.
        foreign = topic is not None and _foreign(item, book, topic)
        return Refused(Reason.FOREIGN if foreign else Reason.DUPLICATE, item)
    verdict = judge_item(item, book, context.now, live=context.live, topic=topic)
    if isinstance(verdict, Accepted):
        if not learn(verdict, book, given=not context.live):
            return Refused(Reason.QUOTA, item)
        if not seen.add(item):
            return Refused(Reason.DUPLICATE, item)
    return verdict


def _foreign(item: Item, book: CatalogBook, topic: str) -> bool:
    """Tell whether a previously accepted notice belongs to another topic than `topic`."""
    if item.kind is not Kind.CATALOG:
        return parse_topic(topic)[1] != short_key(item.key)
    catalog = book.get(item.id)
    return catalog is not None and book.topic_of(catalog) != topic


def learn(accepted: Accepted, book: CatalogBook, *, given: bool = False) -> bool:
    """Add an accepted catalog or record to the book. Returns False if the book refuses it.

    `given`: the operator or the app gave the catalog, so it need not be listed."""
    if isinstance(accepted.body, Catalog):
        return book.add(accepted.body, given=given)
    if isinstance(accepted.body, Record):
        return book.records.add(accepted.item, accepted.body) is not Added.FULL
    return True

"""Judge a bundle: which items to keep, and whether to forward the bundle.

`judge_bundle` changes only the catalog book and the `Seen` that it is given; threads may share
both. libsodium needs nearly all of the time and releases Python's global lock, so worker threads
can judge in parallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Refused, Verdict, judge_item
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import Revocation, decode_erasure, decode_report
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Decision, Reason


class Refusal(NamedTuple):
    """An item that was not accepted: the reason, its bytes, and its id if it is well formed."""

    reason: Reason
    raw: bytes
    id: bytes | None


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """Whether to forward a bundle, the reason, and the items of the bundle by their verdict.

    ACCEPT: forward the bundle and keep the items in `accepted`. IGNORE: do not forward the bundle,
    but keep the items in `accepted`, if there are any. A bundle is ignored if this node cannot
    check one of its items (UNKNOWN_CATALOG, UNKNOWN_KIND), because other nodes might reject that
    item. REJECT: an item was rejected; it is the last of `refused`, and `accepted` is empty.
    """

    decision: Decision
    reason: Reason
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def unknown_catalogs(verdict: BundleVerdict) -> frozenset[bytes]:
    """Return the ids of catalogs that the bundle's reports and erasures name and the book lacks."""
    return frozenset(
        named_catalog(refusal.raw)
        for refusal in verdict.refused
        if refusal.reason is Reason.UNKNOWN_CATALOG
    ) - {b""}


def named_catalog(raw: bytes) -> bytes:
    """Return the catalog id in a well-formed report or erasure. Empty for other kinds of items."""
    return _named(split(raw))


def _named(item: Item) -> bytes:
    if item.kind is Kind.REPORT:
        return decode_report(item.payload).catalog
    if item.kind is Kind.ERASURE:
        return decode_erasure(item.payload).catalog
    return b""


_UNVOUCHED = frozenset({Reason.UNKNOWN_CATALOG, Reason.UNKNOWN_KIND})


def judge_bundle(
    raw: bytes,
    book: CatalogBook,
    now: int,
    seen: Seen,
    *,
    live: bool = True,
    topic: str | None = None,
) -> BundleVerdict:
    """Judge the bytes of a bundle. Never raises. `now` is in Unix seconds.

    Accepted catalogs and revocations are added to `book` at once, so that they apply to the later
    items of the bundle. Accepted items are added to `seen` only if the bundle is accepted: those of
    an ignored bundle are not forwarded with it, so they must not be duplicates in a bundle that can
    be forwarded. A caller that fails to store an item must `seen.discard` it. `live` and `topic`
    are as for `judge`.
    """
    try:
        items = unpack(raw)
    except RefusedError as error:
        return BundleVerdict(Decision.REJECT, Reason(error.code), [], [])
    accepted: dict[bytes, Accepted] = {}
    refused: list[Refusal] = []
    for data in items:
        verdict = _judge(data, book, now, seen, accepted, live, topic)
        if isinstance(verdict, Accepted):
            accepted[verdict.item.id] = verdict
            continue
        refused.append(Refusal(verdict.reason, data, verdict.item and verdict.item.id))
        if verdict.decision is Decision.REJECT:
            return BundleVerdict(Decision.REJECT, verdict.reason, [], refused)
    forwarded = not any(refusal.reason in _UNVOUCHED for refusal in refused)
    fresh = []
    for one in accepted.values():
        if seen.add(one.item) if forwarded else one.item.id not in seen:
            fresh.append(one)
        else:  # another thread has accepted it meanwhile
            refused.append(Refusal(Reason.DUPLICATE, one.item.raw, one.item.id))
    return _decide(fresh, refused)


def _decide(accepted: list[Accepted], refused: list[Refusal]) -> BundleVerdict:
    unvouched = next((refusal for refusal in refused if refusal.reason in _UNVOUCHED), None)
    if unvouched is not None:
        return BundleVerdict(Decision.IGNORE, unvouched.reason, accepted, refused)
    if not accepted:
        return BundleVerdict(Decision.IGNORE, refused[0].reason, accepted, refused)
    return BundleVerdict(Decision.ACCEPT, Reason.OK, accepted, refused)


def _judge(
    raw: bytes,
    book: CatalogBook,
    now: int,
    seen: Seen,
    here: Mapping[bytes, Accepted],
    live: bool,
    topic: str | None,
) -> Verdict:
    """Judge one item of a bundle. An accepted catalog or revocation is added to the book.

    `here` are the accepted items that come earlier in the same bundle, by id.
    """
    try:
        item = split(raw)
    except RefusedError as error:
        return Refused(Reason(error.code))
    before = here.get(item.id)
    if before is not None and before.item.raw[-64:] == item.raw[-64:]:
        return Refused(Reason.DUPLICATE, item)
    # If a full book lacks a catalog, judge that catalog again: only its payload has its label.
    placed = item.kind is not Kind.CATALOG or book.get(item.id) is not None
    if placed and seen.holds(item):
        # Nodes that have not seen this item reject it on the topic of another namespace. A node
        # that called it a duplicate would forward the bundle and lose peer score.
        foreign = topic is not None and _foreign(item, book, topic)
        reason = Reason.FOREIGN if foreign else Reason.DUPLICATE
        return Refused(reason, item)
    verdict = judge_item(item, book, now, live=live, topic=topic)
    if isinstance(verdict, Accepted):
        if not learn(verdict, book):
            return Refused(Reason.QUOTA, item)
        if before is not None or item.id in seen:
            return Refused(Reason.DUPLICATE, item)
    return verdict


def _foreign(item: Item, book: CatalogBook, topic: str) -> bool:
    """Tell whether a previously accepted item belongs to another topic than `topic`."""
    if item.kind in (Kind.REVOCATION, Kind.ANNOUNCEMENT):
        return parse_topic(topic)[1] != short_key(item.key)
    catalog = book.get(item.id if item.kind is Kind.CATALOG else _named(item))
    return catalog is not None and book.topic_of(catalog) != topic


def learn(accepted: Accepted, book: CatalogBook) -> bool:
    """Add an accepted catalog or revocation to the book. Returns False if the book refuses it."""
    if isinstance(accepted.body, Catalog):
        return book.add(accepted.body)
    if isinstance(accepted.body, Revocation):
        return book.revoke(accepted.item.key, accepted.body)
    return True

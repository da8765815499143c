"""The verdict on a bundle: what to keep of it, and whether to pass it on.

Pure but for the two memories it is given, both of which threads may share; nearly all of its time
is libsodium's, which runs without Python's lock, so several worker threads judge side by side.
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
    """An item that was not accepted: why, its bytes, and its id if it has an item's structure."""

    reason: Reason
    raw: bytes
    id: bytes | None


@dataclass(frozen=True, slots=True)
class BundleVerdict:
    """The decision on passing a bundle on, its reason, and the items one by one.

    ACCEPT: pass it on. IGNORE: do not, but keep `accepted`, which need not be empty: a bundle with
    an item that we cannot check ourselves (UNKNOWN_CATALOG, UNKNOWN_KIND) is not passed on, since
    we cannot vouch for it. REJECT: one item was rejected, so nothing is kept, `accepted` is empty
    and `refused` ends with the culprit.
    """

    decision: Decision
    reason: Reason
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def unknown_catalogs(verdict: BundleVerdict) -> frozenset[bytes]:
    """Ids of the catalogs that the bundle's reports and erasures name and the book lacks."""
    return frozenset(
        named_catalog(refusal.raw)
        for refusal in verdict.refused
        if refusal.reason is Reason.UNKNOWN_CATALOG
    ) - {b""}


def named_catalog(raw: bytes) -> bytes:
    """The catalog id in a report or erasure whose structure has been judged; empty for others."""
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
    """Judge the bytes of a bundle; never raises for any bytes. `now` is in unix seconds.

    Accepted catalogs and revocations go into `book` at once, for the items behind them. Accepted
    items go into `seen` unless the bundle is rejected: whoever then fails to keep one has to
    `seen.discard` it. `live` and `topic` are as for `judge`.
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
    fresh = []
    for one in accepted.values():
        if seen.add(one.item):
            fresh.append(one)
        else:  # another thread has judged it meanwhile
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
    """The verdict on one item of a bundle, after which the book knows what it says.

    `here`: the items of the same bundle that were accepted before it, by id.
    """
    try:
        item = split(raw)
    except RefusedError as error:
        return Refused(Reason(error.code))
    before = here.get(item.id)
    if before is not None and before.item.raw[-64:] == item.raw[-64:]:
        return Refused(Reason.DUPLICATE, item)
    # A catalog that the book has no room for is judged again: only its payload names its label.
    placed = item.kind is not Kind.CATALOG or book.get(item.id) is not None
    if placed and seen.holds(item):
        # A known item on the topic of another namespace is rejected by those to whom it is new:
        # whoever called it a duplicate would pass it on and be blamed.
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
    """Whether an item that was accepted before belongs to another topic than this one."""
    if item.kind in (Kind.REVOCATION, Kind.ANNOUNCEMENT):
        return parse_topic(topic)[1] != short_key(item.key)
    catalog = book.get(item.id if item.kind is Kind.CATALOG else _named(item))
    return catalog is not None and book.topic_of(catalog) != topic


def learn(accepted: Accepted, book: CatalogBook) -> bool:
    """Put a catalog or a revocation into the book. False if there is no room."""
    if isinstance(accepted.body, Catalog):
        return book.add(accepted.body)
    if isinstance(accepted.body, Revocation):
        return book.revoke(accepted.item.key, accepted.body)
    return True

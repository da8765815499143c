"""Decides by the record of a namespace which reports may leave (pure).

The record lists the catalogs of the namespace. An app that got a catalog of its own could be
recognized by it, so a report leaves only under a catalog in a record that two relays agree on; if
the person knows only one relay, its record is enough. A record that was agreed on stays in force
until it expires or relays agree on a newer one. A record that fewer relays told is forgotten after
the pass: one that a relay made for this person would make the person recognizable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from methrics.node.outbox.records import Kept
from methrics.node.publish.lineage import Lineage, lineage
from methrics.schema.errors import RefusedError
from methrics.schema.judging.records import RecordBook
from methrics.schema.wire.envelope import Item, Kind, split, verify
from methrics.schema.wire.limits import EARLY_MAX, TIME_MAX
from methrics.schema.wire.record import decode_record
from methrics.schema.wire.topic import short_key

RELAYS_NEEDED = 2
"""Relays that have to agree on a record, if the person knows that many."""

UNLISTED, NO_RECORD, UNCHECKED = "unlisted", "no-record", "unchecked"
EXPIRED, EQUIVOCATION = "record-expired", "equivocation"
"""Why a report waits."""

WORDS = {
    UNLISTED: "the namespace's record does not list their catalog at their time",
    NO_RECORD: "no relay has a record of the namespace; its owner makes one with "
    "`methrics namespace publish`",
    UNCHECKED: "two relays have to agree on the namespace's record, and do not yet",
    EXPIRED: "the namespace's record has expired; its owner has to renew it, or the relays "
    "withhold a newer one",
    EQUIVOCATION: "the namespace has signed two records that contradict each other, and not both "
    "list the catalog",
}
"""These reasons as a sentence about reports."""


def waits(kept: Kept, catalog: bytes, time: int, resolution: int, *, now: int, needed: int) -> str:
    """Returns why a report of `time` under the catalog with this id may not leave at `now` (Unix
    seconds), "" if it may. `needed`: how many relays have to say the same."""
    records = kept.records
    if not records:
        return NO_RECORD
    if kept.relays < needed:
        return EQUIVOCATION if len(records) > 1 else UNCHECKED
    if max(records, key=lambda record: record.time).expires <= now:
        return EXPIRED
    valid = [record for record in records if record.expires > now]
    if all(record.listed_at(catalog, time, resolution) for record in valid):
        return ""
    return EQUIVOCATION if len(records) > 1 else UNLISTED


def agree(
    kept: Kept, heard: Iterable[Sequence[bytes]], topic_key: str, *, now: int, needed: int
) -> Kept:
    """Returns what a publisher goes by after relays told it their records.

    `kept`: what it went by before. `heard`: for each relay, its records. `topic_key`: the short key
    of the namespace; records of other namespaces, forged ones and those from the future do not
    count.
    """
    told = [_valid(raws, topic_key, now) for raws in heard]
    before = _valid(kept.raws, topic_key, now) if kept.relays >= needed else []
    heads = _in_force([*before, *(item for items in told for item in items)], now)
    ids = {item.id for item in heads}
    count = sum({item.id for item in _in_force(items, now)} == ids for items in told)
    found = Kept(tuple(item.raw for item in heads), count)
    if ids == {item.id for item in before}:
        return Kept(found.raws, max(count, kept.relays))
    if count >= needed or len(heads) > 1 or not before:
        return found
    return kept


def lasting(before: Kept, after: Kept, *, needed: int) -> Kept:
    """Returns what is kept for the next pass, if a pass began with `before` and `agree` then
    returned `after`: the newer of them that as many relays told as needed."""
    return next((one for one in (after, before) if one.relays >= needed), Kept())


def heads_of(raws: Iterable[bytes], topic_key: str) -> tuple[bytes, ...]:
    """Returns the newest of some records of a namespace, and two that contradict each other if
    there are such, whatever their time. Other bytes among `raws` do not count."""
    return tuple(item.raw for item in _heads(_valid(raws, topic_key, TIME_MAX)))


def lineage_of(raws: Iterable[bytes], key: bytes) -> Lineage:
    """Returns the lineage of the records of a namespace, by its key (32 bytes), among `raws`,
    whatever their time. Other bytes do not count."""
    items = [item for item in _valid(raws, short_key(key), TIME_MAX) if item.key == key]
    return lineage((item, decode_record(item.payload)) for item in items)


def _heads(items: Sequence[Item]) -> list[Item]:
    if not items:
        return []
    book, by_raw = RecordBook(), {item.raw: item for item in items}
    for item in by_raw.values():
        book.add(item, decode_record(item.payload))
    key = items[0].key
    newest = book.newest(key)
    raws = {*(book.proof(key) or ()), *((newest.item.raw,) if newest is not None else ())}
    return sorted((by_raw[raw] for raw in raws), key=lambda item: item.id)


def _in_force(items: Sequence[Item], now: int) -> list[Item]:
    """Returns the heads, without older ones that have expired: they say nothing about reports of
    the present, and anyone may bring them back."""
    heads = [(item, decode_record(item.payload)) for item in _heads(items)]
    last = max((record.time for _, record in heads), default=0)
    return [item for item, record in heads if record.time == last or record.expires > now]


def _valid(raws: Iterable[bytes], topic_key: str, now: int) -> list[Item]:
    found = []
    for raw in raws:
        try:
            item = split(raw)
            if item.kind is not Kind.RECORD or short_key(item.key) != topic_key:
                continue
            verify(item)
            if decode_record(item.payload).time <= now + EARLY_MAX:
                found.append(item)
        except RefusedError:
            continue
    return found

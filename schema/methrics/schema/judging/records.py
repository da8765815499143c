"""Store the namespace records that a node knows: the newest of each key, proofs of equivocation.

The content does not depend on the order in which records arrive, as long as a key has no more than
`RECORDS_MAX`. Threads may share a book: each change is atomic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock
from typing import NamedTuple

from methrics.schema.wire.envelope import Item
from methrics.schema.wire.record import Record
from methrics.schema.wire.topic import short_key

KEYS_MAX = 1024
"""The most namespace keys in a book, of which each has at most `RECORDS_MAX` records."""

RECORDS_MAX = 8
"""The most records of one key: the newest ones, and the two that prove an equivocation."""

EVER_MAX = 1024
"""The most catalogs of one key that a book remembers as listed once: 32 records with new ones."""


class Added(Enum):
    """What a book did with a record."""

    NEW = "new"
    """It is the newest of its key."""
    KNOWN = "known"
    """The book has it already."""
    OLDER = "older"
    """The book has a newer one of its key."""
    EQUIVOCATION = "equivocation"
    """It shows, with another record, that its key was used twice. It may be the newest one."""
    FULL = "full"
    """The book has records of too many keys, and did not add it."""


class KnownRecord(NamedTuple):
    """A record in a book: its item and its decoded payload."""

    item: Item
    record: Record

    @property
    def rank(self) -> tuple[int, bytes]:
        """What decides which of two records is newer."""
        return self.record.time, self.item.id


@dataclass(slots=True)
class _Namespace:
    records: list[KnownRecord] = field(default_factory=list)
    """Newest first."""
    ever: set[bytes] = field(default_factory=set)
    proof: tuple[KnownRecord, KnownRecord] | None = None


class RecordBook:
    """Records by namespace key. The caller has verified them."""

    def __init__(self) -> None:
        self._namespaces: dict[bytes, _Namespace] = {}
        self._newest: dict[bytes, KnownRecord] = {}
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self._lock = Lock()

    def add(self, item: Item, record: Record) -> Added:
        """Add a verified record and return what it changed."""
        known = KnownRecord(item, record)
        with self._lock:
            namespace = self._namespaces.get(item.key)
            if namespace is None:
                if len(self._namespaces) >= KEYS_MAX:
                    return Added.FULL
                namespace = self._namespaces[item.key] = _Namespace()
            if any(one.item.id == item.id for one in namespace.records):
                return Added.KNOWN
            is_first = not namespace.records
            added = self._add(namespace, known)
            if is_first:  # now, because readers take no lock
                short = short_key(item.key)
                self._keys[short] = (*self._keys.get(short, ()), item.key)
            return added

    def _add(self, namespace: _Namespace, known: KnownRecord) -> Added:
        key = known.item.key
        newest = self._newest.get(key)
        records = sorted((*namespace.records, known), key=lambda one: one.rank, reverse=True)
        before = namespace.proof
        namespace.proof = _proof(records)
        namespace.records = _keep(records, namespace.proof or ())
        new = [one for one in known.record.listings if one not in namespace.ever]
        namespace.ever.update(new[: EVER_MAX - len(namespace.ever)])
        self._newest[key] = records[0]
        if namespace.proof is not None and namespace.proof != before:
            return Added.EQUIVOCATION
        return Added.NEW if newest is None or known.rank > newest.rank else Added.OLDER

    def newest(self, key: bytes) -> KnownRecord | None:
        """Return the record of a namespace key with the largest time (then id), or None."""
        return self._newest.get(key)

    def newest_of(self, short: str) -> list[KnownRecord]:
        """Return the newest record of each key with this short form: one, unless keys collide."""
        return [self._newest[key] for key in self._keys.get(short, ())]

    def heads(self, key: bytes) -> list[Item]:
        """Return the records of a key that no other record names as previous, newest first.

        Without those that the newest record has settled.
        """
        with self._lock:
            namespace = self._namespaces.get(key)
            records = namespace.records if namespace else []
            named = {one for known in records for one in known.record.previous}
            unsettled = _unsettled(records)
            return [known.item for known in unsettled if known.item.id not in named]

    def proof(self, key: bytes) -> tuple[bytes, bytes] | None:
        """Return two records that prove an equivocation of the key, the older first; or None.

        Both name the same previous record, or both name none, and neither names the other. None
        once a later record names both, or the newest record has settled both.
        """
        namespace = self._namespaces.get(key)
        proof = None if namespace is None else namespace.proof
        if proof is None:
            return None
        older, newer = proof
        return older.item.raw, newer.item.raw

    def ever_listed(self, key: bytes, catalog_id: bytes) -> bool:
        """Tell whether a record of this key has ever listed the catalog."""
        namespace = self._namespaces.get(key)
        return namespace is not None and catalog_id in namespace.ever


def _keep(records: list[KnownRecord], proof: Iterable[KnownRecord]) -> list[KnownRecord]:
    """Return the proof and the newest of the others, newest first.

    Settled records are older than all others that are not in the proof, so they go first.
    """
    pinned = {known.item.id for known in proof}
    others = [known for known in records if known.item.id not in pinned]
    kept = {known.item.id for known in others[: RECORDS_MAX - len(pinned)]} | pinned
    return [known for known in records if known.item.id in kept]


def _proof(records: Sequence[KnownRecord]) -> tuple[KnownRecord, KnownRecord] | None:
    """Return the oldest pair of `records` (newest first) that conflicts and is not healed.

    Of two pairs, the one with the older older record comes first, then that with the older newer.
    """
    pairs = [
        (older, newer)
        for at, newer in enumerate(_unsettled(records))
        for older in records[at + 1 :]
        if _conflict(older, newer) and not any(_heals(one, older, newer) for one in records)
    ]
    return min(pairs, key=lambda pair: (pair[0].rank, pair[1].rank), default=None)


def _unsettled(records: Sequence[KnownRecord]) -> list[KnownRecord]:
    """Return those of `records` (newest first) that the newest of them has not settled."""
    settled = records[0].record.settled if records else None
    return [known for known in records if settled is None or known.record.time > settled]


def _conflict(older: KnownRecord, newer: KnownRecord) -> bool:
    first, second = set(older.record.previous), set(newer.record.previous)
    if older.item.id in second or newer.item.id in first:
        return False
    if newer.record.settled is not None and older.record.time <= newer.record.settled:
        return False
    return bool(first & second) or not (first or second)


def _heals(later: KnownRecord, older: KnownRecord, newer: KnownRecord) -> bool:
    return {older.item.id, newer.item.id} <= set(later.record.previous) and later.rank > newer.rank

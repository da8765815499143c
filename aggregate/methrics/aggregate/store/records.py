"""Keeps the history of namespace records: every list of catalogs and revocations that was seen.

The newest record of each namespace key says which event types are revoked. Reports of the past are
judged by whether any record has ever listed their catalog, so `verify` needs the whole history. It
also shows everyone a list that changes too often, or two lists at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from methrics.aggregate.store.dictionary_tables import insert
from methrics.aggregate.store.duck import Connection, moment
from methrics.schema.judging.records import KnownRecord, RecordBook
from methrics.schema.wire.envelope import Item, split
from methrics.schema.wire.record import Record, decode_record

HISTORY_MAX = 2048
"""Most records of one namespace in a file, 32 MiB at most. Beyond that, the oldest records are
dropped that list no catalog which no other record lists. A new record each week for forty years
does not come to so many."""

NEVER = 1 << 63
"""Revocation time of a type that is not revoked: later than the time of any report."""


class Records:
    """Maintains the tables `record`, `listing` and `revoked`, in the caller's transaction.
    Records have numbers above `first`."""

    def __init__(self, con: Connection, first: int = 0) -> None:
        self._con = con
        self._book = RecordBook()
        self._ids: set[bytes] = set()
        self._sizes: Counter[bytes] = Counter()
        self._last = first
        self._first: dict[tuple[bytes, bytes], int] = {}
        """(namespace key, catalog id) -> the earliest time from which a record lists it"""
        for n, raw in con.execute("SELECT n, raw FROM record ORDER BY n").fetchall():
            item = split(raw)
            self._note(item, decode_record(item.payload))
            self._last = max(n, self._last)

    def __contains__(self, record_id: bytes) -> bool:
        return record_id in self._ids

    def all(self) -> list[KnownRecord]:
        """Return all records in the file, by time."""
        rows = self._con.execute("SELECT raw FROM record ORDER BY time, id").fetchall()
        items = [split(raw) for (raw,) in rows]
        return [KnownRecord(item, decode_record(item.payload)) for item in items]

    def newest(self, key: bytes) -> KnownRecord | None:
        """Return the newest record of a namespace key, or None."""
        return self._book.newest(key)

    def first_listed(self, key: bytes, catalog_id: bytes) -> int | None:
        """Return the earliest time (Unix seconds) from which a record of the catalog's own key has
        ever listed it, or None."""
        return self._first.get((key, catalog_id))

    def revoked_from(self, key: bytes, type_name: str) -> int:
        """Return the time (Unix seconds) from which reports of an event type are revoked."""
        newest = self._book.newest(key)
        revoked = None if newest is None else newest.record.revoked.get(type_name)
        return NEVER if revoked is None else revoked.time

    def add(self, records: Iterable[tuple[Item, Record]], received: int) -> list[KnownRecord]:
        """Store those of `records` that are new, and return them."""
        new = [KnownRecord(*pair) for pair in records if pair[0].id not in self._ids]
        for one in new:
            self._note(*one)
        self._write(new, received)
        for key in {one.item.key for one in new}:
            if self._sizes[key] > HISTORY_MAX:
                self._trim(key)
        return new

    def _note(self, item: Item, record: Record) -> None:
        self._ids.add(item.id)
        self._sizes[item.key] += 1
        self._book.add(item, record)
        for one in record.catalogs:
            named = item.key, one.catalog
            self._first[named] = min(one.listed, self._first.get(named, one.listed))

    def _write(self, new: Sequence[KnownRecord], received: int) -> None:
        for n, (item, record) in enumerate(new, self._last + 1):
            self._con.execute(
                f"INSERT INTO record VALUES (?, ?, {moment(record.time)}, "
                f"{moment(record.expires)}, ?, ?, ?, ?, {moment(received)})",
                [n, item.key, _moment(record.settled), list(record.previous), item.id, item.raw],
            )
            listed, revoked = columns_of(n, record)
            insert(self._con, "listing", listed)
            insert(self._con, "revoked", revoked)
        self._last += len(new)

    def _trim(self, key: bytes) -> None:
        """Drop old records of `key` that add nothing, until an eighth of HISTORY_MAX is free."""
        pinned = {split(raw).id for raw in self._book.proof(key) or ()}
        rows = self._con.execute(
            "SELECT n, id, list(l.catalog) FROM record r LEFT JOIN listing l ON l.record = r.n "
            "WHERE key = ? GROUP BY r.n, r.id, r.time ORDER BY r.time, r.id",
            [key],
        ).fetchall()
        listed = Counter(catalog for _, _, catalogs in rows for catalog in catalogs)
        excess = len(rows) - HISTORY_MAX * 7 // 8
        gone: list[int] = []
        for n, record_id, catalogs in rows[:-1]:
            needed = any(listed[one] == 1 for one in catalogs if one is not None)
            if len(gone) == excess or needed or record_id in pinned:
                continue
            listed.subtract(catalogs)
            gone.append(n)
            self._ids.discard(record_id)
        self._sizes[key] -= len(gone)
        for table, column in (("record", "n"), ("listing", "record"), ("revoked", "record")):
            self._con.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT unnest(?))", [gone])


def columns_of(n: int, record: Record) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows of the tables `listing` and `revoked` for the record with number `n`."""
    listed = [
        (n, one.catalog, _moment(one.listed), _moment(one.delisted)) for one in record.catalogs
    ]
    revoked = [(n, name, _moment(one.time), one.reason) for name, one in record.revoked.items()]
    return listed, revoked


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)

"""Keeps the record of a namespace in its outbox, for the publisher and for what people read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from math import log2
from typing import NamedTuple

from methrics.node.clock import Clock
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.limits import LISTED_MAX
from methrics.schema.wire.record import Record, Revoked, decode_record

ONE_RELAY = "one relay, not cross-checked"
"""Says that a person knows only one relay, which could withhold a newer record."""

_WAITS = "record_waits"


class Kept(NamedTuple):
    """The records of a namespace that a publisher goes by.

    `raws`: the exact bytes of the newest record, and of two that contradict each other, if there
    are such. `relays`: how many relays said the same.
    """

    raws: tuple[bytes, ...] = ()
    relays: int = 0

    @property
    def records(self) -> tuple[Record, ...]:
        """The decoded records."""
        return tuple(map(_decoded, self.raws))

    def revoked(self, type_name: str, time: int) -> Revoked | None:
        """Returns the revocation that covers a report of this type and `time` (Unix seconds)."""
        for record in self.records:
            if record.revoked_at(type_name, time):
                return record.revoked[type_name]
        return None

    @property
    def listed(self) -> int | None:
        """How many catalogs the namespace lists, None if no record is known."""
        return max((max(1, len(one.catalogs)) for one in self.records), default=None)

    @property
    def list_bits(self) -> float:
        """The most bits that the catalog which a report names can tell: log2 of the number of
        listed catalogs. Without a record, log2 of the most that a record may list."""
        return log2(self.listed or LISTED_MAX)


@lru_cache(64)
def _decoded(raw: bytes) -> Record:
    return decode_record(split(raw).payload)


class Records:
    """The kept records in a journal's file. Every method raises StoreError as the journal does."""

    def __init__(self, journal: Journal) -> None:
        self._database = journal.database

    def load(self) -> Kept:
        """Returns what is kept."""
        rows = self._database.rows("SELECT raw, relays FROM record ORDER BY raw")
        return Kept(tuple(bytes(raw) for raw, _ in rows), max((row[1] for row in rows), default=0))

    def save(self, kept: Kept) -> None:
        """Replaces what is kept."""
        if kept == self.load():
            return
        with self._database.transaction() as con:
            con.execute("DELETE FROM record")
            con.executemany(
                "INSERT INTO record VALUES (?, ?)", [(raw, kept.relays) for raw in kept.raws]
            )

    def count_wait(self) -> int:
        """Counts that reports had to wait for a record. Returns how often that happened before in
        a row."""
        with self._database.transaction() as con:
            found = con.execute("SELECT value FROM meta WHERE name = ?", (_WAITS,)).fetchone()
            before = int(found[0]) if found else 0
            con.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_WAITS, before + 1))
        return before

    def forget_waits(self) -> None:
        """Starts counting again, because reports may leave."""
        if self._database.rows("SELECT 1 FROM meta WHERE name = ?", (_WAITS,)):
            self._database.execute("DELETE FROM meta WHERE name = ?", (_WAITS,))


def kept_records(outbox: str, clock: Clock) -> Kept:
    """Returns what is kept in the outbox at this path; nothing if there is no outbox or it cannot
    be read."""
    journal = Journal(outbox, clock=clock)
    if not journal.exists():
        return Kept()
    try:
        return Records(journal).load()
    except StoreError:
        return Kept()
    finally:
        journal.close()


def kept_of(paths: Paths, namespaces: Iterable[str]) -> dict[str, Kept]:
    """Returns what is kept of each of `namespaces`."""
    clock = Clock()
    return {name: kept_records(paths.outbox(name), clock) for name in set(namespaces)}

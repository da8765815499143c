"""What the signed documents of a data set say: its catalogs, records, and the tables they declare.

Every process that verifies rows reads them itself, from the tables `catalog`, `record`, `listing`,
`revoked`, `type` and `declaration` of its own connection, and trusts only their signatures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from methrics.aggregate.read.verification import Verification
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.records import columns_of
from methrics.aggregate.store.shelf import KEPT as SHELVED
from methrics.aggregate.store.shelf import Shelf
from methrics.aggregate.store.tables import CatalogEntry, Layout
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Body, Verdict, judge, judge_item
from methrics.schema.wire.envelope import Item, split
from methrics.schema.wire.record import Record
from methrics.schema.wire.shard import WHOLE, Shard
from methrics.schema.wire.signatures import count_valid

TABLES = ("catalog", "record", "listing", "revoked", "type", "declaration")
"""The tables that are read."""

_TOGETHER = 64
"""Signatures that are checked with one call."""


class Signed:
    """The valid catalogs and records, and the layout that follows from them. `found` gets the rows
    that are not what was signed."""

    def __init__(self, con: Connection, found: Verification, shard: Shard = WHOLE) -> None:
        self._con = con
        self.found = found
        self.book = CatalogBook()
        self.layout = Layout(shard)
        self.numbered: dict[int, CatalogEntry] = {}
        """catalog's number in the file -> entry, of the catalogs whose bytes are valid"""
        self._shelf = Shelf(con)
        self._records()
        self._catalogs()
        self._types()

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._con.execute(query).fetchall()

    def _records(self) -> None:
        """Check each namespace record, and what the file says that it lists and revokes."""
        columns = (
            "n, key, epoch(time)::BIGINT, epoch(expires)::BIGINT, epoch(settled)::BIGINT, "
            "previous, id, raw"
        )
        listings = self._grouped("SELECT record, catalog, listed, delisted FROM listing")
        revoked = self._grouped("SELECT record, type, time, reason FROM revoked")
        for n, *stored, raw in self._rows(f"SELECT {columns} FROM record ORDER BY time, id"):
            self.found.records += 1
            verdict = judge(_bytes(raw), self.book, 0, live=False)
            item, record = verdict.item, body_of(verdict)
            if item is None or not isinstance(record, Record):
                self.found.add("record", n, f"the bytes are refused: {verdict.reason.value}")
                continue
            self.book.records.add(item, record)
            right = [item.key, record.time, record.expires, record.settled]
            if stored != [*right, list(record.previous), item.id]:
                self.found.add("record", n, "not what the bytes say")
            for table, own, expected in zip(
                ("listing", "revoked"), (listings, revoked), columns_of(n, record), strict=True
            ):
                if sorted(own.pop(n, []), key=repr) != sorted(expected, key=repr):
                    self.found.add(table, n, "not what the bytes say")
        for table, left in (("listing", listings), ("revoked", revoked)):
            for n in left:
                self.found.add(table, n, "no record has this number")

    def _grouped(self, query: str) -> dict[int, list[tuple[Any, ...]]]:
        rows: dict[int, list[tuple[Any, ...]]] = {}
        for row in self._rows(query):
            rows.setdefault(row[0], []).append(row)
        return rows

    def _catalogs(self) -> None:
        """Check each catalog's signature and columns."""
        columns = "n, id, key, label, number, schema, raw"
        for n, *stored, raw in self._rows(f"SELECT {columns} FROM catalog ORDER BY n"):
            self.found.catalogs += 1
            verdict = judge(_bytes(raw), self.book, 0, live=False)
            catalog = body_of(verdict)
            if not isinstance(catalog, Catalog):
                self.found.add("catalog", n, f"the bytes are refused: {verdict.reason.value}")
                continue
            entry = self.layout.add(catalog)
            if entry is None:
                self.found.add("catalog", n, "the same catalog is stored more than once")
                continue
            self.numbered[n] = entry
            right = [catalog.id, catalog.key, catalog.label, catalog.number, entry.schema]
            if entry.n != n or stored != right:
                self.found.add("catalog", n, "the columns are not what the bytes say")

    def _types(self) -> None:
        """Check that the tables of event types are those that the catalogs declare."""
        stored = self._rows('SELECT n, schema, name, "table", kind, question FROM type ORDER BY n')
        names = {row[0]: row[2] for row in stored}
        for n, catalog_n, of, *about in self._rows(
            "SELECT n, catalog, type, steps, retention, lateness FROM declaration ORDER BY n"
        ):
            entry = self.numbered.get(catalog_n)
            catalog = self._shelf.get(entry.id) if entry else None
            declared = catalog.types.get(names.get(of, "")) if catalog else None
            if entry is None or declared is None:
                self.found.add("declaration", n, "no catalog declares this event type")
                continue
            if self.layout.declare(entry, declared) is None:
                self.found.add("declaration", n, "the namespace has too many event types")
                continue
            own = entry.types[declared.name]
            if (own.table.n, [list(own.steps), own.retention, own.lateness]) != (of, about):
                self.found.add("declaration", n, "not what the catalog says")
        tables = self.layout.tables()
        if stored != [(t.n, t.schema, t.type, t.table, t.kind, t.question) for t in tables]:
            self.found.add("type", None, "the event types are not those of the catalogs")

    def declared(self) -> Iterator[tuple[CatalogEntry, list[EventType]]]:
        """Yield each valid catalog with those of its event types that have a declaration."""
        for entry in self.numbered.values():
            catalog = self._shelf.get(entry.id)
            types = catalog.types if catalog else {}
            yield entry, [types[name] for name in entry.types if name in types]

    def by_catalogs(
        self, rows: list[tuple[Any, ...]], place: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Split rows, whose catalog's number is in column `place`, into those of few enough
        catalogs at a time that these fit into memory, and put these catalogs into the book."""
        named = sorted({row[place] for row in rows if row[place] in self.numbered})
        if len(named) <= SHELVED:
            self._shelve(named)
            yield rows
            return
        rows = sorted(rows, key=lambda row: (row[place] not in self.numbered, row[place] or 0))
        while rows:
            some = set(named[:SHELVED])
            named = named[SHELVED:]
            self._shelve(some)
            size = sum(row[place] in some for row in rows) if named else len(rows)
            yield rows[:size]
            rows = rows[size:]

    def _shelve(self, numbers: Collection[int]) -> None:
        """Replace the catalogs in the book by those with these numbers."""
        wanted = {self.numbered[n].id for n in numbers}
        if wanted == {catalog.id for catalog in self.book}:
            return
        records = self.book.records
        self.book = CatalogBook()
        self.book.records = records
        for catalog_id in wanted:
            catalog = self._shelf.get(catalog_id)
            if catalog is not None:
                self.book.add(catalog, given=True)

    def judge_all(self, raws: list[bytes]) -> Iterator[Verdict]:
        """Judge stored items of catalogs in the book, in their order."""
        for start in range(0, len(raws), _TOGETHER):
            some = [_bytes(raw) for raw in raws[start : start + _TOGETHER]]
            items = [_split(raw) for raw in some]
            valid = count_valid([item for item in items if item is not None])
            for raw, item in zip(some, items, strict=True):
                if item is None:
                    yield judge(raw, self.book, 0, live=False)
                else:
                    verified, valid = valid > 0, valid - 1
                    yield judge_item(item, self.book, 0, live=False, verified=verified)


def _bytes(raw: object) -> bytes:
    """Return what a column of bytes holds; nothing for NULL."""
    return raw if isinstance(raw, bytes) else b""


def _split(raw: bytes) -> Item | None:
    try:
        return split(raw)
    except RefusedError:
        return None


def body_of(verdict: Verdict) -> Body | None:
    """Return what an accepted item says."""
    return verdict.body if isinstance(verdict, Accepted) else None


def views_of(con: Connection, rows: Iterable[tuple[str, str]]) -> None:
    """Create a view for each (table, SQL)."""
    for table, sql in rows:
        con.execute(f"CREATE VIEW {table} AS FROM {sql}")

"""Verifies every stored row from the file alone: its signature, and each column against its bytes.

Only the namespace keys in the table `catalog` are trusted: they verify the signatures of the
catalogs and of the namespace records. The bytes of each report and erasure are judged by the same
rules as in every node; a report's catalog must be one that a record in the file lists. Each column
is then compared with those bytes (NEW-1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.store.duck import literal, moment, name, translated_errors
from methrics.aggregate.store.records import columns_of
from methrics.aggregate.store.rows import DAY, Derived, derive
from methrics.aggregate.store.shelf import KEPT as SHELVED
from methrics.aggregate.store.shelf import Shelf
from methrics.aggregate.store.tables import CatalogEntry, Layout, TypeTable
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Body, Verdict, judge
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.record import Record

CHUNK = 10_000
"""Number of rows that are checked at a time: a few megabytes."""

TOGETHER = 64
"""Number of tables that are counted in one query."""

THREADS = 2
"""Number of threads that verify signatures. libsodium releases Python's lock meanwhile."""

Progress = Callable[[int, int], None]
"""Called with (rows checked so far, rows in all)."""

_ROW = ("n", "kind", "catalog", "type", "time", "id")


def verify(dataset: Dataset, progress: Progress = lambda done, total: None) -> Verification:
    """Check every row of `dataset`. Raises StoreError only if `dataset` cannot be read at all."""
    check = _Check(dataset)
    with translated_errors(dataset.path):
        check.records()
        check.catalogs()
        check.types()
        check.reports(progress)
        check.notices()
        check.erasures()
        check.repeated()
    return check.found


class _Check:
    def __init__(self, dataset: Dataset) -> None:
        self.rows = dataset.rows
        self.dataset = dataset
        self.found = Verification()
        self.book = CatalogBook()
        self.layout = Layout()
        self.numbered: dict[int, CatalogEntry] = {}
        """catalog's number in the file -> entry, of the catalogs whose bytes are valid"""
        self.shelf = Shelf(dataset.connection)
        self.present = frozenset(dataset.tables())

    def records(self) -> None:
        """Check each namespace record, and what the file says that it lists and revokes."""
        columns = (
            "n, key, epoch(time)::BIGINT, epoch(expires)::BIGINT, epoch(settled)::BIGINT, "
            "previous, id, raw"
        )
        listings = self._grouped("SELECT record, catalog, listed, delisted FROM listing")
        revoked = self._grouped("SELECT record, type, time, reason FROM revoked")
        for n, *stored, raw in self.rows(f"SELECT {columns} FROM record ORDER BY time, id"):
            self.found.records += 1
            verdict = judge(raw, self.book, 0, live=False)
            item, record = verdict.item, _body(verdict)
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
        for row in self.rows(query):
            rows.setdefault(row[0], []).append(row)
        return rows

    def catalogs(self) -> None:
        """Check each catalog's signature and columns."""
        columns = "n, id, key, label, number, schema, raw"
        for n, *stored, raw in self.rows(f"SELECT {columns} FROM catalog ORDER BY n"):
            self.found.catalogs += 1
            verdict = judge(raw, self.book, 0, live=False)
            catalog = _body(verdict)
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

    def types(self) -> None:
        """Check that the tables of event types are those that the catalogs declare."""
        stored = self.rows('SELECT n, schema, name, "table", kind, question FROM type ORDER BY n')
        names = {row[0]: row[2] for row in stored}
        for n, catalog_n, *stored_of in self.rows(
            "SELECT n, catalog, type, steps, retention, lateness FROM declaration ORDER BY n"
        ):
            entry = self.numbered.get(catalog_n)
            catalog = self.shelf.get(entry.id) if entry else None
            declared = catalog.types.get(names.get(stored_of[0], "")) if catalog else None
            if entry is None or declared is None:
                self.found.add("declaration", n, "no catalog declares this event type")
                continue
            if self.layout.declare(entry, declared) is None:
                self.found.add("declaration", n, "the namespace has too many event types")
                continue
            own = entry.types[declared.name]
            if stored_of != [own.table.n, list(own.steps), own.retention, own.lateness]:
                self.found.add("declaration", n, "not what the catalog says")
        tables = self.layout.tables()
        if stored != [(t.n, t.schema, t.type, t.table, t.kind, t.question) for t in tables]:
            self.found.add("type", None, "the event types are not those of the catalogs")
        for table in tables:
            for one in (table.table, table.steps) if table.stepped else (table.table,):
                if f"{table.schema}.{one}" not in self.present:
                    self.found.add(f"{table.schema}.{one}", None, "the table is missing")

    def reports(self, progress: Progress) -> None:
        """Check every report against its bytes, and its row in its typed table."""
        kind = int(Kind.REPORT)
        total = self.rows(f"SELECT count(*) FROM item WHERE kind = {kind}")[0][0]
        progress(0, total)
        days = self.rows(f"SELECT DISTINCT time::DATE FROM item WHERE kind = {kind} ORDER BY 1")
        right: Counter[tuple[int, date]] = Counter()
        with ThreadPoolExecutor(THREADS) as pool:
            for (day,) in days:
                last = -(1 << 62)
                for chunk in self._chunks(day):
                    numbered = self._items(chunk, pool)
                    end = chunk[-1][0]
                    for derived in derive(numbered):
                        rows = derived.rows
                        right[derived.table.n, day] += len(rows) if rows is not None else 0
                        self._typed(day, derived, last, end)
                    last = end
                    self.found.reports += len(chunk)
                    progress(self.found.reports, total)
        self._strays(right)

    def _chunks(self, day: date) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of `item` of one day in chunks, in order of n."""
        # It needs a cursor: another query on the same connection would end this one.
        cursor = self.dataset.connection.cursor()
        reader = cursor.sql(
            "SELECT n, kind, catalog, type, epoch(time)::BIGINT AS time, id, raw FROM item "
            f"WHERE kind = {int(Kind.REPORT)} AND {_within(day)} ORDER BY n"
        ).to_arrow_reader(CHUNK)
        for batch in reader:
            if len(batch):
                columns = [column.to_pylist() for column in batch.columns]
                yield list(zip(*columns, strict=True))

    def _items(
        self, chunk: list[tuple[Any, ...]], pool: ThreadPoolExecutor
    ) -> list[tuple[int, CatalogEntry, Report]]:
        """Judge the bytes of each row and compare its columns with them.

        Returns (n, catalog, report) for each row whose bytes are valid, in order of n.
        """
        good: list[tuple[int, CatalogEntry, Report]] = []
        for together in self._by_catalogs(chunk):
            size = -(-len(together) // THREADS)
            raws = [row[-1] for row in together]
            parts = [raws[start : start + size] for start in range(0, len(raws), size)]
            verdicts = chain.from_iterable(pool.map(self._judge, parts))
            for row, verdict in zip(together, verdicts, strict=True):
                if (valid := self._item(row, verdict)) is not None:
                    good.append(valid)
        return sorted(good, key=itemgetter(0))

    def _by_catalogs(self, chunk: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
        """Split a chunk into rows of few enough catalogs at a time that these fit into memory."""
        named = sorted({row[2] for row in chunk if row[2] in self.numbered})
        if len(named) <= SHELVED:
            self._shelve(named)
            yield chunk
            return
        chunk = sorted(chunk, key=lambda row: (row[2] not in self.numbered, row[2] or 0))
        while chunk:
            some = set(named[:SHELVED])
            named = named[SHELVED:]
            self._shelve(some)
            size = sum(row[2] in some for row in chunk) if named else len(chunk)
            yield chunk[:size]
            chunk = chunk[size:]

    def _shelve(self, numbers: Iterable[int]) -> None:
        """Replace the catalogs in the book by those with these numbers."""
        records = self.book.records
        self.book = CatalogBook()
        self.book.records = records
        for n in numbers:
            catalog = self.shelf.get(self.numbered[n].id)
            if catalog is not None:
                self.book.add(catalog, given=True)

    def _item(
        self, row: tuple[Any, ...], verdict: Verdict
    ) -> tuple[int, CatalogEntry, Report] | None:
        n, *stored, _raw = row
        report, item = _body(verdict), verdict.item
        if item is None or not isinstance(report, Report):
            self.found.add("item", n, f"the bytes are refused: {verdict.reason.value}")
            return None
        entry = self.layout.entries[report.catalog]
        own = entry.types.get(report.type)
        of = own.table.n if own is not None else None
        right = (item.kind, entry.n, of, report.time, item.id)
        wrong = [
            column
            for column, one, other in zip(_ROW[1:], stored, right, strict=True)
            if one != other
        ]
        if wrong:
            self.found.add("item", n, f"not what the bytes say: {', '.join(wrong)}")
        if own is None:
            self.found.add("item", n, "the event type has no table")
            return None
        return n, entry, report

    def _judge(self, raws: list[bytes]) -> list[Verdict]:
        return [judge(raw, self.book, 0, live=False) for raw in raws]

    def _typed(self, day: date, derived: Derived, last: int, end: int) -> None:
        """Compare the typed rows with `last` < n <= `end` with the rows derived from bytes."""
        table = derived.table
        where = f"day = {literal(str(day))} AND n > {last} AND n <= {end}"
        self._compare(table, table.table, derived.rows, where)
        if table.stepped:
            where = f"n > {last} AND n <= {end} AND n IN (SELECT n FROM {table.sql} WHERE {where})"
            self._compare(table, table.steps, derived.steps, where)

    def _compare(self, table: TypeTable, one: str, expected: pa.Table | None, where: str) -> None:
        full = f"{table.schema}.{one}"
        if full not in self.present or expected is None:
            return
        names = ", ".join(name(column) for column in expected.column_names)
        order = "n, i" if one == table.steps else "n"
        found = self.dataset.arrow(
            f"SELECT {names} FROM {name(table.schema, one)} WHERE {where} ORDER BY {order}"
        )
        self._same(full, expected, found)

    def _strays(self, right: Mapping[tuple[int, date], int]) -> None:
        """Find typed rows that belong to no item. `right` has the number of rows that items have,
        by table and day; only days with another number are searched."""
        tables = [
            table
            for table in self.layout.tables()
            if f"{table.schema}.{table.table}" in self.present
        ]
        for start in range(0, len(tables), TOGETHER):
            some = {table.n: table for table in tables[start : start + TOGETHER]}
            counts = (
                f"SELECT {n} AS n, day, count(*) FROM {table.sql} GROUP BY day"
                for n, table in some.items()
            )
            for n, day, count in self.rows(" UNION ALL ".join(counts)):
                if right.get((n, day)) != count:
                    self._stray(some[n], day)

    def _stray(self, table: TypeTable, day: date | None) -> None:
        """Find the rows of one table and day that belong to no item."""
        same = "IS NULL" if day is None else f"= {literal(str(day))}"
        strays = (
            f"SELECT n FROM {table.sql} x WHERE day {same} AND NOT EXISTS (SELECT 1 "
            "FROM item i WHERE i.n = x.n AND i.time::DATE = x.day)"
        )
        what = "no item has this day" if day is None else "no item has this content"
        for (n,) in self.rows(strays):
            self.found.add(f"{table.schema}.{table.table}", n, what)

    def _same(self, full: str, expected: pa.Table, found: pa.Table) -> None:
        try:
            found = found.cast(expected.schema)
        except pa.ArrowInvalid:
            self.found.add(full, None, "the columns have other types")
            return
        if found.equals(expected):
            return
        right = _by_number(expected)
        stored = _by_number(found)
        for n in sorted(right.keys() | stored.keys(), key=lambda n: (n is None, n)):
            if n not in stored:
                self.found.add(full, n, "the row is missing")
            elif n not in right:
                self.found.add(full, n, "no item has this content")
            elif right[n] != stored[n]:
                wrong = _differing(right[n], stored[n])
                self.found.add(full, n, f"not what the bytes say: {wrong}")

    def notices(self) -> None:
        """Check announcements in `item`; find steps that belong to no report."""
        rows = self.rows(
            "SELECT n, kind, epoch(time)::BIGINT, id, raw FROM item "
            f"WHERE kind IS DISTINCT FROM {int(Kind.REPORT)} ORDER BY n"
        )
        for n, kind, time, item_id, raw in rows:
            self.found.notices += 1
            verdict = judge(raw, self.book, 0, live=False)
            item, body = verdict.item, _body(verdict)
            if item is None or body is None:
                self.found.add("item", n, f"the bytes are refused: {verdict.reason.value}")
            elif not isinstance(body, Announcement):
                self.found.add("item", n, "the kind is not what the bytes say")
            elif (item.kind, body.time, item.id) != (kind, time, item_id):
                self.found.add("item", n, "not what the bytes say")
        for table in self.layout.tables():
            full = f"{table.schema}.{table.steps}"
            if table.stepped and full in self.present:
                strays = f"SELECT DISTINCT n FROM {table.steps_sql} ANTI JOIN {table.sql} USING (n)"
                for (n,) in self.rows(strays):
                    self.found.add(full, n, "steps that belong to no report")

    def erasures(self) -> None:
        """Check tombstones against their bytes, and that no erased report is stored."""
        columns = "n, report, catalog, day, id, raw"
        last = -1
        while rows := self.rows(
            f"SELECT {columns} FROM tombstone WHERE n > {last} ORDER BY n LIMIT {CHUNK}"
        ):
            last = rows[-1][0]
            for together in self._by_catalogs([(row[0], None, row[2], *row) for row in rows]):
                for _, _, _, n, *stored, raw in together:
                    self._erasure(n, stored, raw)
        back = (
            "SELECT x.n FROM item x JOIN tombstone t ON t.report = x.id "
            "AND t.catalog = x.catalog AND t.day = x.time::DATE"
        )
        for (n,) in self.rows(back):
            self.found.add("item", n, "this report has been erased")

    def _erasure(self, n: int, stored: list[Any], raw: bytes) -> None:
        self.found.erasures += 1
        verdict = judge(raw, self.book, 0, live=False)
        item, body = verdict.item, _body(verdict)
        if item is None or not isinstance(body, Erasure):
            self.found.add("tombstone", n, f"the bytes are refused: {verdict.reason.value}")
            return
        entry = self.layout.entries.get(body.catalog)
        day = date(1970, 1, 1) + timedelta(days=body.day)
        right = [body.report_id(item.key), entry.n if entry else None, day, item.id]
        if stored != right:
            self.found.add("tombstone", n, "not what the bytes say")

    def repeated(self) -> None:
        """Check that every item and every number n occurs only once."""
        twice = "SELECT min(n) FROM item GROUP BY time, id HAVING count(*) > 1"
        for (n,) in self.rows(twice):
            self.found.add("item", n, "the same item is stored more than once")
        for (n,) in self.rows("SELECT n FROM item GROUP BY n HAVING count(*) > 1"):
            self.found.add("item", n, "the number occurs twice")


def _body(verdict: Verdict) -> Body | None:
    return verdict.body if isinstance(verdict, Accepted) else None


def _within(day: date) -> str:
    start = (day - date(1970, 1, 1)) // timedelta(days=1) * DAY
    return f"time >= {moment(start)} AND time < {moment(start + DAY)}"


def _by_number(table: pa.Table) -> dict[Any, list[dict[str, Any]]]:
    """Group the rows by n. A table of steps has several rows for each n."""
    rows: dict[Any, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["n"], []).append(row)
    return rows


def _differing(right: list[dict[str, Any]], stored: list[dict[str, Any]]) -> str:
    if len(right) != len(stored):
        return f"{len(stored)} rows where {len(right)} should be"
    pairs = zip(right, stored, strict=True)
    return ", ".join(sorted({key for a, b in pairs for key in a if a[key] != b[key]}))

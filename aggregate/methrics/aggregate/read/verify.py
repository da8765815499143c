"""Verifies every stored row from the file alone: its signature, and each column against its bytes.

Only the namespace keys in the table `catalog` are trusted: they verify the signatures of the
catalogs. The bytes of each report are judged by the same rules as in every node. Each column of
`item` and of the typed tables is then compared with those bytes (NEW-1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.store.duck import literal, moment, name, translated_errors
from methrics.aggregate.store.rows import DAY, Derived, derive
from methrics.aggregate.store.tables import CatalogEntry, Layout, TypeTable
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, Body, Verdict, judge
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.items import Erasure, Report

CHUNK = 10_000
"""Number of rows that are checked at a time: a few megabytes."""

SHOWN_MAX = 1000
"""Number of mismatches that are listed one by one. Further ones are only counted."""

THREADS = 2
"""Number of threads that verify signatures. libsodium releases Python's lock meanwhile."""

Progress = Callable[[int, int], None]
"""Called with (rows checked so far, rows in all)."""

_ROW = ("n", "kind", "catalog", "type", "time", "id")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One row that differs from its signed bytes. `n` is its number, None if it has no number."""

    table: str
    n: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.table} {'' if self.n is None else self.n}: {self.what}"


@dataclass(slots=True)
class Verification:
    """How many rows were checked, and the mismatches."""

    catalogs: int = 0
    reports: int = 0
    notices: int = 0
    erasures: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    """The first `SHOWN_MAX` mismatches."""
    wrong: int = 0
    """The number of all mismatches."""

    @property
    def ok(self) -> bool:
        """Whether every row agrees with its signed bytes."""
        return not self.wrong

    def add(self, table: str, n: int | None, what: str) -> None:
        """Note a mismatch."""
        self.wrong += 1
        if len(self.mismatches) < SHOWN_MAX:
            self.mismatches.append(Mismatch(table, n, what))


def verify(dataset: Dataset, progress: Progress = lambda done, total: None) -> Verification:
    """Check every row of `dataset`. Raises StoreError only if `dataset` cannot be read at all."""
    check = _Check(dataset)
    with translated_errors(dataset.path):
        check.records()
        check.catalogs()
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
        self.book = CatalogBook(capacity=1 << 62, per_namespace=1 << 62)
        self.layout = Layout()

    def records(self) -> None:
        """Read the records, which tell what catalogs were listed. `notices` checks them."""
        kind = int(Kind.RECORD)
        for (raw,) in self.rows(f"SELECT raw FROM item WHERE kind = {kind}"):
            verdict = judge(raw, self.book, 0, live=False)
            if isinstance(verdict, Accepted):
                learn(verdict, self.book)

    def catalogs(self) -> None:
        """Check each catalog's signature and columns, and the tables that the catalogs define."""
        columns = "n, id, key, label, number, schema, raw"
        for n, *stored, raw in self.rows(f"SELECT {columns} FROM catalog ORDER BY n"):
            self.found.catalogs += 1
            verdict = judge(raw, self.book, 0, live=False)
            catalog = _body(verdict)
            if not isinstance(catalog, Catalog):
                self.found.add("catalog", n, f"the bytes are refused: {verdict.reason.value}")
                continue
            self.book.add(catalog, given=True)
            self.layout.add(catalog)
            entry = self.layout.entries[catalog.id]
            right = [catalog.id, catalog.key, catalog.label, catalog.number, entry.schema]
            if entry.n != n or stored != right:
                self.found.add("catalog", n, "the columns are not what the bytes say")
        stored_types = self.rows(
            'SELECT n, schema, name, "table", kind, question FROM type ORDER BY n'
        )
        tables = self.layout.tables()
        if stored_types != [(t.n, t.schema, t.type, t.table, t.kind, t.question) for t in tables]:
            self.found.add("type", None, "the event types are not those of the catalogs")
        present = set(self.dataset.tables())
        for table in tables:
            for one in (table.table, table.steps) if table.stepped else (table.table,):
                if f"{table.schema}.{one}" not in present:
                    self.found.add(f"{table.schema}.{one}", None, "the table is missing")

    def reports(self, progress: Progress) -> None:
        """Check every report against its bytes, and its row in its typed table."""
        kind = int(Kind.REPORT)
        total = self.rows(f"SELECT count(*) FROM item WHERE kind = {kind}")[0][0]
        progress(0, total)
        days = self.rows(f"SELECT DISTINCT time::DATE FROM item WHERE kind = {kind} ORDER BY 1")
        with ThreadPoolExecutor(THREADS) as pool:
            for (day,) in days:
                last = -(1 << 62)
                for chunk in self._chunks(day):
                    numbered = self._items(chunk, pool)
                    end = chunk[-1][0]
                    self._typed(day, numbered, last, end)
                    last = end
                    self.found.reports += len(chunk)
                    progress(self.found.reports, total)
                self._strays(f"n > {last} AND day = {literal(str(day))}", "no item has this number")
        listed = ", ".join(f"DATE {literal(str(day))}" for (day,) in days) or "NULL"
        self._strays(f"(day NOT IN ({listed})) IS NOT FALSE", "no item has this day")

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

        Returns (n, catalog, report) for each row whose bytes are valid.
        """
        good: list[tuple[int, CatalogEntry, Report]] = []
        size = -(-len(chunk) // THREADS)
        raws = [row[-1] for row in chunk]
        parts = [raws[start : start + size] for start in range(0, len(raws), size)]
        verdicts = chain.from_iterable(pool.map(self._judge, parts))
        for (n, kind, *stored, _raw), verdict in zip(chunk, verdicts, strict=True):
            report, item = _body(verdict), verdict.item
            if item is None or not isinstance(report, Report):
                self.found.add("item", n, f"the bytes are refused: {verdict.reason.value}")
                continue
            entry = self.layout.entries[report.catalog]
            right = (item.kind, entry.n, entry.tables[report.type].n, report.time, item.id)
            wrong = [
                column
                for column, one, other in zip(_ROW[1:], (kind, *stored), right, strict=True)
                if one != other
            ]
            if wrong:
                self.found.add("item", n, f"not what the bytes say: {', '.join(wrong)}")
            good.append((n, entry, report))
        return good

    def _judge(self, raws: list[bytes]) -> list[Verdict]:
        return [judge(raw, self.book, 0, live=False) for raw in raws]

    def _typed(
        self, day: date, numbered: list[tuple[int, CatalogEntry, Report]], last: int, end: int
    ) -> None:
        """Compare the typed rows with `last` < n <= `end` with the rows derived from bytes."""
        derived = {one.table.n: one for one in derive(numbered)}
        for table in self.layout.tables():
            own = derived.get(table.n, Derived(table, None, None))
            where = f"day = {literal(str(day))} AND n > {last} AND n <= {end}"
            self._compare(table, table.table, own.rows, where)
            if table.stepped:
                where = (
                    f"n > {last} AND n <= {end} AND n IN (SELECT n FROM {table.sql} WHERE {where})"
                )
                self._compare(table, table.steps, own.steps, where)

    def _compare(self, table: TypeTable, one: str, expected: pa.Table | None, where: str) -> None:
        full = f"{table.schema}.{one}"
        if full not in self.dataset.tables():
            return
        if expected is None:
            rows = f"SELECT n FROM {name(table.schema, one)} WHERE {where}"
            for (n,) in self.rows(rows):
                self.found.add(full, n, "no item has this content")
            return
        names = ", ".join(name(column) for column in expected.column_names)
        order = "n, i" if one == table.steps else "n"
        found = self.dataset.arrow(
            f"SELECT {names} FROM {name(table.schema, one)} WHERE {where} ORDER BY {order}"
        )
        self._same(full, expected, found)

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

    def _strays(self, where: str, what: str) -> None:
        for table in self.layout.tables():
            full = f"{table.schema}.{table.table}"
            if full in self.dataset.tables():
                for (n,) in self.rows(f"SELECT n FROM {table.sql} WHERE {where}"):
                    self.found.add(full, n, what)

    def notices(self) -> None:
        """Check records and announcements in `item`; find steps that belong to no report."""
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
            elif isinstance(body, Report | Catalog | Erasure):
                self.found.add("item", n, "the kind is not what the bytes say")
            elif (item.kind, body.time, item.id) != (kind, time, item_id):
                self.found.add("item", n, "not what the bytes say")
        for table in self.layout.tables():
            full = f"{table.schema}.{table.steps}"
            if table.stepped and full in self.dataset.tables():
                strays = f"SELECT DISTINCT n FROM {table.steps_sql} ANTI JOIN {table.sql} USING (n)"
                for (n,) in self.rows(strays):
                    self.found.add(full, n, "steps that belong to no report")

    def erasures(self) -> None:
        """Check tombstones against their bytes, and that no erased report is stored."""
        columns = "n, report, day - DATE '1970-01-01', id, raw"
        for n, report, day, item_id, raw in self.rows(
            f"SELECT {columns} FROM tombstone ORDER BY n"
        ):
            self.found.erasures += 1
            verdict = judge(raw, self.book, 0, live=False)
            item, body = verdict.item, _body(verdict)
            if item is None or not isinstance(body, Erasure):
                self.found.add("tombstone", n, f"the bytes are refused: {verdict.reason.value}")
            elif (body.report_id(item.key), body.day, item.id) != (report, day, item_id):
                self.found.add("tombstone", n, "not what the bytes say")
        back = "SELECT x.n FROM item x JOIN tombstone t ON t.report = x.id AND t.day = x.time::DATE"
        for (n,) in self.rows(back):
            self.found.add("item", n, "this report has been erased")

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

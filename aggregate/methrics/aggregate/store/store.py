"""Writes one DuckDB file. When `commit` returns, the batch is on disk and may be acknowledged.

A store has one writer thread: never call `commit` from two threads at once. Any thread can read or
export through its own `cursor()`, which sees only complete commits.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.batch import Batch, Committed, sort
from methrics.aggregate.store.dictionary_tables import describe
from methrics.aggregate.store.duck import Connection, moment, open_writer, translated_errors
from methrics.aggregate.store.erasable import erasable
from methrics.aggregate.store.erasures import Eraser
from methrics.aggregate.store.records import NEVER, Records
from methrics.aggregate.store.refusals import count_refusals
from methrics.aggregate.store.rows import DAY, Derived, ItemColumns, derive
from methrics.aggregate.store.shelf import Shelf
from methrics.aggregate.store.stored_layout import read_layout
from methrics.aggregate.store.tables import BASE, LAYOUT_VERSION, CatalogEntry, TypeTable
from methrics.schema.catalog.catalog import Catalog, EventType
from methrics.schema.errors import StoreError
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.envelope import Item, Kind
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.record import Record
from methrics.schema.wire.verdict import Reason

RECEIVED_STEP = 3600
"""Seconds. The time of receipt is rounded to the hour, so that it cannot be matched with the times
in a network log."""

_T = TypeVar("_T", Report, Announcement)


class Store:
    """One DuckDB file, open for writing. Use it as a context manager, or `close()` it.

    Raises StoreError; `FileBusyError` if another program has the file open.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._con = open_writer(self.path)
        self._lock = threading.Lock()
        self._closed = False
        self._failed = False
        self._dirty: set[int] = set()
        try:
            with translated_errors(self.path):
                self._load()
        except StoreError:
            self._con.close()
            raise

    def _load(self) -> None:
        con = self._con
        tables = {
            row[0] for row in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }
        if not tables:
            con.execute("BEGIN")
            for table, columns in BASE.items():
                con.execute(f"CREATE TABLE {table} ({columns})")
            con.execute("INSERT INTO meta VALUES (?)", [LAYOUT_VERSION])
            con.execute("COMMIT")
        elif not tables.issuperset(BASE):
            raise StoreError("store-foreign", f"{self.path} is a DuckDB file of something else")
        layout = _one(con, "SELECT layout FROM meta")
        if layout != LAYOUT_VERSION:
            raise StoreError(
                "store-version", f"{self.path} has layout {layout}, this program {LAYOUT_VERSION}"
            )
        self.layout = read_layout(con)
        self._shelf = Shelf(con)
        self._eraser = Eraser(con, self.layout.entries)
        self._records = Records(con)
        self._next = _one(con, "SELECT coalesce(max(n), 0) + 1 FROM item")
        self._declared = _one(con, "SELECT coalesce(max(n), 0) FROM declaration")
        self.total = _one(con, f"SELECT count(*) FROM item WHERE kind = {int(Kind.REPORT)}")

    def catalogs(self) -> list[CatalogEntry]:
        """Return the catalogs in the file, in the order in which they arrived."""
        with self._lock:
            return list(self.layout.entries.values())

    def catalog(self, catalog_id: bytes) -> Catalog | None:
        """Return the catalog with this id from the file, or None."""
        with self._lock:
            if self._closed or self._failed or catalog_id not in self.layout.entries:
                return None
            with translated_errors(self.path):
                return self._shelf.get(catalog_id)

    def records(self) -> list[KnownRecord]:
        """Return all namespace records in the file, by time."""
        with self._lock, translated_errors(self.path):
            return self._records.all()

    def cursor(self) -> Connection:
        """Return another connection, for reading or exporting in another thread."""
        cursor = self._con.cursor()
        cursor.execute("USE methrics")
        return cursor

    def tables(self) -> list[TypeTable]:
        """Return the tables of the event types, as of the last commit."""
        with self._lock:
            return self.layout.tables()

    def take_changed(self) -> set[int]:
        """Return the days (since 1970-01-01) whose reports changed since the last call."""
        with self._lock:
            changed, self._dirty = self._dirty, set()
            return changed

    def lacks(self, catalogs: Iterable[bytes]) -> set[bytes]:
        """Return those of the catalog ids `catalogs` that are not in the file."""
        with self._lock:
            return set(catalogs).difference(self.layout.entries)

    def has_record(self, record_id: bytes) -> bool:
        """Tell whether the file has the namespace record with this id."""
        with self._lock:
            return record_id in self._records

    def commit(self, batch: Batch) -> Committed:
        """Store `batch` and return when it is on disk.

        The content of the file does not depend on the order of items or on how they are split into
        batches. The catalog of each report must be in the file or in the same batch: see `lacks`.
        Raises StoreError. In that case no part of the batch is stored, and the store accepts no
        further batches.
        """
        with self._lock:
            if self._closed or self._failed:
                raise StoreError("store-closed", f"{self.path} is closed after an error")
            before = self._next, self.total
            try:
                with translated_errors(self.path):
                    self._con.execute("BEGIN")
                    done = self._commit(batch)
                    self._con.execute("COMMIT")
            except StoreError:
                # The layout and counters in memory may now differ from the file: stop here.
                self._next, self.total = before
                self._abandon()
                raise
            return done

    def _commit(self, batch: Batch) -> Committed:
        done = Committed()
        received = batch.now - batch.now % RECEIVED_STEP
        parts = sort(batch.accepted)
        done.duplicates += parts.repeated
        full: list[Item] = []
        for item, catalog in parts.catalogs:
            if catalog.id in self.layout.entries:
                done.duplicates += 1
            elif self._add_catalog(item, catalog, received):
                done.catalogs.append(catalog)
            else:
                full.append(item)
        self._add_records(parts.records, received, done)
        self._reports(parts.reports, received, done, full)
        self._announcements(parts.announcements, received, done)
        refused = dict(batch.refused)
        timely = erasable(parts.erasures, self._shelf, self._records, batch.now, refused)
        self._erasures(timely, received, done, full)
        if full:
            count, sample = refused.get(Reason.QUOTA, (0, full[0].raw))
            refused[Reason.QUOTA] = count + len(full), sample
        done.refused += count_refusals(self._con, batch.now // DAY, refused)
        done.known, _ = refused.get(Reason.DUPLICATE, (0, b""))
        done.total = self.total
        return done

    def _add_catalog(self, item: Item, catalog: Catalog, received: int) -> bool:
        entry = self.layout.add(catalog)
        if entry is None:
            return False
        self._con.execute(
            f"INSERT INTO catalog VALUES (?, ?, ?, ?, ?, ?, {moment(received)}, ?)",
            [entry.n, entry.id, entry.key, entry.label, entry.number, entry.schema, item.raw],
        )
        self._shelf.put(catalog)
        return True

    def _add_records(
        self, records: list[tuple[Item, Record]], received: int, done: Committed
    ) -> None:
        """Store namespace records, and delete the reports that the newest ones revoke."""
        done.records = self._records.add(records, received)
        done.duplicates += len(records) - len(done.records)
        for key in {one.item.key for one in done.records}:
            newest = self._records.newest(key)
            for type_name, revoked in newest.record.revoked.items() if newest else ():
                for table in self.layout.tables_of(key, type_name):
                    days = self._eraser.revoke(table, revoked.time)
                    self._gone(days)
                    done.revoked += days.total()

    def _reports(
        self,
        reports: list[tuple[Item, Report]],
        received: int,
        done: Committed,
        full: list[Item],
    ) -> None:
        if not reports:
            return
        reports = self._declare(reports, full)
        kept = self._eraser.keep_out(reports)
        done.erased += len(reports) - len(kept)
        kept, known = self._unknown(kept)
        done.duplicates += known
        kept = self._unrevoked(kept, done)
        if not kept:
            return
        columns = ItemColumns()
        numbered: list[tuple[int, CatalogEntry, Report]] = []
        entries = self.layout.entries
        for n, (item, report) in enumerate(kept, self._next):
            entry = entries[report.catalog]
            columns.n.append(n)
            columns.kind.append(Kind.REPORT)
            columns.catalog.append(entry.n)
            columns.type.append(entry.types[report.type].table.n)
            columns.time.append(report.time)
            columns.id.append(item.id)
            columns.raw.append(item.raw)
            numbered.append((n, entry, report))
        self._insert_items(columns, received)
        for derived in derive(numbered):
            self._insert_typed(derived)
        self._next += len(kept)
        self.total += len(kept)
        self._dirty.update({time // DAY for time in columns.time})
        done.reports += len(kept)

    def _declare(
        self, reports: list[tuple[Item, Report]], full: list[Item]
    ) -> list[tuple[Item, Report]]:
        """Make the tables that the first report of an event type under a catalog needs.

        Returns the reports that have one; appends the others to `full`.
        """
        entries = self.layout.entries
        first = {
            (report.catalog, report.type)
            for _, report in reports
            if report.catalog not in entries or report.type not in entries[report.catalog].types
        }
        if not first:
            return reports
        refused = self._make_tables(sorted(first))
        if not refused:
            return reports
        full += [item for item, one in reports if (one.catalog, one.type) in refused]
        return [pair for pair in reports if (pair[1].catalog, pair[1].type) not in refused]

    def _make_tables(self, wanted: Iterable[tuple[bytes, str]]) -> set[tuple[bytes, str]]:
        """Make the tables of event types, given by catalog id and name; return those that the file
        has no room for."""
        declared: list[tuple[CatalogEntry, EventType]] = []
        refused: set[tuple[bytes, str]] = set()
        for catalog_id, type_name in wanted:
            entry = self.layout.entries.get(catalog_id)
            catalog = self._shelf.get(catalog_id) if entry else None
            if entry is None or catalog is None:
                refused.add((catalog_id, type_name))
                continue
            event_type = catalog.types[type_name]
            statements = self.layout.declare(entry, event_type)
            if statements is None:
                refused.add((catalog_id, type_name))
                continue
            for statement in statements:
                self._con.execute(statement)
            declared.append((entry, event_type))
        describe(self._con, declared, self._declared)
        self._declared += len(declared)
        return refused

    def make_tables(self, catalog: Catalog) -> None:
        """Make the tables of all event types of a catalog in the file, as if a report of each had
        come. For rows that are written by other means."""
        with self._lock, translated_errors(self.path):
            self._con.execute("BEGIN")
            self._make_tables((catalog.id, one) for one in catalog.types)
            self._con.execute("COMMIT")

    def _unrevoked(
        self, reports: list[tuple[Item, Report]], done: Committed
    ) -> list[tuple[Item, Report]]:
        """Return `reports` without those revoked by now: the revocation may be newer than the
        judgement."""
        entries = self.layout.entries
        kinds = {(entries[report.catalog].key, report.type) for _, report in reports}
        since = {kind: self._records.revoked_from(*kind) for kind in kinds}
        if all(time == NEVER for time in since.values()):
            return reports
        kept = [
            (item, report)
            for item, report in reports
            if report.time < since[entries[report.catalog].key, report.type]
        ]
        done.revoked += len(reports) - len(kept)
        return kept

    def _unknown(self, items: list[tuple[Item, _T]]) -> tuple[list[tuple[Item, _T]], int]:
        """Return the items that are not in the file, and the number of those that are.

        DuckDB restricts its scan of the table `item` to the times in the batch, so the search
        reads only rows with those times.
        """
        if not items:
            return items, 0
        incoming = pa.table(
            {
                "i": pa.array(range(len(items)), pa.int32()),
                "time": pa.array([body.time for _, body in items], pa.timestamp("s")),
                "id": pa.array([item.id for item, _ in items], pa.binary()),
            }
        )
        self._con.register("incoming", incoming)
        found = self._con.execute(
            "SELECT b.i FROM incoming b JOIN item x ON x.time = b.time AND x.id = b.id"
        ).fetchall()
        self._con.unregister("incoming")
        known = {row[0] for row in found}
        if not known:
            return items, 0
        return [pair for i, pair in enumerate(items) if i not in known], len(known)

    def _insert_items(self, columns: ItemColumns, received: int) -> None:
        self._con.register("incoming", columns.table())
        self._con.execute(
            f"INSERT INTO item BY NAME SELECT *, {moment(received)} AS received FROM incoming"
        )
        self._con.unregister("incoming")

    def _insert_typed(self, derived: Derived) -> None:
        for target, rows in (
            (derived.table.sql, derived.rows),
            (derived.table.steps_sql, derived.steps),
        ):
            if rows is not None and len(rows):
                self._con.register("incoming", rows)
                self._con.execute(f"INSERT INTO {target} BY NAME SELECT * FROM incoming")
                self._con.unregister("incoming")

    def _announcements(
        self, announcements: list[tuple[Item, Announcement]], received: int, done: Committed
    ) -> None:
        new, known = self._unknown(announcements)
        done.duplicates += known
        if not new:
            return
        columns = ItemColumns()
        for n, (item, announcement) in enumerate(new, self._next):
            entry = self.layout.newest(item.key)
            columns.n.append(n)
            columns.kind.append(item.kind)
            columns.catalog.append(entry.n if entry else None)
            columns.type.append(None)
            columns.time.append(announcement.time)
            columns.id.append(item.id)
            columns.raw.append(item.raw)
        self._next += len(new)
        self._insert_items(columns, received)
        done.notices += len(new)

    def _erasures(
        self,
        erasures: list[tuple[Item, Erasure]],
        received: int,
        done: Committed,
        full: list[Item],
    ) -> None:
        known = [pair for pair in erasures if pair[1].catalog in self.layout.entries]
        full += [item for item, body in erasures if body.catalog not in self.layout.entries]
        if not known:
            return
        outcome = self._eraser.erase(known, self.layout.tables(), received)
        self._gone(outcome.days)
        done.erased += outcome.days.total()
        done.erasures += outcome.stored
        done.duplicates += outcome.known

    def _gone(self, days: Counter[int]) -> None:
        self.total -= days.total()
        self._dirty.update(days)

    def _abandon(self) -> None:
        """Accept no more batches after a failed commit. Earlier commits stay in the file.

        The connection stays open until `close`: DuckDB refuses to close a connection while one of
        its cursors, such as the exporter's, is in use in another thread.
        """
        self._failed = True
        with contextlib.suppress(StoreError), translated_errors(self.path):
            self._con.execute("ROLLBACK")

    def close(self) -> None:
        """Merge the log into the file, unless a commit failed, and close the file.

        No cursor may be in use at that time. Calling `close` again has no effect. Raises
        StoreError.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if not self._failed:
                    with translated_errors(self.path):
                        self._con.execute("CHECKPOINT")
            finally:
                self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _one(con: Connection, sql: str, parameters: Sequence[object] = ()) -> int:
    row = con.execute(sql, list(parameters)).fetchone()
    return cast(int, row[0]) if row else 0

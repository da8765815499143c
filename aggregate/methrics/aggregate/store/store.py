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

from methrics.aggregate.store.batch import Batch, Committed, Sorted, sort
from methrics.aggregate.store.dictionary_tables import describe
from methrics.aggregate.store.duck import Connection, moment, open_writer, translated_errors
from methrics.aggregate.store.erasures import Eraser
from methrics.aggregate.store.quarantine import Quarantine
from methrics.aggregate.store.refusals import count_refusals
from methrics.aggregate.store.rows import DAY, Derived, ItemColumns, derive
from methrics.aggregate.store.tables import BASE, LAYOUT_VERSION, CatalogEntry, Layout, TypeTable
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import Item, Kind, split
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.record import Record, decode_record

RECEIVED_STEP = 3600
"""Seconds. The time of receipt is rounded to the hour, so that it cannot be matched with the times
in a network log."""

_NEVER = 1 << 63
"""Revocation time of a type that was not revoked: later than the time of any report."""

_T = TypeVar("_T", Report, Record, Announcement)


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
        self.layout = Layout()
        self._dirty: set[int] = set()
        try:
            with translated_errors(self.path):
                self._load()
        except StoreError:
            self._con.close()
            raise
        self._eraser = Eraser(self._con)
        self._quarantine = Quarantine(self._con)

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
        for (raw,) in con.execute("SELECT raw FROM catalog ORDER BY n").fetchall():
            self.layout.add(_catalog(raw))
        self._next = _one(con, "SELECT coalesce(max(n), 0) + 1 FROM item")
        self.total = _one(con, f"SELECT count(*) FROM item WHERE kind = {int(Kind.REPORT)}")
        self._revoked: dict[tuple[bytes, str], int] = {}
        for item, record in self.records():
            self._note(item.key, record)

    def catalogs(self) -> list[Catalog]:
        """Return the catalogs in the file, in the order in which they arrived."""
        return [entry.catalog for entry in self.layout.entries.values()]

    def records(self) -> list[tuple[Item, Record]]:
        """Return every namespace record in the file."""
        found = self._con.execute(
            f"SELECT raw FROM item WHERE kind = {int(Kind.RECORD)} ORDER BY n"
        ).fetchall()
        items = [split(raw) for (raw,) in found]
        return [(item, decode_record(item.payload)) for item in items]

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

    def waiting(self, catalog: Catalog) -> list[tuple[int, int, bytes]]:
        """Return (quarantine number, time of receipt, raw) of the items that wait for `catalog`."""
        with self._lock, translated_errors(self.path):
            return self._quarantine.waiting(catalog)

    def lacks(self, catalogs: Iterable[bytes]) -> set[bytes]:
        """Return those of the catalog ids `catalogs` that are not in the file."""
        with self._lock:
            return set(catalogs).difference(self.layout.entries)

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
        for item, catalog in parts.catalogs:
            if self._add_catalog(item, catalog, received):
                done.catalogs.append(catalog)
            else:
                done.duplicates += 1
        self._reports(parts.reports, received, done)
        self._notices(parts, received, done)
        self._erasures(parts.erasures, received, done)
        self._quarantine.release(batch.released)
        done.quarantined = self._quarantine.add(batch.waiting, batch.now)
        done.refused += count_refusals(self._con, batch.now // DAY, dict(batch.refused))
        done.total = self.total
        return done

    def _add_catalog(self, item: Item, catalog: Catalog, received: int) -> bool:
        if catalog.id in self.layout.entries:
            return False
        for statement in self.layout.add(catalog):
            self._con.execute(statement)
        entry = self.layout.entries[catalog.id]
        self._con.execute(
            f"INSERT INTO catalog VALUES (?, ?, ?, ?, ?, ?, {moment(received)}, ?)",
            [
                entry.n,
                catalog.id,
                catalog.key,
                catalog.label,
                catalog.number,
                entry.schema,
                item.raw,
            ],
        )
        describe(self._con, entry)
        return True

    def _reports(self, reports: list[tuple[Item, Report]], received: int, done: Committed) -> None:
        if not reports:
            return
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
            columns.type.append(entry.tables[report.type].n)
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

    def _unrevoked(
        self, reports: list[tuple[Item, Report]], done: Committed
    ) -> list[tuple[Item, Report]]:
        """Return `reports` without those revoked by now: the revocation may be newer than the
        judgement."""
        if not self._revoked:
            return reports
        entries = self.layout.entries
        kept = [
            (item, report)
            for item, report in reports
            if report.time
            < self._revoked.get((entries[report.catalog].catalog.key, report.type), _NEVER)
        ]
        done.revoked += len(reports) - len(kept)
        return kept

    def _note(self, key: bytes, record: Record) -> None:
        for type_name, revoked in record.revoked.items():
            of = key, type_name
            self._revoked[of] = min(revoked.time, self._revoked.get(of, _NEVER))

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

    def _notices(self, parts: Sorted, received: int, done: Committed) -> None:
        """Store records and announcements, and delete the reports that were revoked."""
        records, known = self._unknown(parts.records)
        announcements, known_too = self._unknown(parts.announcements)
        done.duplicates += known + known_too
        columns = ItemColumns()
        for item, record in records:
            self._note(item.key, record)
            self._notice(columns, item, record.time)
        for item, announcement in announcements:
            self._notice(columns, item, announcement.time)
        if not columns.n:
            return
        self._insert_items(columns, received)
        done.notices += len(columns.n)
        for item, record in records:
            entry = self.layout.newest(item.key)
            for type_name, revoked in record.revoked.items():
                table = entry.tables.get(type_name) if entry else None
                if table is not None:
                    days = self._eraser.revoke(table, revoked.time)
                    self._gone(days)
                    done.revoked += days.total()

    def _notice(self, columns: ItemColumns, item: Item, time: int) -> None:
        entry = self.layout.newest(item.key)
        columns.n.append(self._next)
        columns.kind.append(item.kind)
        columns.catalog.append(entry.n if entry else None)
        columns.type.append(None)
        columns.time.append(time)
        columns.id.append(item.id)
        columns.raw.append(item.raw)
        self._next += 1

    def _erasures(
        self, erasures: list[tuple[Item, Erasure]], received: int, done: Committed
    ) -> None:
        if not erasures:
            return
        outcome = self._eraser.erase(erasures, self.layout.tables(), received)
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


def _catalog(raw: bytes) -> Catalog:
    item = split(raw)
    return Catalog.from_payload(item.payload, key=item.key, id=item.id, raw=raw)


def _one(con: Connection, sql: str, parameters: Sequence[object] = ()) -> int:
    row = con.execute(sql, list(parameters)).fetchone()
    return cast(int, row[0]) if row else 0

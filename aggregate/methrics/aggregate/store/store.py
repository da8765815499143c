"""Writes one DuckDB file. When `commit` returns, the batch is on disk and may be acknowledged.

A store has one writer thread: never call `commit` from two threads at once. Any thread can read or
export through its own `cursor()`, which sees only complete commits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from methrics.aggregate.store.batch import Batch, Committed, Expired
from methrics.aggregate.store.compaction import (
    catch_up,
    copy,
    give_up,
    is_open,
    remove_leftovers,
    swap,
)
from methrics.aggregate.store.digest import DayDigest
from methrics.aggregate.store.digest_cache import fill, read
from methrics.aggregate.store.duck import (
    Connection,
    abandon_writer,
    checkpoint,
    open_writer,
    reattach,
    translated_errors,
)
from methrics.aggregate.store.migrations.run import migrate
from methrics.aggregate.store.parts import Change, apply, directory_beside, items_sql
from methrics.aggregate.store.progress import Progress
from methrics.aggregate.store.stored_layout import create, read_shard
from methrics.aggregate.store.tables import (
    BASE,
    LAYOUT_VERSION,
    OWN,
    CatalogEntry,
    Layout,
    TypeTable,
)
from methrics.aggregate.store.waste import Wasted, wasted
from methrics.aggregate.store.writer import Writer, one
from methrics.node.process.closing import Closing
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import StoreError
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.shard import WHOLE, Shard

EXPIRED_MAX = 100_000
"""Most reports that are deleted in one transaction when their retention is over."""

PATIENCE = 30.0
"""Seconds for which the rewriting of the file waits for readers, and new readers for it."""

_numbers = count(1)


def wrong_shard(path: Path, own: Shard, wanted: Shard) -> StoreError:
    """Return the error that the file `path` has the ids of another shard than `wanted`."""
    if own.is_whole:
        has, hint = "has all ids", f"give shard {wanted} a new file and take this one in by --from"
    else:
        has, hint = f"is of shard {own}", f"open it with --shard {own}"
    is_not = "not a whole one" if wanted.is_whole else f"not of shard {wanted}"
    return StoreError("store-shard", f"{path} {has}, {is_not}", hint)


def reading_number() -> int:
    """Return a number higher than those of all snapshots so far: see `Store.oldest_reading`."""
    return next(_numbers)


class Store(Closing):
    """One DuckDB file, open for writing. Use it as a context manager, or `close()` it.

    `shard`: the part of all ids that the file has; None for what it says, and a new file then has
    all. Raises StoreError: `store-shard` if the file is of another shard; `FileBusyError` if
    another program has the file open.
    """

    def __init__(self, path: Path | str, shard: Shard | None = None) -> None:
        self.path = Path(path)
        self.shard = shard or WHOLE
        is_new = not self.path.exists()
        self._con = open_writer(self.path)
        self._progress = Progress(self._con, self.path)
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._expired: int | None = None
        """The day (since 1970-01-01) for which everything that is over was deleted."""
        self._swapping = False
        self._waits = False
        """Whether the file is about to be replaced, so that new readers wait."""
        self._closed = False
        self._failed = False
        self._snapshots: dict[int, tuple[int, int]] = {}
        """id of a connection of `reading` -> its number, and the digest cache's turn then"""
        try:
            with translated_errors(self.path):
                self._progress.check(is_new=is_new)
                remove_leftovers(self.path)
                self._load(shard)
        except StoreError:
            abandon_writer(self._con)
            raise

    def _load(self, shard: Shard | None) -> None:
        con = self._con
        tables = {
            row[0] for row in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }
        if not tables:
            create(con, self.shard)
        elif "meta" not in tables:
            raise StoreError("store-foreign", f"{self.path} is a DuckDB file of something else")
        elif (layout := one(con, "SELECT layout FROM meta")) != LAYOUT_VERSION:
            migrate(con, self.path, layout)
        elif not tables.issuperset(BASE):
            raise StoreError("store-foreign", f"{self.path} is a DuckDB file of something else")
        self.shard = read_shard(con)
        if shard is not None and shard != self.shard:
            raise wrong_shard(self.path, self.shard, shard)
        if not tables.issuperset(OWN):
            self._progress.begin()
        self._refresh()

    def _refresh(self, turn: int = 0) -> None:
        """Read from the file what is kept in memory. No snapshot is of a turn above `turn`."""
        if not one(self._con, "SELECT count(*) FROM digest"):
            self._con.execute("BEGIN")
            fill(self._con, self.items_sql(con=self._con))
            self._con.execute("COMMIT")
        self._writer = Writer(self._con, self.path, self.shard, turn)
        self._total = self._writer.total

    @property
    def layout(self) -> Layout:
        """The catalogs and tables in the file, as of the last commit."""
        return self._writer.layout

    @property
    def total(self) -> int:
        """The number of stored reports, as of the last commit."""
        return self._total

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
                return self._writer.shelf.get(catalog_id)

    def records(self) -> list[KnownRecord]:
        """Return all namespace records in the file, by time."""
        with self._lock, translated_errors(self.path):
            return self._writer.records.all()

    def cursor(self) -> Connection:
        """Return another connection, for reading or exporting in another thread."""
        cursor = self._con.cursor()
        cursor.execute("USE methrics")
        return cursor

    def tables(self) -> list[TypeTable]:
        """Return the tables of the event types, as of the last commit."""
        with self._lock:
            return self.layout.tables()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection that sees the last commit and nothing later, for any one thread.

        While it is open the file is not replaced, and no Parquet file is deleted that the snapshot
        names. Raises StoreError.
        """
        with self._idle:
            self._idle.wait_for(lambda: not self._swapping, PATIENCE)
            con = self._open_snapshot()
        try:
            yield con
        finally:
            con.close()
            with self._idle:
                self._snapshots.pop(id(con))
                self._idle.notify_all()

    def _open_snapshot(self) -> Connection:
        """With the lock held."""
        if self._closed:
            raise StoreError("store-closed", f"{self.path} is closed")
        with translated_errors(self.path):
            con = self.cursor()
            con.execute("BEGIN TRANSACTION READ ONLY")
            con.execute("SELECT layout FROM meta").fetchall()  # the first query takes the snapshot
        self._snapshots[id(con)] = next(_numbers), self._writer.digests.turn
        return con

    def items_sql(
        self,
        first_day: int | None = None,
        last_day: int | None = None,
        *,
        con: Connection | None = None,
    ) -> str:
        """Return SQL for all stored items, with the columns of the table `item`: those in the file,
        and those of settled months in Parquet without the deleted ones.

        Only items of the days from `first_day` to `last_day` (since 1970-01-01) are included; None
        means no limit. The SQL fits the snapshot `con` of `reading()`, or the transaction `con` of
        `writing()`, which has to run it. Without `con` it fits the last commit.
        """
        if con is not None:
            return items_sql(con, self.path, first_day, last_day)
        with self.reading() as snapshot:
            return items_sql(snapshot, self.path, first_day, last_day)

    def day_digests(
        self, days: Collection[int] | None = None, *, con: Connection | None = None
    ) -> list[DayDigest]:
        """Return the digests of all days with reports, or only of `days` (since 1970-01-01), as of
        the last commit, or as of the snapshot `con` of `reading()`.

        Only days that changed since the last call are computed. Raises StoreError.
        """
        if con is None:
            with self.reading() as snapshot:
                return self.day_digests(days, con=snapshot)
        _, turn = self._snapshots[id(con)]
        with translated_errors(self.path):
            hot = self._writer.digests.hot
            found, computed = read(con, self.items_sql(con=con), days, hot, turn)
        if computed:
            with self._transaction():
                self._writer.digests.keep(computed, turn)
        return found

    def lacks(self, catalogs: Iterable[bytes]) -> set[bytes]:
        """Return those of the catalog ids `catalogs` that are not in the file."""
        with self._lock:
            return set(catalogs).difference(self.layout.entries)

    def has_record(self, record_id: bytes) -> bool:
        """Tell whether the file has the namespace record with this id."""
        with self._lock:
            return record_id in self._writer.records

    def commit(self, batch: Batch) -> Committed:
        """Store `batch` and return when it is on disk.

        The content of the file does not depend on the order of items or on how they are split into
        batches. The catalog of each report must be in the file or in the same batch: see `lacks`.
        Raises StoreError. In that case no part of the batch is stored, and the store accepts no
        further batches.
        """
        with self._transaction():
            return self._writer.commit(batch)

    def make_tables(self, catalog: Catalog) -> None:
        """Make the tables of all event types of a catalog in the file, as if a report of each had
        come. For rows that are written by other means."""
        with self._transaction():
            self._writer.make_tables((catalog.id, one) for one in catalog.types)

    def expire(self, now: int) -> Expired:
        """Delete the reports that are over at `now` (Unix seconds) by their retention, erasures of
        such reports, and old samples of refused bytes.

        It looks only once on each UTC day, as nothing becomes over in between. Reports are deleted
        some at a time, so that commits do not wait for all. Raises StoreError.
        """
        done = Expired()
        while now // DAY != self._expired:
            with self._transaction():
                some = self._writer.expire(now, EXPIRED_MAX)
            done += some
            if some.reports < EXPIRED_MAX:
                self._expired = now // DAY
        return done

    def wasted(self) -> Wasted | None:
        """Return the deleted rows whose bytes are still in the file; None if there are none."""
        with self._lock, translated_errors(self.path):
            return None if self._closed or self._failed else wasted(self._con)

    def compact(self, patience: float = PATIENCE) -> bool:
        """Rewrite the file without the bytes of deleted rows, and return whether that was done.

        Commits go on, except for the last moment. For that, readers that began before are waited
        for, and new ones wait: both for up to `patience` seconds. Returns False if readers were
        not done then, or if a new table was made; the file is as it was. Never call it from two
        threads at once. Raises StoreError; if the file could not be opened again, the store accepts
        no further batches.
        """
        with self._lock:
            if self._closed or self._failed:
                return False
            con = self.cursor()
        try:
            with translated_errors(self.path):
                last = copy(con, self.path)
                with self._without_readers(patience) as alone:
                    self._waits = not alone
                    if not alone or not catch_up(con, last):
                        return False
                    swap(self._con, self.path)
                    return True
        except StoreError:
            self._waits = False  # it did not fail because of the readers
            raise
        finally:
            with self._lock, translated_errors(self.path):
                give_up(con, self.path)
                con.close()

    @contextmanager
    def _without_readers(self, patience: float) -> Iterator[bool]:
        """Hold the lock while no snapshot is open; yield whether that is so after `patience`."""
        with self._idle:
            self._swapping = True
            try:
                alone = self._idle.wait_for(lambda: not self._snapshots, patience)
                yield alone and not self._closed and not self._failed
            finally:
                self._failed |= not self._closed and not is_open(self._con)
                self._swapping = False
                self._idle.notify_all()

    @property
    def waits_for_readers(self) -> bool:
        """Whether the file was to be rewritten, and readers did not end in time. Long readers, such
        as sessions with peers, then end and are not begun until it is rewritten."""
        return self._waits

    def change_parts(self, change: Change, now: int) -> None:
        """Make a change of the current Parquet files, whose new files are on disk, at the time
        `now` (Unix seconds).

        Raises StoreError. In that case nothing is changed, and the store accepts no further
        batches.
        """
        with self._transaction() as con:
            self._writer.waste.add(apply(con, change), now)
            self._writer.settled.change(change)

    def oldest_reading(self) -> int | None:
        """Return the number of the oldest snapshot of `reading()` that is still open, if any.
        Snapshots are numbered in the order in which they were opened, across all stores."""
        return min((number for number, _ in list(self._snapshots.values())), default=None)

    @property
    def directory(self) -> Path:
        """The Parquet directory beside the file."""
        return directory_beside(self.path)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Change tables that `commit` does not know, such as `contested`: one transaction, on disk
        when the block ends. An error in the block closes the store. Raises StoreError."""
        with self._transaction() as con:
            yield con

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Hold the lock, and commit when the block ends. If the block or the commit fails, the
        store accepts no further batches."""
        with self._lock:
            if self._closed or self._failed:
                raise StoreError("store-closed", f"{self.path} is closed after an error")
            try:
                with translated_errors(self.path):
                    self._con.execute("BEGIN")
                    yield self._con
                    self._progress.count()
                    self._con.execute("COMMIT")
                    self._total = self._writer.total
                    self._progress.committed()
            except BaseException:
                # What is kept in memory may now differ from the file: stop here.
                self._abandon()
                raise

    def _abandon(self) -> None:
        """Accept no more batches after a failed commit. Earlier commits stay in the file.

        The connection stays open until `close`: DuckDB refuses to close a connection while one of
        its cursors, such as the exporter's, is in use in another thread.
        """
        self._failed = True
        with contextlib.suppress(StoreError), translated_errors(self.path):
            self._con.execute("ROLLBACK")

    def reopen(self) -> None:
        """Open the file again after a failed commit, and accept batches again.

        What earlier commits stored is there; the failed batch may be stored or not, so commit it
        again. Raises StoreError: the store then accepts no batches, and this may be tried again.
        """
        with self._lock:
            if self._closed:
                raise StoreError("store-closed", f"{self.path} is closed")
            self._failed = True
            with translated_errors(self.path):
                reattach(self._con, self.path)
                self._progress.check(is_new=False)
                self._refresh(self._writer.digests.turn + 1)
            self._failed = False

    def close(self) -> None:
        """Merge the log into the file, unless a commit failed, and close the file.

        If a cursor is in use at that time, the log may stay; nothing is lost. Calling `close` again
        has no effect. Raises StoreError.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if not self._failed:
                    with translated_errors(self.path):
                        checkpoint(self._con)
            finally:
                self._con.close()
                self._progress.close()

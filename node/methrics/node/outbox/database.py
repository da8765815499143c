"""Runs SQL on the SQLite file of an outbox, safely across threads and forks.

A `Database` has at most one connection, guarded by one lock. The connection is opened at the first
call, and closed before this process forks, because SQLite forbids carrying an open one into a
child. If SQLite reports a file as damaged, the file is renamed and a fresh one is made; `healed`
counts how often that happened.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from methrics.node.clock import Clock
from methrics.node.outbox.tables import BUSY, DAMAGED, code_of, lay_out, layout_version, store_error
from methrics.node.process.folders import make_private
from methrics.node.process.forks import watch
from methrics.node.process.lock import FileLock
from methrics.schema.errors import StoreError

PAGE_SIZE = 1024
"""Bytes."""

LOG_PAGES = 4000
"""Pages of write-ahead log that stay allocated after a checkpoint."""

SETUP_PATIENCE = 0.25
"""Seconds for which the first call in a process waits while another process makes the tables."""

RETRY_STEP = 0.0004
"""Seconds between two tries on a locked file. SQLite's own steps of 1, 2, 5, 10 ms are too long."""


class Database:
    """Runs queries and transactions on the SQLite file at `path`, which is made when first needed.

    A call waits at most `patience` seconds for another thread or process, then it raises StoreError
    `outbox-busy`. Each commit survives a power cut (fsync). A write that would make the file larger
    than `size_max` bytes raises StoreError `outbox-full`.
    """

    def __init__(self, path: str, *, patience: float, size_max: int, clock: Clock) -> None:
        self.path = path
        self.healed = 0
        self._patience = patience
        self._pages_max = max(64, size_max // PAGE_SIZE)
        self._clock = clock
        self._lock = threading.Lock()
        self._con: sqlite3.Connection | None = None
        watch(self)

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._con is not None

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Runs one statement in its own transaction. Returns how many rows it changed.

        Raises StoreError."""
        with self.transaction() as con:
            return con.execute(sql, params).rowcount

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[Any]:
        """Returns all rows of a query, as tuples. Raises StoreError."""
        with self.transaction(write=False) as con:
            return con.execute(sql, params).fetchall()

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """Runs the `with` block in a transaction, which is rolled back if the block raises an
        error. With `write` False, the transaction takes no write lock.

        Raises StoreError for an error of SQLite; other errors pass through."""
        if not self._lock.acquire(True, self._patience):
            raise store_error(BUSY, self.path)
        try:
            con = self._con or self._connect()
            self._begin(con, "BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield con
                con.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    if con.in_transaction:
                        con.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._diagnose(error) from error
                raise
        finally:
            self._lock.release()

    def compact(self) -> None:
        """Rewrites the file and empties its log, so that deleted bytes are left in neither.

        Raises StoreError `outbox-busy` if another process uses the file for longer than `patience`.
        """
        deadline = self._clock.monotonic() + self._patience
        rewritten = False
        while True:
            with self._lock:
                con = self._con or self._connect()
                try:
                    if not rewritten:
                        con.execute("VACUUM")
                    rewritten = True
                    busy = con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                except sqlite3.Error as error:
                    failure = self._diagnose(error)
                    if failure.code != BUSY:
                        raise failure from error
                    busy = True
            if not busy:
                return
            if self._clock.monotonic() >= deadline:
                raise store_error(BUSY, self.path, "its log is in use")
            self._clock.sleep(RETRY_STEP)

    def close(self) -> None:
        """Closes the connection; the next call opens it again."""
        with self._lock:
            self._disconnect()

    # process/forks.py calls the next four methods around a fork.

    def before_fork(self, patience: float) -> bool:
        """Closes the connection and keeps the lock. Returns False, with nothing changed, if the
        lock did not become free within `patience` seconds."""
        if not self._lock.acquire(True, patience):
            return False
        self._disconnect()
        return True

    def after_fork(self) -> None:
        """Releases the lock that `before_fork` kept."""
        self._lock.release()

    def abandon(self) -> sqlite3.Connection | None:
        """Forgets the connection and the lock; to be called in a child if `before_fork` failed.
        Returns the connection, which the caller must keep open: if the child closed it, the
        parent's connection could be damaged."""
        con, self._con = self._con, None
        self._lock = threading.Lock()
        return con

    # The methods below expect that the caller holds the lock.

    def _begin(self, con: sqlite3.Connection, how: str) -> None:
        deadline = self._clock.monotonic() + self._patience
        while True:
            try:
                con.execute(how)
            except sqlite3.Error as error:
                failure = self._diagnose(error)
                if failure.code != BUSY or self._clock.monotonic() >= deadline:
                    raise failure from error
                self._clock.sleep(RETRY_STEP)
            else:
                return

    def _connect(self) -> sqlite3.Connection:
        try:
            try:
                con = self._open()
            except sqlite3.DatabaseError as error:
                if code_of(error) != DAMAGED:
                    raise
                self._move_aside()
                con = self._open()
        except (sqlite3.Error, OSError) as error:
            raise store_error(code_of(error), self.path, str(error)) from error
        self._con = con
        return con

    def _open(self) -> sqlite3.Connection:
        make_private(os.path.dirname(self.path))
        # A new file is made here with mode 0600, so that other users cannot read it. SQLite gives
        # its -wal and -shm files the same mode. An existing file is not opened here: closing any
        # descriptor of it would drop the locks of this process's other connections, and then
        # another process could delete the log that they use (sqlite.org/howtocorrupt.html, 2.2).
        with contextlib.suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))
        con = sqlite3.connect(
            self.path, timeout=SETUP_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            con.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            con.execute("PRAGMA synchronous = NORMAL")
            layout_version(con, self.path)  # raises, before anything is written, if it is newer
            con.execute("PRAGMA journal_mode = WAL")
            lay_out(con, self.path)
            con.execute(f"PRAGMA max_page_count = {self._pages_max}")
            con.execute(f"PRAGMA journal_size_limit = {LOG_PAGES * PAGE_SIZE}")
            con.execute("PRAGMA synchronous = FULL")
            con.execute("PRAGMA secure_delete = ON")
            con.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            con.close()
            raise
        return con

    def _diagnose(self, error: sqlite3.Error) -> StoreError:
        """Returns the StoreError for `error`. If the file is damaged, it is moved aside first."""
        code = code_of(error)
        if code == DAMAGED:
            self._disconnect()
            self._move_aside()
        return store_error(code, self.path, str(error))

    def _move_aside(self) -> None:
        """Renames a damaged file to `<name>.damaged`. An earlier file of that name is replaced, so
        at most one damaged file uses disk space."""
        with contextlib.suppress(OSError), FileLock(self.path + ".lock"):
            if _is_damaged(self.path):  # otherwise another process has replaced it already
                for suffix in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path + suffix)
                os.replace(self.path, self.path + ".damaged")
                self.healed += 1

    def _disconnect(self) -> None:
        con, self._con = self._con, None
        if con is not None:
            with contextlib.suppress(sqlite3.Error):
                con.close()


def _is_damaged(path: str) -> bool:
    try:
        con = sqlite3.connect(path, timeout=SETUP_PATIENCE)
    except sqlite3.Error:
        return True
    try:
        return bool(con.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except sqlite3.Error as error:
        return code_of(error) == DAMAGED
    finally:
        con.close()

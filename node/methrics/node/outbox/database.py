"""The SQLite file under an outbox: opened late, healed when damaged, safe over threads and forks.

One `Database` holds at most one connection and one lock. Before this process forks, connections
are closed: SQLite's own bookkeeping must not be carried into a child. A file that SQLite calls
damaged is moved aside once and a fresh one begun; whoever asks is told how often that happened.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from methrics.node.clock import Clock
from methrics.node.outbox.tables import BUSY, DAMAGED, code_of, lay_out, layout_version, store_error
from methrics.node.process.forks import watch
from methrics.node.process.lock import FileLock
from methrics.schema.errors import StoreError

PAGE_SIZE = 1024
"""Bytes. One recorded event writes one page to the log, so small pages make it cheap (measured)."""

LOG_PAGES = 4000
"""Pages of write-ahead log at which an app's own write folds it in, which waits for the disk. The
publisher folds it in far earlier, so that the app hardly ever has to."""

SETUP_PATIENCE = 0.25
"""Seconds the first use in a process may wait while another process lays out a new file."""

RETRY_STEP = 0.0004
"""Seconds between two tries on a locked file; SQLite's own steps of 1, 2, 5, 10 ms overshoot."""

HURRY = 0.002
"""Seconds to wait instead, for HURRY_PAUSE seconds after a wait in vain: whoever stopped while
writing must not stop us at each call."""
HURRY_PAUSE = 1.0

BROKEN_PAUSE = 1.0
"""Seconds for which a file that could not be opened is not tried again: a full or read-only disk
must cost the app nothing per call."""


class Database:
    """`rows`, `execute` and `transaction` on the file at `path`, which is made when first needed.

    `patience` is how long, in seconds, a call may wait for another thread or process; then it
    raises StoreError `outbox-busy`. `durable` makes each commit survive a power cut (fsync), not
    only a kill -9. `size_max` bytes is the hard bound of the file: beyond it, `outbox-full`.
    """

    def __init__(
        self, path: str, *, patience: float, durable: bool, size_max: int, clock: Clock
    ) -> None:
        self.path = path
        self.healed = 0
        self.generation = 0  # moves on whenever the file is opened
        self._patience = patience
        self._durable = durable
        self._pages_max = max(64, size_max // PAGE_SIZE)
        self._clock = clock
        self._lock = threading.Lock()
        self._con: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._inode = 0
        self._broken: StoreError | None = None
        self._hurry_until = 0.0
        self._broken_until = 0.0
        watch(self)

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Runs one statement in a transaction of its own. Returns the number of rows it changed."""
        lock = self._lock
        if not (lock.acquire(False) or lock.acquire(True, self._patience)):
            raise store_error(BUSY, self.path, "many threads")
        try:
            # One cursor for all: a new one for each statement costs half a microsecond.
            cursor = self._cursor or self._connect()[1]
            try:
                return cursor.execute(sql, params).rowcount
            except sqlite3.Error as error:
                return self._again(sql, params, error)
        finally:
            lock.release()

    def rows(self, sql: str, params: Sequence[object] = ()) -> list[Any]:
        """All rows of a query, as tuples."""
        with self.transaction(write=False) as con:
            return con.execute(sql, params).fetchall()

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection]:
        """Everything inside happens or nothing does. Raises StoreError; rolls back on any error."""
        if not self._lock.acquire(True, self._patience):
            raise store_error(BUSY, self.path)
        try:
            con = self._con or self._connect()[0]
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
        """Rewrites the file and empties its log, so that nothing deleted is left in either.

        Raises StoreError `outbox-busy` if others use the file for longer than `patience`.
        """
        self.execute("VACUUM")
        deadline = self._clock.monotonic() + self._patience
        while True:
            with self._lock:
                con = self._con or self._connect()[0]
                try:
                    busy = con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                except sqlite3.Error as error:
                    raise self._diagnose(error) from error
            if not busy:
                return
            if self._clock.monotonic() >= deadline:
                raise store_error(BUSY, self.path, "its log is in use")
            self._clock.sleep(RETRY_STEP)

    def close(self) -> None:
        """Closes the connection; the next call opens it again."""
        with self._lock:
            self._disconnect()

    # -- around a fork (forks.py) ----------------------------------------------------------------

    def before_fork(self, patience: float) -> bool:
        """Closes the connection and keeps the lock. False if it could not be had in time."""
        if not self._lock.acquire(True, patience):
            return False
        self._disconnect()
        return True

    def after_fork(self) -> None:
        """Frees the lock that `before_fork` kept."""
        self._lock.release()

    def abandon(self) -> sqlite3.Connection | None:
        """In a child, when `before_fork` failed: begins anew, and gives up the connection, which
        must never be closed here."""
        con, self._con, self._cursor = self._con, None, None
        self._lock = threading.Lock()
        return con

    def check(self) -> None:
        """Drops the connection if the file was removed or replaced under it (one `stat`)."""
        with self._lock:
            if self._con is None:
                return
            try:
                same = os.stat(self.path).st_ino == self._inode
            except OSError:
                same = False
            if not same:
                self._disconnect()

    # -- one connection, lock held -------------------------------------------------------------

    def _again(self, sql: str, params: Sequence[object], error: sqlite3.Error) -> int:
        now = self._clock.monotonic()
        deadline = now + (self._patience if now >= self._hurry_until else HURRY)
        while True:
            failure = self._diagnose(error)
            if failure.code == DAMAGED:
                deadline = -1.0
            elif failure.code != BUSY:
                raise failure from error
            elif self._clock.monotonic() >= deadline:
                self._hurry_until = self._clock.monotonic() + HURRY_PAUSE
                raise failure from error
            else:
                self._clock.sleep(RETRY_STEP)
            try:
                con = self._con or self._connect()[0]
                return con.execute(sql, params).rowcount
            except sqlite3.Error as next_error:
                error = next_error
                if deadline < 0:
                    raise self._diagnose(error) from error

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

    def _connect(self) -> tuple[sqlite3.Connection, sqlite3.Cursor]:
        if self._broken is not None and self._clock.monotonic() < self._broken_until:
            raise self._broken
        try:
            try:
                con = self._open()
            except sqlite3.DatabaseError as error:
                if code_of(error) != DAMAGED:
                    raise
                self._move_aside()
                con = self._open()
            self._inode = os.stat(self.path).st_ino
        except (sqlite3.Error, OSError) as error:
            failure = store_error(code_of(error), self.path, str(error))
            if failure.code != BUSY:
                self._broken, self._broken_until = failure, self._clock.monotonic() + BROKEN_PAUSE
            raise failure from error
        except StoreError as error:
            self._broken, self._broken_until = error, self._clock.monotonic() + BROKEN_PAUSE
            raise
        self._broken = None
        self._con, self._cursor = con, con.cursor()
        self.generation += 1
        return con, self._cursor

    def _open(self) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        # Made here and not by SQLite, so that nobody else on the machine can read it; SQLite
        # gives its -wal and -shm files the same mode. One that is there is left to SQLite: closing
        # any descriptor of a file drops this process's locks on it, those of another connection
        # included, and then the next process to close it would take the log away from under that
        # one (sqlite.org/howtocorrupt.html, section 2.2).
        with contextlib.suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(self.path, flags, 0o600))
        con = sqlite3.connect(
            self.path, timeout=SETUP_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            con.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            con.execute("PRAGMA synchronous = NORMAL")
            layout_version(con, self.path)  # a later layout is left as it is
            con.execute("PRAGMA journal_mode = WAL")
            lay_out(con, self.path)
            con.execute(f"PRAGMA max_page_count = {self._pages_max}")
            con.execute(f"PRAGMA journal_size_limit = {LOG_PAGES * PAGE_SIZE}")
            if self._durable:
                con.execute("PRAGMA synchronous = FULL")
                con.execute("PRAGMA secure_delete = ON")
            else:
                con.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
                _close_without_checkpoint(con)
            con.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            con.close()
            raise
        return con

    def _diagnose(self, error: sqlite3.Error) -> StoreError:
        """The error to raise for `error`; a damaged file is set aside on the way."""
        code = code_of(error)
        if code == DAMAGED:
            self._disconnect()
            self._move_aside()
        return store_error(code, self.path, str(error))

    def _move_aside(self) -> None:
        """Renames a damaged file to `<name>.damaged`, replacing the one before: bounded."""
        with contextlib.suppress(OSError), FileLock(self.path + ".lock"):
            if _is_damaged(self.path):  # else another process was faster
                for suffix in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path + suffix)
                os.replace(self.path, self.path + ".damaged")
                self.healed += 1

    def _disconnect(self) -> None:
        con, self._con, self._cursor = self._con, None, None
        if con is not None:
            with contextlib.suppress(sqlite3.Error):
                con.close()


def _close_without_checkpoint(con: sqlite3.Connection) -> None:
    # Leaving an app must not wait for the disk; the next opener reads the log. Python 3.12+.
    if sys.version_info >= (3, 12):
        con.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)


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

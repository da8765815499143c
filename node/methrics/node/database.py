"""The SQLite file under an outbox: opened late, healed when damaged, safe over threads and forks.

One `Database` holds at most one connection and one lock. Before this process forks, connections
are closed: SQLite's own bookkeeping must not be carried into a child. A file that SQLite calls
damaged is moved aside once and a fresh one begun; whoever asks is told how often that happened.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from methrics.node.clock import Clock
from methrics.node.lock import FileLock
from methrics.schema.errors import StoreError

SCHEMA_VERSION = 1
"""`PRAGMA user_version` of the files that this code reads and writes."""

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE dropped (reason TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE catalog (n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, raw BLOB NOT NULL);
CREATE TABLE event (
  n INTEGER PRIMARY KEY, catalog INTEGER NOT NULL, type TEXT NOT NULL, time INTEGER NOT NULL,
  due INTEGER NOT NULL, one_in INTEGER NOT NULL, fields BLOB NOT NULL, steps BLOB);
CREATE TABLE counter (
  n INTEGER PRIMARY KEY, catalog INTEGER NOT NULL, type TEXT NOT NULL, time INTEGER NOT NULL,
  due INTEGER NOT NULL, one_in INTEGER NOT NULL, fields BLOB NOT NULL, count INTEGER NOT NULL,
  UNIQUE (type, time, fields, catalog, one_in));
CREATE TABLE state (
  type TEXT PRIMARY KEY, n INTEGER NOT NULL, catalog INTEGER NOT NULL, time INTEGER NOT NULL,
  due INTEGER NOT NULL, one_in INTEGER NOT NULL, fields BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pace (
  type TEXT PRIMARY KEY, last INTEGER NOT NULL, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE report (
  idx INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, raw BLOB NOT NULL, catalog INTEGER NOT NULL,
  type TEXT NOT NULL, time INTEGER NOT NULL, made INTEGER NOT NULL, due INTEGER NOT NULL,
  route TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX report_unsent ON report (due) WHERE state = 'due';
"""

PAGE_SIZE = 1024
"""Bytes. One recorded event writes one page to the log, so small pages make it cheap (measured)."""

SETUP_PATIENCE = 0.25
"""Seconds the first use in a process may wait while another process lays out a new file."""

RETRY_STEP = 0.0004
"""Seconds between two tries on a locked file; SQLite's own steps of 1, 2, 5, 10 ms overshoot."""

BROKEN_PAUSE = 1.0
"""Seconds for which a file that could not be opened is not tried again: a full or read-only disk
must cost the app nothing per call."""

_CODES = {
    sqlite3.SQLITE_BUSY: "outbox-busy",
    sqlite3.SQLITE_LOCKED: "outbox-busy",
    sqlite3.SQLITE_FULL: "outbox-full",
    sqlite3.SQLITE_READONLY: "outbox-read-only",
    sqlite3.SQLITE_CANTOPEN: "outbox-unopened",
    sqlite3.SQLITE_PERM: "outbox-unopened",
    sqlite3.SQLITE_IOERR: "outbox-disk",
    sqlite3.SQLITE_CORRUPT: "outbox-damaged",
    sqlite3.SQLITE_NOTADB: "outbox-damaged",
}
_DAMAGED = "outbox-damaged"
_BUSY = "outbox-busy"

_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_fork_hooks: list[int] = []


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
        self._patience = patience
        self._durable = durable
        self._pages_max = max(64, size_max // PAGE_SIZE)
        self._clock = clock
        self._lock = threading.Lock()
        self._con: sqlite3.Connection | None = None
        self._inode = 0
        self._broken: StoreError | None = None
        self._broken_until = 0.0
        _open_databases.add(self)
        _install_fork_hooks()

    def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Runs one statement in a transaction of its own. Returns the number of rows it changed."""
        lock = self._lock
        if not (lock.acquire(False) or lock.acquire(True, self._patience)):
            raise _store_error(_BUSY, self.path)
        try:
            con = self._con or self._connect()
            try:
                return con.execute(sql, params).rowcount
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
            raise _store_error(_BUSY, self.path)
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

    def close(self) -> None:
        """Closes the connection; the next call opens it again."""
        with self._lock:
            self._disconnect()

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
        deadline = self._clock.monotonic() + self._patience
        while True:
            failure = self._diagnose(error)
            if failure.code == _DAMAGED:
                deadline = -1.0
            elif failure.code != _BUSY or self._clock.monotonic() >= deadline:
                raise failure from error
            else:
                self._clock.sleep(RETRY_STEP)
            con = self._con or self._connect()
            try:
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
                if failure.code != _BUSY or self._clock.monotonic() >= deadline:
                    raise failure from error
                self._clock.sleep(RETRY_STEP)
            else:
                return

    def _connect(self) -> sqlite3.Connection:
        if self._broken is not None and self._clock.monotonic() < self._broken_until:
            raise self._broken
        try:
            try:
                con = self._open()
            except sqlite3.DatabaseError as error:
                if _code(error) != _DAMAGED:
                    raise
                self._move_aside()
                con = self._open()
            self._inode = os.stat(self.path).st_ino
        except (sqlite3.Error, OSError) as error:
            failure = _store_error(_code(error), self.path, str(error))
            if failure.code != _BUSY:
                self._broken, self._broken_until = failure, self._clock.monotonic() + BROKEN_PAUSE
            raise failure from error
        except StoreError as error:
            self._broken, self._broken_until = error, self._clock.monotonic() + BROKEN_PAUSE
            raise
        self._broken = None
        self._con = con
        return con

    def _open(self) -> sqlite3.Connection:
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        # Made here and not by SQLite, so that nobody else on the machine can read it; SQLite
        # gives its -wal and -shm files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        con = sqlite3.connect(
            self.path, timeout=SETUP_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            con.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            con.execute("PRAGMA synchronous = NORMAL")
            con.execute("PRAGMA journal_mode = WAL")
            self._lay_out(con)
            con.execute(f"PRAGMA max_page_count = {self._pages_max}")
            con.execute("PRAGMA secure_delete = ON")
            if self._durable:
                con.execute("PRAGMA synchronous = FULL")
            con.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            con.close()
            raise
        return con

    def _lay_out(self, con: sqlite3.Connection) -> None:
        if self._version(con) == SCHEMA_VERSION:
            return
        con.execute("BEGIN IMMEDIATE")
        try:
            if self._version(con) != SCHEMA_VERSION:
                for statement in SCHEMA.split(";\n"):
                    con.execute(statement)
                con.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            con.execute("COMMIT")
        except BaseException:
            if con.in_transaction:
                con.execute("ROLLBACK")
            raise

    def _version(self, con: sqlite3.Connection) -> int:
        version: int = con.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                "outbox-newer",
                f"the outbox {self.path} has layout {version}; the newest known is {SCHEMA_VERSION}",
                "upgrade methrics, or give this app another METHRICS_HOME",
            )
        return version

    def _diagnose(self, error: sqlite3.Error) -> StoreError:
        """The error to raise for `error`; a damaged file is set aside on the way."""
        code = _code(error)
        if code == _DAMAGED:
            self._disconnect()
            self._move_aside()
        return _store_error(code, self.path, str(error))

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
        return _code(error) == _DAMAGED
    finally:
        con.close()


def _code(error: Exception) -> str:
    if isinstance(error, sqlite3.Error):
        # The low byte is the primary result code (sqlite.org/rescode.html).
        return _CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "outbox-disk")
    return "outbox-read-only" if isinstance(error, PermissionError) else "outbox-disk"


_HINTS = {
    "outbox-busy": "another process writes to it; try again",
    "outbox-full": "free some disk space, or publish what is waiting",
    "outbox-read-only": "make the folder writable, or set METHRICS_HOME",
    "outbox-unopened": "check the folder and its permissions, or set METHRICS_HOME",
    "outbox-damaged": "it was moved aside; a fresh one is begun",
    "outbox-disk": "check the disk",
}


def _store_error(code: str, path: str, detail: str = "") -> StoreError:
    tail = f": {detail}" if detail else ""
    return StoreError(code, f"cannot use the outbox {path}{tail}", _HINTS.get(code, ""))


# -- forks -----------------------------------------------------------------------------------------


def _install_fork_hooks() -> None:
    if _fork_hooks or not hasattr(os, "register_at_fork"):
        return
    _fork_hooks.append(1)
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )


_held: list[Database] = []
_abandoned: list[sqlite3.Connection] = []


def _before_fork() -> None:
    """No connection crosses a fork.

    A child that inherits one also inherits SQLite's belief about locks it does not own: once the
    parent exits, a third process may truncate the shared memory that the child still maps.
    """
    for database in list(_open_databases):
        if database._lock.acquire(True, 1.0):
            _held.append(database)
            database._disconnect()


def _after_in_parent() -> None:
    for database in _held:
        database._lock.release()
    _held.clear()


def _after_in_child() -> None:
    for database in _held:
        database._lock.release()
    for database in list(_open_databases):
        if database not in _held:  # its lock was never got: leave the connection unclosed, for ever
            if database._con is not None:
                _abandoned.append(database._con)
            database._con = None
            database._lock = threading.Lock()
    _held.clear()

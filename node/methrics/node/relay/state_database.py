"""A SQLite file in a relay's state folder, from which nobody can read when its rows came.

SQLite leaves traces: the log of writes has their order, and so has the place of a row within its
page; and a page keeps bytes of rows that moved to another one. So keys are random, and `tidy`
writes all pages anew, in the order of keys, and empties the log.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

from methrics.schema.errors import StoreError

PAGE_SIZE = 4096
"""Bytes. Keys are random, so each row costs about one page of the log."""

LOG_PAGES = 8000
"""Pages of the log after which SQLite copies them to the file: 32 MiB, or some ten thousand rows.
Copying costs less if many rows share a page."""

CACHE = 64 * 1024
"""KiB of memory for pages of the file."""

_CODES = {
    sqlite3.SQLITE_FULL: "rest-full",
    sqlite3.SQLITE_CORRUPT: "rest-damaged",
    sqlite3.SQLITE_NOTADB: "rest-damaged",
}
_HINTS = {
    "rest-full": "make room on its disk; until then the relay refuses reports and keeps what rests",
    "rest-damaged": "restore it from a backup, or move it away: what rests in it is lost then",
}

MEMORY = ":memory:"
"""The path of a database without a file, which is lost with the process."""


class StateDatabase:
    """The SQLite file at `path`, which is made with `tables` (statements) if it does not exist.
    `layout`: the version of the tables, at least 1.

    Threads may share it if only one uses it at a time. Each transaction waits for the disk (fsync).
    Every method raises StoreError `rest-unusable`, `rest-full`, `rest-damaged` or `rest-newer`.
    """

    def __init__(self, path: str, tables: str, layout: int) -> None:
        self.path = path
        self._make()
        with self._errors():
            self._con = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open(tables, layout)
            except BaseException:
                self._con.close()
                raise

    def _make(self) -> None:
        if self.path == MEMORY:
            return
        try:
            # SQLite would give the file, and its log, the mode of the process.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(self.path, flags, 0o600))
        except OSError as error:
            raise StoreError(
                "rest-unusable", f"cannot open {self.path}: {error.strerror}", _HINTS["rest-full"]
            ) from error

    def _open(self, tables: str, layout: int) -> None:
        con = self._con
        con.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        con.execute("PRAGMA secure_delete = ON")
        con.execute("PRAGMA temp_store = MEMORY")
        con.execute(f"PRAGMA cache_size = -{CACHE}")
        con.execute("PRAGMA journal_mode = WAL")
        con.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        con.execute("PRAGMA synchronous = FULL")
        (found,) = con.execute("PRAGMA user_version").fetchone()
        if found not in (0, layout):
            raise StoreError(
                "rest-newer",
                f"a newer release of methrics wrote {self.path}",
                "use that release, or give another folder with --state DIR",
            )
        if found == 0:
            with self.transaction():
                for statement in tables.split(";"):
                    con.execute(statement)
                con.execute(f"PRAGMA user_version = {layout}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Use the connection without a transaction."""
        with self._errors():
            yield self._con

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make changes, all or none; they survive a power cut."""
        with self._errors():
            self._con.execute("BEGIN IMMEDIATE")
            try:
                yield self._con
                self._con.execute("COMMIT")
            except BaseException:
                if self._con.in_transaction:
                    self._con.execute("ROLLBACK")
                raise

    def tidy(self) -> None:
        """Write all pages anew, in the order of keys, and empty the log."""
        with self._errors():
            # It copies the file in memory (`temp_store`): a copy on disk would leave traces, too.
            self._con.execute("VACUUM")
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; SQLite then removes the log."""
        with self._errors():
            self._con.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = _CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "rest-unusable")
            hint = _HINTS.get(code, _HINTS["rest-full"])
            raise StoreError(code, f"cannot use {self.path}: {error}", hint) from error

"""What rests at a relay: a SQLite file, and a stand-in in memory with the same interface.

The file tells nothing about who sent an item or when it came: it has no address and no time of
arrival. Rows are ordered by id, which is a hash. SQLite, however, leaves traces: the log of writes
has their order, and so has the place of a row within its page; and a page keeps bytes of rows that
moved to another one. So `tidy` writes all pages anew, in the order of ids, and empties the log.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from methrics.schema.errors import StoreError

NAME = "rest.db"
"""The file in the state folder of a relay."""

LAYOUT = 1
"""The version of the tables; SQLite's `user_version`."""

PAGE_SIZE = 4096
"""Bytes. Ids are random, so each item costs about one page of the log."""

LOG_PAGES = 8000
"""Pages of the log after which SQLite copies them to the file: 32 MiB, or some ten thousand items.
Copying costs less if many items share a page."""

CACHE = 64 * 1024
"""KiB of memory for pages of the file."""

_TABLES = f"""
CREATE TABLE rest (
    id BLOB PRIMARY KEY, topic TEXT NOT NULL, catalog BLOB NOT NULL, raw BLOB NOT NULL,
    leaves INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE erased (id BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE beat (half INTEGER NOT NULL);
INSERT INTO beat VALUES (0);
PRAGMA user_version = {LAYOUT};
"""

_CODES = {
    sqlite3.SQLITE_FULL: "rest-full",
    sqlite3.SQLITE_CORRUPT: "rest-damaged",
    sqlite3.SQLITE_NOTADB: "rest-damaged",
}
_HINTS = {
    "rest-full": "make room on its disk; until then the relay refuses reports and keeps what rests",
    "rest-damaged": "restore it from a backup, or move it away: what rests in it is lost then",
}


class Resting(NamedTuple):
    """A report or erasure that rests. `leaves`: when it is published (Unix seconds)."""

    id: bytes
    topic: str
    catalog: bytes
    raw: bytes
    leaves: int


@dataclass(slots=True)
class Changes:
    """What one commit changes: it drops `drops` (ids), then puts `puts` (by id), and notes
    `erased` (id of a report -> Unix seconds from when on receivers refuse it as late anyway)."""

    puts: dict[bytes, Resting] = field(default_factory=dict)
    drops: set[bytes] = field(default_factory=set)
    erased: dict[bytes, int] = field(default_factory=dict)

    def put(self, resting: Resting) -> None:
        """Add an item."""
        self.puts[resting.id] = resting

    def drop(self, ids: Iterable[bytes]) -> None:
        """Drop items, also those that these changes put."""
        for item_id in ids:
            self.puts.pop(item_id, None)
            self.drops.add(item_id)

    def add(self, later: Changes) -> None:
        """Add the changes that `later` makes after these."""
        self.drop(later.drops)
        self.puts.update(later.puts)
        self.erased.update(later.erased)


class RestFile(Protocol):
    """What keeps items at rest. One thread at a time may use it."""

    def load(self) -> tuple[list[Resting], dict[bytes, int]]:
        """Return all items by id, and the erased reports. Raises StoreError."""
        ...

    def write(self, changes: Changes) -> None:
        """Make changes, all or none; they survive a power cut. Raises StoreError."""
        ...

    def tidy(self, now: int) -> None:
        """Remove the traces of what was dropped and of the order of arrival, and erased reports
        that are late by `now` (Unix seconds). Raises StoreError."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class MemoryRest:
    """Keeps items in memory: they are lost with the process."""

    def __init__(self) -> None:
        self.items: dict[bytes, Resting] = {}
        self.erased: dict[bytes, int] = {}

    def load(self) -> tuple[list[Resting], dict[bytes, int]]:
        """Return all items by id, and the erased reports."""
        return [self.items[item_id] for item_id in sorted(self.items)], dict(self.erased)

    def write(self, changes: Changes) -> None:
        """Make changes."""
        for item_id in changes.drops:
            self.items.pop(item_id, None)
        self.items.update(changes.puts)
        self.erased.update(changes.erased)

    def tidy(self, now: int) -> None:
        """Forget erased reports that are late by `now`."""
        self.erased = {one: until for one, until in self.erased.items() if until > now}

    def close(self) -> None:
        """Do nothing."""


class SqliteRest:
    """Keeps items in the SQLite file at `path`, which is made if it does not exist.

    Threads may share it if only one uses it at a time. Each write waits for the disk (fsync).
    Raises StoreError `rest-unusable`, `rest-full` or `rest-damaged`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            # SQLite would give the file, and its log, the mode of the process.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(path, flags, 0o600))
        except OSError as error:
            raise StoreError(
                "rest-unusable", f"cannot open {path}: {error.strerror}", _HINTS["rest-full"]
            ) from error
        with self._errors():
            self._con = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._con.close()
                raise

    def _open(self) -> None:
        con = self._con
        con.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        con.execute("PRAGMA secure_delete = ON")
        con.execute("PRAGMA temp_store = MEMORY")
        con.execute(f"PRAGMA cache_size = -{CACHE}")
        con.execute("PRAGMA journal_mode = WAL")
        con.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        con.execute("PRAGMA synchronous = FULL")
        (layout,) = con.execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            raise StoreError(
                "rest-newer",
                f"a newer release of methrics wrote {self.path}",
                "use that release, or give another folder with --state DIR",
            )
        if layout == 0:
            with self._transaction():
                for statement in _TABLES.split(";"):
                    con.execute(statement)

    def load(self) -> tuple[list[Resting], dict[bytes, int]]:
        """Return all items by id, and the erased reports."""
        with self._errors():
            rows = self._con.execute("SELECT id, topic, catalog, raw, leaves FROM rest ORDER BY id")
            items = [Resting(*row) for row in rows]
            return items, dict(self._con.execute("SELECT id, until FROM erased").fetchall())

    def write(self, changes: Changes) -> None:
        """Make changes. Even if there are none, this waits for the disk: an answer that comes
        sooner would tell that nothing was accepted."""
        con = self._con
        with self._errors(), self._transaction():
            con.executemany("DELETE FROM rest WHERE id = ?", [(one,) for one in changes.drops])
            con.executemany(
                "INSERT OR REPLACE INTO rest VALUES (?, ?, ?, ?, ?)", changes.puts.values()
            )
            con.executemany("INSERT OR REPLACE INTO erased VALUES (?, ?)", changes.erased.items())
            con.execute("UPDATE beat SET half = 1 - half")

    def tidy(self, now: int) -> None:
        """Write all pages anew, in the order of ids, and empty the log."""
        with self._errors():
            self._con.execute("DELETE FROM erased WHERE until <= ?", (now,))
            # It copies the file in memory (`temp_store`): a copy on disk would leave traces, too.
            self._con.execute("VACUUM")
            self._con.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; SQLite then removes the log."""
        with self._errors():
            self._con.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._con.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._con.execute("COMMIT")
        except BaseException:
            if self._con.in_transaction:
                self._con.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = _CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "rest-unusable")
            hint = _HINTS.get(code, _HINTS["rest-full"])
            raise StoreError(code, f"cannot use {self.path}: {error}", hint) from error

"""The outbox's tables, their version, and the error codes for SQLite's errors."""

from __future__ import annotations

import errno
import sqlite3

from methrics.schema.errors import RefusedError, StoreError
from methrics.schema.wire.envelope import split

_FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE dropped (reason TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE catalog (n INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, raw BLOB NOT NULL);
CREATE TABLE event (
  n INTEGER PRIMARY KEY, catalog INTEGER NOT NULL, type TEXT NOT NULL, time INTEGER NOT NULL,
  due INTEGER NOT NULL, one_in INTEGER NOT NULL DEFAULT 1, fields BLOB NOT NULL, steps BLOB);
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

# `erasure.idx` is the key index of its report. A row of `old_seed` holds the seed of all keys whose
# index is less than its `below` and not less than the `below` of the row before.
_ERASURES = """
CREATE TABLE erasure (
  idx INTEGER PRIMARY KEY, raw BLOB NOT NULL, made INTEGER NOT NULL, due INTEGER NOT NULL,
  route TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX erasure_unsent ON erasure (due) WHERE state = 'due';
CREATE TABLE old_seed (below INTEGER PRIMARY KEY, seed BLOB NOT NULL);
"""

# `state.period` is the day, week or month of a state (`flags.period`), so that a new day does not
# replace one that is not reported yet. It is 0 where only the latest state matters.
_PERIODS = """
CREATE TABLE state_of_period (
  type TEXT NOT NULL, period INTEGER NOT NULL, n INTEGER NOT NULL, catalog INTEGER NOT NULL,
  time INTEGER NOT NULL, due INTEGER NOT NULL, one_in INTEGER NOT NULL, fields BLOB NOT NULL,
  PRIMARY KEY (type, period)) WITHOUT ROWID;
INSERT INTO state_of_period SELECT type, 0, n, catalog, time, due, one_in, fields FROM state;
DROP TABLE state;
ALTER TABLE state_of_period RENAME TO state;
ALTER TABLE pace ADD COLUMN first_day INTEGER;
ALTER TABLE pace ADD COLUMN first_week INTEGER;
"""

# `report.salt` is the random part of a report's key (`report.identity`), empty for older reports.
_SALTS = """
ALTER TABLE report ADD COLUMN salt BLOB NOT NULL DEFAULT x'';
"""

# How far the spools were taken over (fold.py). `spool.offset`: of the event file. `slot.at`: the
# offset of a slot; `slot.taken`: the total of a count or the turn of a state.
_SPOOLS = """
CREATE TABLE spool (name TEXT PRIMARY KEY, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE slot (
  spool TEXT NOT NULL, at INTEGER NOT NULL, taken INTEGER NOT NULL,
  PRIMARY KEY (spool, at)) WITHOUT ROWID;
"""

# `record.raw`: the records of the namespace that relays agreed on (`publish.standing`). The id of a
# report is a hash that nobody can guess from its content, so those of older reports are computed
# again.
_RECORDS = """
CREATE TABLE record (raw BLOB PRIMARY KEY, relays INTEGER NOT NULL);
UPDATE report SET id = report_id(raw, id);
"""

# `handed`: the boxes of visits, also empty ones (`kind` is ''), until they are answered and the
# item in them is settled. `idx`: the key index of the report, or of the erasure's report. `asked`:
# when an answer was asked for last. `said`: the exit's answer, if the item is not settled by it.
_VISITS = """
CREATE TABLE handed (
  handle BLOB PRIMARY KEY, secret BLOB NOT NULL, entry TEXT NOT NULL, exit BLOB NOT NULL,
  kind TEXT NOT NULL, idx INTEGER NOT NULL, handed INTEGER NOT NULL, asked INTEGER NOT NULL,
  said TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
"""

STEPS = (_FIRST, _ERASURES, _PERIODS, _SALTS, _SPOOLS, _RECORDS, _VISITS)
"""SQL scripts. The first makes the tables of layout version 1 in an empty file; each later one
upgrades a file by one version."""

SCHEMA_VERSION = len(STEPS)
"""`PRAGMA user_version` of the files that this code reads and writes."""

BUSY = "outbox-busy"
DAMAGED = "outbox-damaged"

_CODES = {
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_FULL: "outbox-full",
    sqlite3.SQLITE_READONLY: "outbox-read-only",
    sqlite3.SQLITE_CANTOPEN: "outbox-unopened",
    sqlite3.SQLITE_PERM: "outbox-unopened",
    sqlite3.SQLITE_IOERR: "outbox-disk",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
_SYSTEM_CODES = {
    errno.EACCES: "outbox-read-only",
    errno.EPERM: "outbox-read-only",
    errno.EROFS: "outbox-read-only",
    errno.ENOSPC: "outbox-full",
    errno.EDQUOT: "outbox-full",
}
_HINTS = {
    BUSY: "another process writes to it; try again",
    "outbox-full": "free some disk space, or publish what is waiting",
    "outbox-read-only": "make the folder writable, or set METHRICS_HOME",
    "outbox-unopened": "check the folder and its permissions, or set METHRICS_HOME",
    DAMAGED: "it was renamed; a fresh one takes its place",
    "outbox-disk": "check the disk",
}


def lay_out(con: sqlite3.Connection, path: str) -> None:
    """Makes the tables that an empty or older file lacks.

    Raises StoreError `outbox-newer` for a file of a later version."""
    if layout_version(con, path) == SCHEMA_VERSION:
        return
    con.create_function("report_id", 2, _report_id, deterministic=True)
    con.execute("BEGIN IMMEDIATE")
    try:
        if (version := layout_version(con, path)) != SCHEMA_VERSION:
            for step in STEPS[version:]:
                for statement in step.split(";\n"):
                    con.execute(statement)
            con.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _report_id(raw: bytes, stored: bytes) -> bytes:
    """Returns the id of a report; the stored one if its bytes are damaged."""
    try:
        return split(raw).id
    except RefusedError:
        return stored


def code_of(error: Exception) -> str:
    """Returns the stable code for an error that SQLite or the file system raised."""
    if isinstance(error, sqlite3.Error):
        # The low byte is the primary result code (sqlite.org/rescode.html).
        return _CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "outbox-disk")
    return _SYSTEM_CODES.get(getattr(error, "errno", None) or 0, "outbox-disk")


def store_error(code: str, path: str, detail: str = "") -> StoreError:
    """Returns the StoreError for `code`, with a hint. `path`: the outbox. `detail`: the cause."""
    tail = f": {detail}" if detail else ""
    return StoreError(code, f"cannot use the outbox {path}{tail}", _HINTS.get(code, ""))


def layout_version(con: sqlite3.Connection, path: str) -> int:
    """Returns the version of the file's layout, 0 if the file is empty.

    Raises StoreError `outbox-newer` for a version later than SCHEMA_VERSION."""
    version: int = con.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreError(
            "outbox-newer",
            f"the outbox {path} has layout {version}, not {SCHEMA_VERSION} or older",
            "upgrade methrics, or give this app another METHRICS_HOME",
        )
    return version

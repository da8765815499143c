"""Rewrites the file without the bytes of deleted rows, while it is written and read.

DuckDB leaves the bytes of deleted rows in its file. So all rows are copied to a new file beside it,
from a snapshot, while commits go on. Then, with no reader and no commit, what changed since is
brought to the new file, and the new file takes the place of the old one by a rename. Before that
the old file is complete, and afterwards the new one is: whenever the process is killed, the next
start finds all that was acknowledged, and removes what is left of a copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from methrics.aggregate.store.duck import (
    SCHEMA_ALIAS,
    STORAGE_VERSION,
    Connection,
    attach_writer,
    literal,
    name,
)
from methrics.aggregate.store.plain_path import plain_file
from methrics.schema.errors import StoreError

ROOM = 64 << 20
"""Bytes of the disk that must stay free besides the copy, for what is committed meanwhile."""

FRESH = "fresh"
"""The name of the new file in SQL."""

_COLUMNS = (
    "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
    "WHERE database_name = ? ORDER BY schema_name, table_name, column_index"
)


def copy(con: Connection, path: Path) -> int:
    """Copy the file `path` to a new file beside it, as of the last commit.

    `con` is a connection of its own; others may commit meanwhile. Returns the number of the last
    deletion that is surely not in the copy. Raises StoreError `store-full` if the disk has too
    little room for the copy, DuckDB's errors and OSError; call `give_up` then.
    """
    remove_leftovers(path)
    _check_room(path)
    row = con.execute("SELECT coalesce(max(n), 0) FROM waste").fetchone()
    new = literal(plain_file(_new(path), writing=True))
    con.execute(f"ATTACH {new} AS {FRESH} (TYPE duckdb, STORAGE_VERSION '{STORAGE_VERSION}')")
    con.execute(f"COPY FROM DATABASE {SCHEMA_ALIAS} TO {FRESH}")
    # What is on disk by now need not be written while commits wait.
    con.execute(f"CHECKPOINT {FRESH}")
    with _new(path).open("rb") as file:
        os.fsync(file.fileno())
    return row[0] if row else 0


def catch_up(con: Connection, last: int) -> bool:
    """Bring what was committed since `copy`, which returned `last`, to the new file.

    No commit may run meanwhile. Returns False if a table was made or changed since: then the copy
    has to be made anew. Raises StoreError `store-broken` if the two files differ afterwards.
    """
    columns = con.execute(_COLUMNS, [SCHEMA_ALIAS]).fetchall()
    if columns != con.execute(_COLUMNS, [FRESH]).fetchall():
        return False
    tables = {(schema, table): False for schema, table, _, _ in columns}
    for schema, table, column, _ in columns:
        grows = (schema, table) in _NUMBERED or schema != "main"
        tables[schema, table] |= grows and column == "n"
    con.execute("BEGIN")
    for (schema, table), numbered in tables.items():
        old, new = name(SCHEMA_ALIAS, schema, table), name(FRESH, schema, table)
        if numbered:
            newer = f"n > (SELECT coalesce(max(n), -1) FROM {new})"
            con.execute(f"INSERT INTO {new} SELECT * FROM {old} WHERE {newer}")
            if _count(con, old) != _count(con, new):
                con.execute(f"DELETE FROM {new} WHERE n NOT IN (SELECT n FROM {old})")
        else:
            con.execute(f"DELETE FROM {new}")
            con.execute(f"INSERT INTO {new} SELECT * FROM {old}")
        if _count(con, old) != _count(con, new):
            raise StoreError("store-broken", f"{old} and its copy differ")
    con.execute(f"DELETE FROM {FRESH}.waste WHERE n <= {last}")
    con.execute("COMMIT")
    return True


_NUMBERED = {("main", "item"), ("main", "tombstone")}
"""The tables of every file to which rows are only appended, in order of `n`, and from which they
are deleted. Those of event types are so, too."""


def swap(con: Connection, path: Path) -> None:
    """Put the new file in the place of `path`, which is the current database of `con` again.

    No other connection may use the file meanwhile. If this raises, and the file is not attached
    any more, the connection cannot be used further.
    """
    con.execute(f"DETACH {FRESH}")  # merges its log
    new, real = _new(path), Path(os.path.realpath(path))
    _check_no_log(new)
    shutil.copymode(real, new)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    con.execute(f"CHECKPOINT {SCHEMA_ALIAS}")
    con.execute("USE memory")
    con.execute(f"DETACH {SCHEMA_ALIAS}")
    try:
        # A log that stayed would be applied to the new file at the next start.
        _check_no_log(real)
        new.replace(real)
        _sync_folder(real.parent)
    finally:
        attach_writer(con, path)


def give_up(con: Connection, path: Path) -> None:
    """Remove a copy that was begun. The file itself is as it was."""
    with contextlib.suppress(Exception):
        con.execute("ROLLBACK")
    con.execute(f"DETACH DATABASE IF EXISTS {FRESH}")
    remove_leftovers(path)


def is_open(con: Connection) -> bool:
    """Whether `con` still has the file attached."""
    return bool(
        con.execute(
            "SELECT 1 FROM duckdb_databases() WHERE database_name = ?", [SCHEMA_ALIAS]
        ).fetchall()
    )


def remove_leftovers(path: Path) -> None:
    """Remove what an interrupted copy of the file `path` has left."""
    new = _new(path)
    for left in (new, _log(new)):
        left.unlink(missing_ok=True)


def _check_room(path: Path) -> None:
    """Refuse to begin what may fill the disk: a commit that finds it full would fail."""
    real = Path(os.path.realpath(path))
    logs = [_log(real)] if _log(real).exists() else []
    needed = sum(one.stat().st_size for one in (real, *logs)) + ROOM
    if shutil.disk_usage(real.parent).free < needed:
        raise StoreError(
            "store-full",
            f"{path} cannot be rewritten: the disk needs {needed >> 20:,} MiB of free space",
            "free some space: erased bytes stay on the disk until then",
        )


def _new(path: Path) -> Path:
    real = os.path.realpath(path)
    return Path(f"{real}.new")


def _log(path: Path) -> Path:
    return Path(f"{path}.wal")


def _check_no_log(path: Path) -> None:
    if _log(path).exists():
        raise StoreError("store-broken", f"the log of {path} could not be merged into it")


def _count(con: Connection, table: str) -> int:
    row = con.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0] if row else 0


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

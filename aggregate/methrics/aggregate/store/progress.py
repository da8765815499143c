"""Counts the commits of a file, and notices commits that it has lost."""

from __future__ import annotations

import secrets
from pathlib import Path

from methrics.aggregate.store.commit_marker import FILE_BYTES, CommitMarker, Mark
from methrics.aggregate.store.duck import SCHEMA_ALIAS, Connection
from methrics.aggregate.store.tables import OWN
from methrics.schema.errors import StoreError


class Progress:
    """The row of the table `commits` of the file `path`, and the marker beside the file.

    `con` is the writer's connection.
    """

    def __init__(self, con: Connection, path: Path) -> None:
        self._con = con
        self._path = path
        self._marker = CommitMarker(path)
        self._mark: Mark | None = None
        """What was acknowledged."""

    def check(self, *, is_new: bool) -> None:
        """Compare the file with the marker, right after the file was opened and before anything is
        written. `is_new`: there was no file, so that a marker is of one that was removed.

        Raises StoreError `store-damaged` if the file lacks commits, and OSError.
        """
        known = self._mark or (None if is_new else self._marker.read())
        found = _read(self._con)
        empty = found is None and not self._con.execute("FROM duckdb_tables()").fetchall()
        lost = _lacking(found, known)
        if known is not None and (empty or lost):
            lost = lost or known.number
            raise StoreError(
                "store-damaged",
                f"{self._path} lacks the last {lost} of its {known.number} commits: its log is "
                "damaged or gone, or the file is an older copy",
                "`methrics aggregate` sets it aside and takes what it can from it",
            )
        self._mark = found

    def begin(self) -> None:
        """Make the tables of `OWN` that the file lacks, and give the file its id."""
        self._con.execute("BEGIN")
        for table, columns in OWN.items():
            self._con.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        if self._mark is None:
            self._mark = Mark(secrets.token_bytes(FILE_BYTES), 0)
            self._con.execute("INSERT INTO commits VALUES (?, 0)", [self._mark.file])
        self._con.execute("COMMIT")

    def count(self) -> None:
        """Count a commit, in its transaction."""
        self._con.execute("UPDATE commits SET n = n + 1")

    def committed(self) -> None:
        """Put the number of the commit on disk: afterwards it may be acknowledged. Raises
        OSError."""
        assert self._mark is not None
        self._mark = Mark(self._mark.file, self._mark.number + 1)
        self._marker.write(self._mark)

    def close(self) -> None:
        """Close what is open."""
        self._marker.close()


def lost_commits(con: Connection, path: Path) -> int:
    """Return how many commits the file `path`, which is attached to `con`, has lost. Raises
    OSError."""
    return _lacking(_read(con), CommitMarker(path).read())


def _lacking(found: Mark | None, known: Mark | None) -> int:
    """Return how many commits a file with the mark `found` lacks of those that `known` tells."""
    if found is None or known is None or found.file != known.file:
        return 0
    return max(0, known.number - found.number)


def _read(con: Connection) -> Mark | None:
    """Return the mark in the file that is attached to `con`; None if it has none."""
    tables = "SELECT 1 FROM duckdb_tables() WHERE database_name = ? AND table_name = 'commits'"
    if not con.execute(tables, [SCHEMA_ALIAS]).fetchall():
        return None
    rows = con.execute(f"SELECT file, n FROM {SCHEMA_ALIAS}.commits").fetchall()
    return Mark(*rows[0]) if rows else None

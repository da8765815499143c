"""Writes `views.duckdb`: a view for each table, over the current Parquet files, and more views.

People open it with any tool that reads DuckDB files. It has no rows of its own, so it is small and
is replaced by rename; whoever has it open keeps the old one, whose files stay for a while. It names
the files by absolute paths: a copied directory is opened by its manifest instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from methrics.aggregate.parquet.files import sync_folder, synced
from methrics.aggregate.store.duck import (
    STORAGE_VERSION,
    Connection,
    literal,
    memory,
    name,
    read_parquet_files,
)
from methrics.aggregate.store.plain_path import plain_path
from methrics.schema.errors import StoreError

VIEWS = "views.duckdb"

_ALIAS = "made"


class ViewsFile:
    """Writes the views of one directory again and again. Call `close` at the end.

    `ready` creates more views over those of the tables, in the current database of the connection
    that it gets; if it raises StoreError, the file has only those of the tables.
    """

    def __init__(
        self, directory: Path, ready: Callable[[Connection], None] = lambda con: None
    ) -> None:
        self._directory = directory
        self._ready = ready
        self._con: Connection | None = None
        self._written: Mapping[str, Sequence[str]] = {}
        """The tables and files of the file that was written last."""

    def write(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Replace the file: `tables` maps the name of each table, as SQL writes it, to the names of
        its files, those with the newest columns first.

        If there are the same tables and event types as before, only the views of tables whose files
        changed are made again. Writes nothing if DuckDB cannot use the path of the directory.
        """
        if plain_path(self._directory) != self._directory.absolute():
            return
        con, half = self._open(), self._directory / f"{VIEWS}.tmp"
        half.unlink(missing_ok=True)
        same = self._shape(self._written) == self._shape(tables)
        written = self._written if same and (self._directory / VIEWS).exists() else {}
        if written:
            shutil.copyfile(self._directory / VIEWS, half)
        self._fill(con, half, partial(self._tables, con, tables, written), fresh=not written)
        self._written = {table: tuple(files) for table, files in tables.items()}

    def _open(self) -> Connection:
        if self._con is None:
            self._con = memory()
            # The ends of files that were there before are not read again.
            self._con.execute("SET parquet_metadata_cache = true")
        return self._con

    def _fill(
        self, con: Connection, half: Path, tables: Callable[[], None], *, fresh: bool
    ) -> None:
        """Write the file `half` and put it in its place; `tables` makes the views of the tables. If
        it is a `fresh` file, it gets the other views, too."""
        con.execute(f"ATTACH {literal(half)} AS {_ALIAS} (STORAGE_VERSION '{STORAGE_VERSION}')")
        try:
            con.execute(f"USE {_ALIAS}")
            tables()
            if fresh:
                with suppress(StoreError):
                    self._ready(con)
            con.execute("USE memory")
            con.execute(f"DETACH {_ALIAS}")
        except BaseException:
            self.close()
            raise
        synced(half)
        half.replace(self._directory / VIEWS)
        sync_folder(self._directory)

    def replace(self, tables: Mapping[str, str], writer: str) -> None:
        """Replace the file by one whose tables have the rows of this SQL. If several write it, each
        names itself as `writer`."""
        if plain_path(self._directory) != self._directory.absolute():
            return
        con = self._open()
        half = self._directory / f"{VIEWS}.{writer}.tmp"
        half.unlink(missing_ok=True)
        self._fill(con, half, partial(self._queries, con, tables), fresh=True)
        self._written = {}

    def _shape(self, tables: Mapping[str, Sequence[str]]) -> object:
        """What the views besides those of tables depend on: the names of tables, and the files that
        describe the event types."""
        return sorted(tables), [tuple(tables.get(one, ())) for one in ("type", "field")]

    def _tables(
        self,
        con: Connection,
        tables: Mapping[str, Sequence[str]],
        written: Mapping[str, Sequence[str]],
    ) -> None:
        """Create or replace the views of the tables whose files are not those that were written."""
        con.execute("BEGIN")
        for schema in sorted({table.split(".")[0] for table in tables if "." in table}):
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {name(schema)}")
        for table, files in tables.items():
            if tuple(files) == written.get(table):
                continue
            schema, _, own = table.rpartition(".")
            paths = read_parquet_files([self._directory / file for file in files])
            con.execute(f"CREATE OR REPLACE VIEW {name(schema or 'main', own)} AS FROM {paths}")
        con.execute("COMMIT")

    def _queries(self, con: Connection, tables: Mapping[str, str]) -> None:
        con.execute("BEGIN")
        for schema in sorted({table.split(".")[0] for table in tables if "." in table}):
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {name(schema)}")
        for table, sql in tables.items():
            schema, _, own = table.rpartition(".")
            con.execute(f"CREATE VIEW {name(schema or 'main', own)} AS FROM {sql}")
        con.execute("COMMIT")

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        if self._con is not None:
            self._con.close()
            self._con = None
        self._written = {}

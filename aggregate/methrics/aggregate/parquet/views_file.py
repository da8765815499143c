"""Writes `views.duckdb`: one view for each table, over the current Parquet files.

People open it with any tool that reads DuckDB files. It has no rows of its own, so it is small and
is replaced by rename; whoever has it open keeps the old one, whose files stay for a while. It names
the files by absolute paths: a copied directory is opened by its manifest instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

VIEWS = "views.duckdb"

_ALIAS = "made"


class ViewsFile:
    """Writes the views of one directory again and again. Call `close` at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._con: Connection | None = None

    def write(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Replace the file: `tables` maps the name of each table, as SQL writes it, to the names of
        its files, those with the newest columns first.

        Writes nothing if DuckDB cannot use the path of the directory as it is.
        """
        if plain_path(self._directory) != self._directory.absolute():
            return
        if self._con is None:
            self._con = memory()
            # The ends of files that were there before are not read again.
            self._con.execute("SET parquet_metadata_cache = true")
        con, half = self._con, self._directory / f"{VIEWS}.tmp"
        half.unlink(missing_ok=True)
        con.execute(f"ATTACH {literal(half)} AS {_ALIAS} (STORAGE_VERSION '{STORAGE_VERSION}')")
        try:
            con.execute("BEGIN")
            for schema in sorted({table.split(".")[0] for table in tables if "." in table}):
                con.execute(f"CREATE SCHEMA {name(_ALIAS, schema)}")
            for table, files in tables.items():
                schema, _, own = table.rpartition(".")
                paths = read_parquet_files([self._directory / file for file in files])
                view = name(_ALIAS, schema or "main", own)
                con.execute(f"CREATE VIEW {view} AS FROM {paths}")
            con.execute("COMMIT")
            con.execute(f"DETACH {_ALIAS}")
        except BaseException:
            self.close()
            raise
        synced(half)
        half.replace(self._directory / VIEWS)
        sync_folder(self._directory)

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        if self._con is not None:
            self._con.close()
            self._con = None

"""Opens the data of an aggregator, in any of its forms: `open_dataset(path)`.

A file that no writer has open is opened read-only. The file of a running aggregator is locked, so
the Parquet beside it is read instead. In both cases the tables have the same names, the shipped
views exist (`views/`), and SQL can read this data set and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from methrics.aggregate.parquet.directory import is_parquet, places, read_directory
from methrics.aggregate.parquet.manifest import Manifest
from methrics.aggregate.read import views
from methrics.aggregate.read.dataframes import TablesAndViews
from methrics.aggregate.read.totals import KnownTotal, create_known_totals, read_known_totals
from methrics.aggregate.store.duck import (
    FILE_HINT,
    SCHEMA_ALIAS,
    Connection,
    FileBusyError,
    Relation,
    attach_reader,
    is_select,
    lock_down,
    memory,
    name,
    read_parquet,
    read_parquet_files,
    translated_errors,
    translated_query_errors,
    tried_again,
)
from methrics.aggregate.store.migrations.run import wrong_version
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.tables import BASE, LAYOUT_VERSION
from methrics.schema.errors import LocalError, StoreError

MEMORY_LIMIT = "2GB"
"""Buffer memory of a reader; larger sorts and joins use files in the temporary directory."""


_WORD = re.compile(r"\w+")

FLOOR = 10
"""Views round counts down to a multiple of this number, and omit smaller groups (MARS-15)."""


def open_dataset(
    path: Path | str,
    *,
    floor: int = FLOOR,
    known: Path | str | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Dataset:
    """Open the data of `methrics aggregate`: its DuckDB file, the directory of its Parquet, or one
    Parquet file of that directory. A single Parquet file is one table without ready-made views.

    While a DuckDB file is open here, no aggregator can write to it. If an aggregator is writing to
    the file, the Parquet beside it is read instead, as of the last export: see `Dataset.source`
    and `Dataset.written`.

    Ready-made views round counts down to multiples of `floor` and omit smaller groups; a floor of 1
    shows every count. `known` is a CSV file of known totals (`read/totals.py`), with which the
    views coverage and bias compare their counts. Raises StoreError: store-missing, store-foreign,
    store-version, store-busy; and LocalError, codes known and floor.
    """
    path = Path(path)
    shows = Shows(floor, read_known_totals(known) if known is not None else [])
    if not isinstance(floor, int) or floor < 1:
        raise LocalError("floor", "the floor of views is a whole number from 1 on")
    if not path.exists():
        raise StoreError(
            "store-missing", f"{path} cannot be opened: there is no such file", FILE_HINT
        )
    if path.is_dir() or is_parquet(path):
        return tried_again(lambda: Dataset(path, None, memory_limit, shows))
    con = memory()
    try:
        attach_reader(con, path)
    except FileBusyError as busy:
        beside = directory_beside(path)
        if not beside.is_dir():
            raise StoreError(
                "store-busy",
                f"{path} is in use and there is no Parquet beside it yet",
                "wait for the aggregator's first export, or stop it",
            ) from busy
        return tried_again(lambda: Dataset(beside, None, memory_limit, shows))
    return Dataset(path, con, memory_limit, shows)


@dataclass(frozen=True, slots=True)
class Shows:
    """The options of the views: `floor`, and the known totals."""

    floor: int
    known: list[KnownTotal]


class Dataset(TablesAndViews):
    """Read-only tables and views of one data set. Use it as a context manager, or `close()` it.

    `TablesAndViews` defines `pandas`, `polars`, `arrow`, `rows` and `view`. Use a `Dataset` from
    one thread at a time. All queries of a DuckDB file see the same state of it. Each query of
    Parquet sees the days exported so far.
    """

    def __init__(
        self, path: Path, attached: Connection | None, memory_limit: str, shows: Shows
    ) -> None:
        self.path = path
        """The file or directory that is read."""
        self.source = "parquet" if attached is None else "file"
        """The form of the data that is read: `file` (DuckDB) or `parquet`."""
        self.written: str | None = None
        """When the Parquet was written (ISO 8601, UTC); None for a DuckDB file."""
        self.floor = shows.floor
        """Views round counts down to multiples of this number."""
        self._con = attached or memory()
        self._views: dict[str, views.View] = {}
        self._unmade: dict[str, list[views.View]] = {}
        """name of a view in lower case -> the views of that name that were not used yet"""
        self._tables: list[str] = []
        self._unused: dict[str, list[tuple[str, str, str]]] = {}
        """name of a table in lower case -> (SQL schema, name, SQL) of those not used yet"""
        try:
            with translated_errors(path):
                if attached is not None:
                    self._bring_file()
                elif path.is_dir():
                    manifest = read_directory(path)
                    self.written = manifest.written
                    self._bring_parquet(manifest)
                else:
                    self._table("main", path.parent.name, f"FROM {read_parquet(path)}")
                if path.is_dir() or attached is not None:
                    self._bring_views(shows)
                lock_down(self._con, [path] if attached is None else [], memory_limit)
        except StoreError:
            self._con.close()
            raise

    def _bring_file(self) -> None:
        """Create a view in memory for each table of the attached file."""
        found = self._con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?",
            [SCHEMA_ALIAS],
        ).fetchall()
        layout = self._layout() if ("main", "meta") in found else None
        if layout is not None and layout != LAYOUT_VERSION:
            raise wrong_version(self.path, layout)
        if layout is None or not {("main", table) for table in BASE} <= set(found):
            raise StoreError(
                "store-foreign", f"{self.path} is a DuckDB file of something else", FILE_HINT
            )
        for schema, table in found:
            self._table(schema, table, f"FROM {name(SCHEMA_ALIAS, schema, table)}")

    def _layout(self) -> int:
        row = self._con.execute(f"SELECT layout FROM {SCHEMA_ALIAS}.meta").fetchone()
        return row[0] if row else 0

    def _bring_parquet(self, manifest: Manifest) -> None:
        """Create a view for each table, over the files that the manifest lists."""
        for files in manifest.tables().values():
            self._table(*files[0].place, f"FROM {read_parquet_files(places(self.path, files))}")

    def _table(self, schema: str, table: str, sql: str) -> None:
        """Add a table. That of an event type is created when it is first used: there may be a
        thousand, and to create one from Parquet reads the ends of all its files."""
        self._tables.append(table if schema == "main" else f"{schema}.{table}")
        if schema == "main":
            self._view(schema, table, sql)
        else:
            self._unused.setdefault(table.lower(), []).append((schema, table, sql))

    def _view(self, schema: str, view: str, sql: str) -> None:
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {name(schema)}")
        self._con.execute(f"CREATE VIEW IF NOT EXISTS {name(schema, view)} AS {sql}")

    def _bring_views(self, shows: Shows) -> None:
        """List the views. A view is created when it is first used: see `_make`."""
        self._con.execute(views.SHOWN.format(floor=shows.floor))
        create_known_totals(self._con, shows.known)
        fields = {one.field for one in shows.known if one.field}
        tables = set(
            self.tables()
        )  # if an event type is called heartbeat_dau, its table hides the view of that name
        found = [*views.fitting(self._shapes(), fields), *views.facts()]
        self._views = {view.full: view for view in found if view.full not in tables}
        for view in self._views.values():
            self._unmade.setdefault(view.name.lower(), []).append(view)

    def bring(self, *tables: str) -> None:
        """Make the tables with these names usable on `connection`.

        The methods that take SQL do so by themselves.
        """
        with translated_errors(self.path):
            self._make(" ".join(tables))

    def _make(self, query: str) -> None:
        """Create the tables and views that `query` may name. It can be called again if it fails."""
        words = set(_WORD.findall(query.lower()))
        for word in words & self._unused.keys():
            for schema, table, sql in self._unused[word]:
                self._view(schema, table, sql)
            del self._unused[word]
        for word in words & self._unmade.keys():
            made = self._unmade.pop(word)  # before `_make` below, as a view may name itself
            try:
                for view in made:
                    self._make(view.sql.view)
                    view.check(self._con)
                    self._view(view.schema, view.name, view.sql.view)
            except BaseException:
                self._unmade[word] = made
                raise

    def _shapes(self) -> list[views.TypeShape]:
        fields: dict[int, dict[str, views.FieldShape]] = {}
        for number, field, column, *about in self._con.execute(
            # If any catalog randomizes a field, its answers are never shown as true answers.
            'SELECT type, name, "column", kind, source, '
            "max(epsilon) OVER (PARTITION BY type, name), domain FROM field ORDER BY catalog"
        ).fetchall():
            # The newest catalog with the field decides, also if later catalogs dropped the field.
            fields.setdefault(number, {})[field] = views.FieldShape(field, name(column), *about)
        present = set(self.tables())
        return [
            views.TypeShape(
                number,
                schema,
                table,
                kind,
                name(schema, table),
                name(schema, steps) if f"{schema}.{steps}" in present else None,
                tuple(fields.get(number, {}).values()),
            )
            for number, schema, table, kind in self._con.execute(
                'SELECT n, schema, "table", kind FROM type ORDER BY n'
            ).fetchall()
            for steps in [f"{table}_step"]
        ]

    def tables(self) -> list[str]:
        """The names of the tables as SQL writes them: `item`, `example.heartbeat`, …"""
        return sorted(self._tables)

    def views(self) -> Mapping[str, str]:
        """Ready-made views: name -> the meaning and the limits of its numbers."""
        return {full: view.says for full, view in self._views.items()}

    def footnote(self, view: str) -> str:
        """Explain in a sentence how `view` (a full name) rounds, and how many groups it omits."""
        if self.floor == 1 or self._views[view].exact:
            return "Every count is shown as it is."
        found = tried_again(lambda: self._answer(self._views[view].sql.hidden))
        count = found[0][0] if found else 0
        left = "no group is" if count == 0 else f"{count} group{'s are' if count > 1 else ' is'}"
        return (
            f"Counts are rounded down to multiples of {self.floor}, and other figures are computed "
            f"from them; {left} left out for being smaller."
        )

    def _answer(self, sql: str) -> list[tuple[Any, ...]]:
        with translated_query_errors():
            self._make(sql)
            return self._con.execute(sql).fetchall()

    def find_view(self, text: str) -> str | None:
        """Return the full name of the view that `text` names, or None if there is no such view.

        `text` is the full name, or that name without the SQL schema or without the event type.
        Raises StoreError, code query, if `text` fits more than one view.
        """
        if text in self._views:
            return text
        fits = [
            full for full in self._views if full.endswith((f".{text}", f"_{text}")) and "." in full
        ]
        if len(fits) > 1:
            raise StoreError("query", f"several views fit {text}", f"name one of {', '.join(fits)}")
        return fits[0] if fits else None

    def sql(self, query: str, parameters: Sequence[object] = ()) -> Relation:
        """Return the rows of one SELECT as a DuckDB relation, which runs when it is read or shown.

        `parameters` are the values of the question marks in `query`. Raises StoreError, code query.
        """
        if not is_select(self._con, query):
            raise StoreError("query", "only one SELECT statement can be asked")
        with translated_query_errors():
            self._make(query)
            return self._con.sql(query, params=list(parameters) or None)

    def __str__(self) -> str:
        when = f", written {self.written}" if self.written else ""
        return f"{self.path.name} ({self.source}{when})"

    @property
    def connection(self) -> Connection:
        """The restricted DuckDB connection, for uses that the methods here do not cover.

        It has a ready-made view, or the table of an event type, only after that was used once by a
        method of this class.
        """
        return self._con

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

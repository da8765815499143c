"""One call to read what an aggregator wrote, whichever form it is in: `open_dataset(path)`.

A file that no writer has open is read itself, read only. A live aggregator's file is locked, so the
Parquet beside it is read. Either way the tables have the same names, the views that ship are there
(`views/`), and the SQL that runs can read this data set and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from methrics.aggregate.parquet.export import (
    WHOLE,
    directory_beside,
    is_parquet,
    read_manifest,
    table_of,
)
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
    literal,
    lock_down,
    memory,
    name,
    translated_errors,
    translated_query_errors,
)
from methrics.aggregate.store.tables import BASE, LAYOUT_VERSION
from methrics.schema.errors import LocalError, StoreError

MEMORY_LIMIT = "2GB"
"""Buffer memory of a reader; larger sorts and joins go through files in the temporary directory."""


FLOOR = 10
"""Views round counts down to a multiple of this, and leave smaller groups out (MARS-15)."""


def open_dataset(
    path: Path | str,
    *,
    floor: int = FLOOR,
    known: Path | str | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Dataset:
    """Open a DuckDB file of `methrics aggregate`, a directory of its Parquet, or a live file; or
    one Parquet file of such a directory, which is then the only table, without ready-made views.

    A DuckDB file that is open here keeps writers out until the data set is closed. A live file is
    read from the Parquet beside it, which is as old as its last export: see `Dataset.source` and
    `Dataset.written`.

    Ready-made views show counts in steps of `floor`, and no group smaller than that; 1 shows all.
    `known` is a CSV file of totals known from elsewhere, which the views coverage and bias compare
    with. Raises StoreError: store-missing, store-foreign, store-version, store-busy; LocalError,
    codes known and floor.
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
        return Dataset(path, None, memory_limit, shows)
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
        return Dataset(beside, None, memory_limit, shows)
    return Dataset(path, con, memory_limit, shows)


@dataclass(frozen=True, slots=True)
class Shows:
    """How views show: in steps of `floor`, beside the totals `known`."""

    floor: int
    known: list[KnownTotal]


class Dataset(TablesAndViews):
    """Tables and views of one data set, read only. Use as a context manager, or `close()` it.

    What hands out tables (`pandas`, `polars`, `arrow`, `rows`, `view`) stands in `TablesAndViews`.
    For one thread at a time. Queries see one state of a file; of Parquet each query sees the
    newest days.
    """

    def __init__(
        self, path: Path, attached: Connection | None, memory_limit: str, shows: Shows
    ) -> None:
        self.path = path
        """The file or directory that is read."""
        self.source = "parquet" if attached is None else "file"
        """`file` or `parquet`."""
        self.written: str | None = None
        """When the Parquet was written (ISO 8601, UTC); None for a file."""
        self.floor = shows.floor
        """Views show counts in steps of this."""
        self._con = attached or memory()
        self._views: dict[str, views.View] = {}
        self._made: set[str] = set()
        try:
            with translated_errors(path):
                if attached is not None:
                    self._bring_file()
                elif path.is_dir():
                    self.written = str(read_manifest(path)["written"])
                    self._bring_parquet()
                else:
                    self._view(*table_of(path), f"FROM read_parquet({literal(path)})")
                if path.is_dir() or attached is not None:
                    self._bring_views(shows)
                lock_down(self._con, [path] if attached is None else [], memory_limit)
        except StoreError:
            self._con.close()
            raise

    def _bring_file(self) -> None:
        """A view in memory for each table of the attached file."""
        found = self._con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?",
            [SCHEMA_ALIAS],
        ).fetchall()
        if not {("main", table) for table in BASE} <= set(found):
            raise StoreError(
                "store-foreign", f"{self.path} is a DuckDB file of something else", FILE_HINT
            )
        row = self._con.execute(f"SELECT layout FROM {SCHEMA_ALIAS}.meta").fetchone()
        if row != (LAYOUT_VERSION,):
            raise StoreError("store-version", f"{self.path} is of another version of methrics")
        for schema, table in found:
            self._view(schema, table, f"FROM {name(SCHEMA_ALIAS, schema, table)}")

    def _bring_parquet(self) -> None:
        """A view for each file and folder; new days are seen by the next query."""
        for table in WHOLE:
            file = self.path / f"{table}.parquet"
            self._view("main", table, f"FROM read_parquet({literal(file)})")
        self._folder("main", self.path / "item")
        for schema in sorted(self.path.glob("types/*")):
            for folder in sorted(schema.iterdir()):
                self._folder(schema.name, folder)

    def _folder(self, schema: str, folder: Path) -> None:
        # `empty.parquet` has all columns; older days lack those that came later.
        files = literal(folder / "*.parquet")
        self._view(schema, folder.name, f"FROM read_parquet({files}, union_by_name = true)")

    def _view(self, schema: str, view: str, sql: str) -> None:
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {name(schema)}")
        self._con.execute(f"CREATE VIEW {name(schema, view)} AS {sql}")

    def _bring_views(self, shows: Shows) -> None:
        """Which views there are. Each is made when it is first asked for: see `_make`."""
        self._con.execute(views.SHOWN.format(floor=shows.floor))
        create_known_totals(self._con, shows.known)
        fields = {one.field for one in shows.known if one.field}
        tables = set(self.tables())  # a type called heartbeat_dau goes before the view of that name
        found = views.fitting(self._shapes(), fields)
        self._views = {view.full: view for view in found if view.full not in tables}

    def _make(self, query: str) -> None:
        """Make those views that `query` may name: to look into all Parquet for each takes long."""
        low = query.lower()
        for full, view in self._views.items():
            if full not in self._made and view.name.lower() in low:
                view.check(self._con)
                self._view(view.schema, view.name, view.sql.view)
                self._made.add(full)

    def _shapes(self) -> list[views.TypeShape]:
        fields: dict[int, dict[str, views.FieldShape]] = {}
        for number, field, column, *about in self._con.execute(
            # Once some catalog had it answered at random, it is never shown as plain answers.
            'SELECT type, name, "column", kind, source, '
            "max(epsilon) OVER (PARTITION BY type, name), domain FROM field ORDER BY catalog"
        ).fetchall():
            # The newest catalog's word; where it no longer says a field, the last one's that did.
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
        """Names of the tables as SQL writes them: `item`, `example.heartbeat`, …"""
        found = self._con.execute(
            "SELECT schema_name, view_name FROM duckdb_views() "
            "WHERE NOT internal AND database_name = 'memory' ORDER BY ALL"
        ).fetchall()
        names = [view if schema == "main" else f"{schema}.{view}" for schema, view in found]
        return [one for one in names if one not in self._views]

    def views(self) -> Mapping[str, str]:
        """Ready-made views: name -> what its numbers mean and what they do not claim."""
        return {full: view.says for full, view in self._views.items()}

    def footnote(self, view: str) -> str:
        """What `view` (its full name) rounds and leaves out now, in words."""
        if self.floor == 1:
            return "Every count is shown as it is."
        with translated_query_errors():
            found = self._con.execute(self._views[view].sql.hidden).fetchone()
        hidden = found[0] if found else 0
        left = "no group is" if hidden == 0 else f"{hidden} group{'s are' if hidden > 1 else ' is'}"
        return (
            f"Counts are rounded down to multiples of {self.floor}, all else is worked out from "
            f"them; {left} left out for being smaller."
        )

    def find_view(self, text: str) -> str | None:
        """The full name of the view that `text` names, in full or without its SQL schema or type.

        None if there is none; raises StoreError, code query, if several fit.
        """
        if text in self._views:
            return text
        fits = [
            full for full in self._views if full.endswith((f".{text}", f"_{text}")) and "." in full
        ]
        if len(fits) > 1:
            raise StoreError("query", f"several views fit {text}", f"say one of {', '.join(fits)}")
        return fits[0] if fits else None

    def sql(self, query: str, parameters: Sequence[object] = ()) -> Relation:
        """The rows of one SELECT as a DuckDB relation, which shows itself and runs when read.

        `parameters` stand for the question marks in it. Raises StoreError, code query.
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
        """The DuckDB connection, locked down; for what the methods here do not offer.

        It knows the ready-made views that were asked for before.
        """
        return self._con

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
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

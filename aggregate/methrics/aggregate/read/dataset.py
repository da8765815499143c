"""Opens the data of an aggregator, in any of its forms: `open_dataset(path | directory | url)`.

A file that no writer has open is opened read-only. The file of a running aggregator is locked, so
the Parquet beside it is read instead. A running aggregator with `--http` is asked at its address.
In every case the tables have the same names, the shipped views exist (`views/`), and SQL can read
this data set and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack, overload

from methrics.aggregate.parquet.fetching import SIZE_MAX, Progress, silent
from methrics.aggregate.parquet.manifest import File
from methrics.aggregate.parquet.remote import StaleError
from methrics.aggregate.read import views
from methrics.aggregate.read.damaged import leave_out_damaged
from methrics.aggregate.read.dataframes import TablesAndViews
from methrics.aggregate.read.live import LiveDataset, open_live
from methrics.aggregate.read.opening import LiveOnlyError, open_source
from methrics.aggregate.read.shapes import read_shapes
from methrics.aggregate.read.sources import FarDirectory, Source
from methrics.aggregate.read.totals import FLOOR, Shows, create_known_totals, read_shows
from methrics.aggregate.store.duck import (
    Connection,
    Relation,
    lock_down,
    looks_damaged,
    name,
    translated_errors,
    translated_query_errors,
)
from methrics.aggregate.store.only_reads import is_select
from methrics.node.process.closing import Closing
from methrics.schema.errors import LocalError, StoreError, UnreachableError

MEMORY_LIMIT = "2GB"
"""Buffer memory of a reader; larger sorts and joins use files in the temporary directory."""

RENEWALS_MAX = 3
"""How often a query starts again because an aggregator has written newer files meanwhile."""

_WORD = re.compile(r"\w+")

T = TypeVar("T")


class Reading(TypedDict, total=False):
    """The options of `open_dataset`."""

    floor: int
    known: Path | str | None
    memory_limit: str
    cache: Path | str | None
    size_max: int
    progress: Progress
    partial: bool


@overload
def open_dataset(path: Path, **how: Unpack[Reading]) -> Dataset: ...
@overload
def open_dataset(path: str, **how: Unpack[Reading]) -> Dataset | LiveDataset: ...


def open_dataset(
    path: Path | str,
    *,
    floor: int = FLOOR,
    known: Path | str | None = None,
    memory_limit: str = MEMORY_LIMIT,
    cache: Path | str | None = None,
    size_max: int = SIZE_MAX,
    progress: Progress = silent,
    partial: bool = False,
) -> Dataset | LiveDataset:
    """Open the data of `methrics aggregate`: its DuckDB file, the directory of its Parquet, one
    Parquet file of that directory, or the http(s) address of any of these, or of an aggregator that
    runs with `--http`. The address of a directory ends in a slash. A single Parquet file is one
    table without ready-made views.

    While a DuckDB file is open here, no aggregator can write to it. If an aggregator is writing to
    the file, the Parquet beside it is read instead, as of the last export: see `Dataset.source`
    and `Dataset.written`. Of a directory at an address, only the files of the tables that a query
    names are fetched, at most `size_max` bytes in all; each is checked against the manifest, and
    kept in the folder `cache` for the next time (by default a folder in the user's data folder,
    which can be deleted at any time). `progress` is called with a line about what is fetched. A
    directory into which several shards write has to be complete, unless `partial`.

    Ready-made views round counts down to multiples of `floor` and omit smaller groups; a floor of 1
    shows every count. `known` is a CSV file of known totals (`read/totals.py`), with which the
    views coverage and bias compare their counts; a running aggregator knows of none. Raises
    StoreError: store-missing, store-foreign, store-version, store-busy, store-broken, store-shards,
    lake-names, live-refused;
    LocalError: known, floor, download-too-large; ConfigError: address; UnreachableError:
    download-failed, live-unreachable.
    """
    try:
        return open_files(
            path,
            floor=floor,
            known=known,
            memory_limit=memory_limit,
            cache=cache,
            size_max=size_max,
            progress=progress,
            partial=partial,
        )
    except LiveOnlyError as live:
        if known is not None:
            raise LocalError("known", f"known totals need files, and {live.message}") from live
        return open_live(live.address, floor=floor)


def open_files(
    path: Path | str,
    *,
    floor: int = FLOOR,
    known: Path | str | None = None,
    memory_limit: str = MEMORY_LIMIT,
    cache: Path | str | None = None,
    size_max: int = SIZE_MAX,
    progress: Progress = silent,
    partial: bool = False,
    salvage: bool = False,
) -> Dataset:
    """Open what `open_dataset` opens, for uses that need all rows: raises LiveOnlyError for the
    address of a running aggregator.

    With `salvage`, files on this machine that are not as they were written are left out, and are
    in `Dataset.damaged()`. To find them, all files are read once.
    """
    shows = read_shows(floor, known)
    folder = None if cache is None else Path(cache)
    source = open_source(path, folder, size_max, progress, partial=partial)
    damaged: list[tuple[File, Path]] | None = None
    try:
        if salvage:
            damaged = leave_out_damaged(source)
    except BaseException:
        source.close()
        raise
    return Dataset(source, memory_limit, shows, damaged)


class Dataset(TablesAndViews, Closing):
    """Read-only tables and views of one data set. Use it as a context manager, or `close()` it.

    `TablesAndViews` defines `pandas`, `polars`, `arrow`, `rows` and `view`. Use a `Dataset` from
    one thread at a time. All queries see the same state of the data, until `refresh()`. If an
    aggregator has deleted files of that state in the meantime, the newest state takes its place.
    """

    def __init__(
        self,
        source: Source,
        memory_limit: str,
        shows: Shows,
        damaged: list[tuple[File, Path]] | None = None,
    ) -> None:
        self._source = source
        self._damaged = damaged
        self._shows = shows
        self._con = source.con
        self._views: dict[str, views.View] = {}
        self._unmade: dict[str, list[views.View]] = {}
        """name of a view in lower case -> the views of that name that were not used yet"""
        self._tables: list[str] = []
        self._unused: dict[str, list[tuple[str, str]]] = {}
        """name of a table in lower case -> (SQL schema, name) of those not used yet"""
        self._made: list[tuple[str, str]] = []
        """(SQL schema, name) of what was created, in that order"""
        try:
            with translated_errors(self.path):
                self._con.execute(views.SHOWN.format(floor=shows.floor))
                create_known_totals(self._con, shows.known)
                lock_down(self._con, source.readable(), memory_limit)
                self._renewing(self._list)
        except BaseException:
            source.close()
            raise

    @property
    def path(self) -> Path:
        """The file or directory on this machine that is read."""
        return self._source.path

    @property
    def source(self) -> str:
        """The form of the data that is read: `file` (DuckDB) or `parquet`."""
        return self._source.kind

    @property
    def origin(self) -> Source:
        """The files of the data set, for `verify`."""
        return self._source

    @property
    def written(self) -> str | None:
        """When the Parquet was written (ISO 8601, UTC); None for a DuckDB file."""
        return self._source.written

    @property
    def floor(self) -> int:
        """Views round counts down to multiples of this number."""
        return self._shows.floor

    def refresh(self) -> bool:
        """Read the newest state of a directory or address; return whether there was a newer one."""
        if not self._source.renew():
            return False
        self._renewing(self._list)
        return True

    def _list(self) -> None:
        """List the tables and the views, and drop what was created of an earlier state. Views, and
        tables of event types, are created when they are first used: there may be a thousand."""
        with translated_errors(self.path):
            for schema, one in reversed(self._made):
                self._con.execute(f"DROP VIEW IF EXISTS {name(schema, one)}")
        self._made.clear()
        self._tables, self._unused, self._unmade = [], {}, {}
        for schema, table in self._source.tables():
            self._tables.append(table if schema == "main" else f"{schema}.{table}")
            if schema == "main" and self._source.here:
                with translated_errors(self.path):
                    self._view(schema, table, f"FROM {self._source.rows((schema, table))}")
            else:
                self._unused.setdefault(table.lower(), []).append((schema, table))
        if {"type", "field"} <= set(self._tables):
            self._list_views()

    def _list_views(self) -> None:
        self.bring("type", "field")
        with translated_errors(self.path):
            shapes = read_shapes(self._con, set(self._tables))
        fields = {one.field for one in self._shows.known if one.field}
        tables = set(
            self.tables()
        )  # if an event type is called heartbeat_dau, its table hides the view of that name
        found = [*views.fitting(shapes, fields), *views.facts()]
        self._views = {view.full: view for view in found if view.full not in tables}
        for view in self._views.values():
            self._unmade.setdefault(view.name.lower(), []).append(view)

    def bring(self, *tables: str) -> None:
        """Make the tables with these names usable on `connection`; fetch their files if necessary.

        The methods that take SQL do so by themselves.
        """
        with translated_errors(self.path):
            self._make(" ".join(tables))

    def damaged(self) -> list[tuple[File, Path]]:
        """Return the files that are left out because they are not as they were written, with their
        paths. To find them, all files are read once."""
        if self._damaged is None:
            self._damaged = leave_out_damaged(self._source)
            if self._damaged:
                self._list()
        return self._damaged

    def bring_all(self) -> None:
        """Fetch all files of an address."""

        def fetch() -> None:
            if isinstance(self._source, FarDirectory):
                self._source.everything()

        self._renewing(fetch)

    def _make(self, query: str) -> None:
        """Create the tables and views that `query` may name. It can be called again if it fails."""
        words = set(_WORD.findall(query.lower()))
        for word in words & self._unused.keys():
            for schema, table in self._unused[word]:
                self._view(schema, table, f"FROM {self._source.rows((schema, table))}")
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

    def _view(self, schema: str, view: str, sql: str) -> None:
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {name(schema)}")
        self._con.execute(f"CREATE VIEW IF NOT EXISTS {name(schema, view)} AS {sql}")
        self._made.append((schema, view))

    def _renewing(self, read: Callable[[], T]) -> T:
        """Return `read()`. If files are gone because newer ones took their place, read the newest
        manifest and start again."""

        def anew() -> T:
            if read != self._list:
                self._list()  # its files may be gone as well
            return read()

        step = read
        for _ in range(RENEWALS_MAX):
            try:
                return step()
            except StaleError:
                pass  # the source has read the manifest again
            except (StoreError, UnreachableError) as error:
                if not looks_damaged(error.__cause__) or not self._source.renew():
                    raise
            step = anew
        return step()

    def tables(self) -> list[str]:
        """The names of the tables as SQL writes them: `item`, `example.heartbeat`, …"""
        return sorted(self._tables)

    def count(self, table: str) -> int:
        """The number of rows of a table. A manifest says it, so nothing is fetched for it, except
        of a lake the tables of which several shards have the same rows."""
        schema, _, own = table.rpartition(".")
        known = self._source.count((schema or "main", own))
        if known is not None:
            return known
        return int(self.rows(f"SELECT count(*) FROM {name(*table.split('.'))}")[0][0])

    def views(self) -> Mapping[str, str]:
        """Ready-made views: name -> the meaning and the limits of its numbers."""
        return {full: view.says for full, view in self._views.items()}

    def footnote(self, view: str) -> str:
        """Explain in a sentence how `view` (a full name) rounds, and how many groups it omits."""
        if self.floor == 1 or self._views[view].exact:
            return "Every count is shown as it is."
        found = self._renewing(lambda: self._answer(self._views[view].sql.hidden))
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

    def sql(self, query: str, parameters: Sequence[object] = ()) -> Relation:
        """Return the rows of one SELECT as a DuckDB relation, which runs when it is read or shown.

        `parameters` are the values of the question marks in `query`. Raises StoreError, code query.
        """
        if not is_select(self._con, query):
            raise StoreError("query", "only one SELECT statement can be asked")
        return self._renewing(lambda: self._relation(query, parameters))

    def _relation(self, query: str, parameters: Sequence[object]) -> Relation:
        with translated_query_errors():
            self._make(query)
            return self._con.sql(query, params=list(parameters) or None)

    def _read(self, query: str, parameters: Sequence[object], give: Callable[[Relation], T]) -> T:
        if not is_select(self._con, query):
            raise StoreError("query", "only one SELECT statement can be asked")

        def read() -> T:
            with translated_query_errors():
                return give(self._relation(query, parameters))

        return self._renewing(read)

    def __str__(self) -> str:
        when = f", written {self.written}" if self.written else ""
        return f"{self._source.title} ({self.source}{when})"

    @property
    def connection(self) -> Connection:
        """The restricted DuckDB connection, for uses that the methods here do not cover.

        It has the table of an event type, a ready-made view, or any table of an address, only after
        that was used once by a method of this class, such as `bring`.
        """
        return self._con

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._source.close()

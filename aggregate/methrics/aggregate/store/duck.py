"""The only module that imports DuckDB: opens files and translates its errors into clear ones.

While a process has a file open for writing, DuckDB lets no other process open it, even to read. A
reader then gets `FileBusyError` and reads the Parquet beside the file (`dataset.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from methrics.aggregate.store.plain_path import plain_file, plain_path
from methrics.aggregate.store.scratch import spill_folder
from methrics.node.process.streams import one_line
from methrics.schema.errors import StoreError

Connection = duckdb.DuckDBPyConnection
"""A connection to DuckDB. Each thread needs its own `cursor()`."""

Error = duckdb.Error
"""The base of DuckDB's errors."""

Relation = duckdb.DuckDBPyRelation
"""A query, which gives its rows by `to_arrow_table()`, `df()` or `fetchall()`."""

StatementType = duckdb.StatementType
"""The kinds of statements, as DuckDB parses them."""

SCHEMA_ALIAS = "methrics"
"""The name of an attached file in SQL."""

STORAGE_VERSION = "v1.5.0"
"""The file format: DuckDB 1.5 and newer can read it. The newer format of 2.0 needs DuckDB 2.0."""

WRITER_MEMORY = 1 << 30
"""Bytes of buffer memory that a writer may use, by default."""

WRITER_MEMORY_LEAST = 128 << 20
"""Bytes that a writer needs for a batch and its windows, and for a checkpoint."""

CHECKPOINT_AT = "256MB"
"""Size at which the log is merged into the file. The 99th percentile of the time that a commit
stalls is then 5 ms; with DuckDB's default it is 74 ms."""


_ALIKE = re.compile(r'Did you mean "(?!pg_|duckdb_|sqlite_|information_schema)[^"]*"\?')
"""DuckDB's suggestion, unless it names a table of its own."""

_OWN_NAME = re.compile(rf'{SCHEMA_ALIAS}\.[^" ]+ or | or {SCHEMA_ALIAS}\.[^" ]+')
"""The same table in that suggestion, by the name that an attached file has here."""

_COLUMNS = re.compile(r"Candidate bindings: ([^\n]+)")
"""DuckDB's suggestions for the name of a column."""

_of_process: dict[str, str] = {}
"""Settings of every database that this process opens: see `limit_process`."""

_of_writers = {"memory_limit": f"{WRITER_MEMORY}B"}
"""Settings of every file that this process opens for writing: see `limit_writers`."""

_HOLDER = re.compile(r"\(PID (\d{1,9})\)", re.ASCII)
"""The number of the process that has a file open."""

COMMAND_MAX = 80
"""Characters of a command line that are shown."""

FILE_HINT = "name a file that `methrics aggregate` wrote"

EMPTY_HINT = "remove it; a new one is made in its place"

DAMAGED = "store-damaged"
"""The code of the error about a file that DuckDB wrote and cannot read any more."""

_DAMAGED_AT = re.compile(r"entry at byte position (\d{1,19}) ", re.ASCII)
"""Where DuckDB finds the first damage of a log."""


class FileBusyError(StoreError):
    """Another program, or another connection of this one, has the file open."""


@contextmanager
def translated_errors(path: Path | str) -> Iterator[None]:
    """Turn errors of DuckDB and the system about the file `path` into `StoreError`.

    Codes: store-busy (`FileBusyError`), store-missing, store-foreign, store-denied, store-full,
    store-damaged, store-broken.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        # A message of DuckDB that contains a path that is not UTF-8.
        raise _store_error(Path(path), error.object.decode(errors="replace")) from error
    except (duckdb.Error, OSError) as error:
        raise _store_error(Path(path), str(error)) from error


@contextmanager
def translated_query_errors() -> Iterator[None]:
    """Turn DuckDB's errors about a query from outside into `StoreError`, code query."""
    try:
        yield
    except duckdb.Error as error:
        alike, columns = _ALIKE.search(str(error)), _COLUMNS.search(str(error))
        hint = _OWN_NAME.sub("", alike[0]) if alike else ""
        if columns:
            hint = f"did you mean {columns[1]}?"
        elif not hint and "Table with name" in str(error):
            hint = "`methrics query` without SQL lists what there is, in Python `tables()`"
        text = _first_line(str(error)).removeprefix(
            "Catalog Error: "
        )  # no catalog of an app is meant
        raise StoreError("query", text.removeprefix("Binder Error: "), hint) from error


def damaged_at(error: BaseException) -> int | None:
    """Return the offset of the first damaged entry of a log, of an error about it; else None."""
    found = _DAMAGED_AT.search(str(error.__cause__))
    return int(found[1]) if found else None


def looks_damaged(error: BaseException | None) -> bool:
    """Whether `error` of DuckDB is about a file that is gone, or that is not as it was expected."""
    # DuckDB raises its base class itself for bytes of Parquet that it cannot decode.
    if type(error) is duckdb.Error or isinstance(error, duckdb.IOException):
        return True
    return isinstance(error, duckdb.InvalidInputException) and "magic bytes" in str(error)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "the system gave no reason"


def _store_error(path: Path, text: str) -> StoreError:
    low = text.lower()
    if "could not set lock" in low or "already attached" in low or "handle conflict" in low:
        return FileBusyError(
            "store-busy", f"{path} is in use{_holder(text)}", "close the program that has it open"
        )
    if "does not exist" in low or "no such file" in low:
        return StoreError(
            "store-missing", f"{path} cannot be opened: there is no such file", FILE_HINT
        )
    if any(sign in low for sign in ("not a valid duckdb", "serialization", "storage version")):
        return StoreError("store-foreign", f"{path} is not a DuckDB file of this kind", FILE_HINT)
    if "no space left" in low or "file too large" in low or "could not write" in low:
        return StoreError("store-full", f"{path} cannot grow: {_reason(text)}", "free some space")
    if "permission denied" in low or "read-only" in low or "cannot open file" in low:
        return StoreError(
            "store-denied", f"{path} cannot be written", "check the permissions of its directory"
        )
    if "failure while replaying wal" in low:
        return StoreError(
            "store-damaged",
            f"the log of {path} is damaged",
            "`methrics aggregate` sets it aside and takes what it can from it, or restore a backup",
        )
    if "corrupt database file" in low or ("could not read enough" in low and str(path) in text):
        return StoreError(
            "store-damaged",
            f"{path} is damaged or cut short",
            "`methrics aggregate` sets it aside and takes what it can from it, or restore a backup",
        )
    return StoreError("store-broken", f"{path}: {_first_line(text)}")


def _holder(text: str) -> str:
    """Return who has a file open, as DuckDB names it, with the command if the system tells it."""
    found = _HOLDER.search(text)
    if found is None:
        return ""
    try:
        raw = Path(f"/proc/{found[1]}/cmdline").read_bytes()
    except OSError:
        raw = b""
    words = one_line(" ".join(raw.decode(errors="replace").replace("\0", " ").split()))
    return f" by process {found[1]}" + (f" ({words[:COMMAND_MAX]})" if words else "")


def _reason(text: str) -> str:
    low = text.lower()
    for words in ("no space left on device", "file too large", "disk quota exceeded"):
        if words in low:
            return words
    return "the system refused a write"


def memory() -> Connection:
    """Open a connection to an empty database in memory.

    It never downloads extensions; by default DuckDB would do so, for example to open an SQLite
    file. Data that does not fit into memory is written to a folder in that of this process (see
    `scratch`); by default it would be written to the current folder. It shows no progress; in
    an interactive Python, DuckDB would write a bar to standard output, between lines that a program
    reads. Cursors inherit that.
    """
    con = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "temp_directory": str(spill_folder()),
            **_of_process,
        },
    )
    # Where there is no bar, in Jupyter without ipywidgets, DuckDB does not even let it be set.
    if con.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
        con.execute("SET enable_progress_bar = false")
    return con


def limit_process(spill: str, threads: int) -> None:
    """Limit the temporary files (such as `1GB`) and threads of each database that this process
    opens from now on."""
    _of_process.update(max_temp_directory_size=spill, threads=str(threads))


def limit_writers(memory: int) -> None:
    """Limit the buffer memory (bytes) of each file that this process opens for writing from now
    on. What DuckDB has not room for, it reads again, or writes to temporary files."""
    _of_writers.update(memory_limit=f"{memory}B")


def open_writer(path: Path) -> Connection:
    """Open or create the file `path` for writing. It is the connection's current database.

    Raises StoreError with the codes of `translated_errors`.
    """
    con = memory()
    with translated_errors(path):
        if path.exists():
            check_regular(path, if_empty=EMPTY_HINT)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError("permission denied")
        for setting, value in _of_writers.items():
            con.execute(f"SET {setting} = '{value}'")
        con.execute(f"SET checkpoint_threshold = '{CHECKPOINT_AT}'")
        con.execute("SET python_enable_replacements = false")
        con.execute("SET preserve_insertion_order = true")
        attach_writer(con, path)
    return con


def attach_writer(con: Connection, path: Path) -> None:
    """Attach the file `path` to `con` for writing, as its current database."""
    con.execute(
        f"ATTACH {literal(plain_file(path, writing=True))} AS {SCHEMA_ALIAS} "
        f"(TYPE duckdb, STORAGE_VERSION '{STORAGE_VERSION}')"
    )
    con.execute(f"USE {SCHEMA_ALIAS}")


def checkpoint(con: Connection) -> None:
    """Merge the log into the file, unless a transaction or an unread result of another cursor keeps
    DuckDB from it: then the log stays, and the next start reads it. Raises DuckDB's errors."""
    with contextlib.suppress(duckdb.TransactionException, duckdb.ResourceInUseException):
        con.execute("CHECKPOINT")


def abandon_writer(con: Connection) -> None:
    """Close the writer `con`, and leave the file and its log as they are: DuckDB would merge them,
    and drop what it could not read."""
    with contextlib.suppress(duckdb.Error):
        con.execute("PRAGMA disable_checkpoint_on_shutdown")
    con.close()


def reattach(con: Connection, path: Path) -> None:
    """Open the file `path` of the writer `con` again, after DuckDB refused to go on with it because
    of a failed checkpoint, for example on a full disk. Other cursors of `con` go on working.

    No cursor may be in a transaction. Raises StoreError: see `translated_errors`.
    """
    with translated_errors(path), con.cursor() as fresh:  # its current database is not the file
        # The file is detached even if its last checkpoint fails, and after an earlier attempt it
        # may be detached already. If anything else is wrong, the next statement says so.
        with contextlib.suppress(duckdb.Error):
            con.execute("SELECT 1").fetchall()  # an unread result would keep the file open
        with contextlib.suppress(duckdb.Error):
            fresh.execute(f"DETACH {SCHEMA_ALIAS}")
        attach_writer(fresh, path)


def check_regular(path: Path, *, if_empty: str = FILE_HINT) -> None:
    """Raise StoreError unless `path` is a file with content, and OSError if there is no such file.
    To open a pipe would wait for a writer, and DuckDB has no clear error for an empty file.
    `if_empty`: the hint for an empty file."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise StoreError("store-foreign", f"{path} is not a regular file", FILE_HINT)
    if not found.st_size:
        raise StoreError("store-foreign", f"{path} is empty", if_empty)


def attach_reader(con: Connection, path: Path) -> None:
    """Attach the file `path` to `con` for reading only. Raises StoreError: see
    `translated_errors`."""
    with translated_errors(path):
        check_regular(path)
        file = literal(plain_file(path, writing=False))
        con.execute(f"ATTACH {file} AS {SCHEMA_ALIAS} (TYPE duckdb, READ_ONLY)")


def lock_down(con: Connection, paths: Iterable[Path], memory_limit: str) -> None:
    """Restrict `con` permanently: it can read attached files and `paths` (files and folders) only.

    Untrusted SQL then cannot write files, load extensions, use the network, read other files, see
    Python variables, or lift the restriction.
    """
    paths = [plain_path(path) for path in paths]
    folders = ", ".join(literal(path) for path in paths if path.is_dir())
    files = ", ".join(literal(path) for path in paths if not path.is_dir())
    con.execute(f"SET memory_limit = {literal(memory_limit)}")
    con.execute("SET python_enable_replacements = false")
    con.execute(f"SET allowed_directories = [{folders}]")
    con.execute(f"SET allowed_paths = [{files}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def literal(value: Path | str) -> str:
    """Quote `value` as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"


def read_parquet_files(paths: Iterable[Path], *, by_name: bool = True) -> str:
    """Return the SQL table of the Parquet files `paths`, at least one, together.

    With `by_name`, a column that is missing in some of them is empty there; to find out, the ends
    of all files are read whenever a query is planned. The names of folders do not become columns,
    as DuckDB would make them of `day=1/`. Raises StoreError `store-name`.
    """
    places = ", ".join(literal(plain_path(path)) for path in paths)
    same = ", union_by_name = true" if by_name else ""
    return f"read_parquet([{places}], hive_partitioning = false{same})"


def name(*parts: str) -> str:
    """Join `parts` to a dotted SQL name and quote each part."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def begin_reading(con: Connection) -> None:
    """Begin a transaction on `con` in which nothing can be written."""
    con.execute("BEGIN TRANSACTION READ ONLY")


def moment(seconds: int) -> str:
    """Format a time (Unix seconds) as an SQL timestamp."""
    return f"make_timestamp({seconds * 1_000_000})"

"""Puts a damaged file aside, so that a new one can take its place. Deletes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from methrics.aggregate.store.commit_marker import marker_of
from methrics.aggregate.store.duck import (
    DAMAGED,
    EMPTY_HINT,
    FILE_HINT,
    SCHEMA_ALIAS,
    Error,
    attach_reader,
    check_regular,
    damaged_at,
    memory,
    translated_errors,
)
from methrics.schema.errors import StoreError

__all__ = ["DAMAGED", "is_ours", "lent_log", "refuse_foreign", "remove_file", "set_aside"]

_LOGS = (".wal", ".wal.checkpoint", ".wal.recovery")
"""What DuckDB appends to the name of a file for its log, for the log of what is committed during a
checkpoint, and for both together when it opens the file after it was killed at that."""

_MAGIC = b"DUCK"
_MAGIC_AT = 8


def is_ours(path: Path, directory: Path) -> bool:
    """Tell whether a file is one of ours, or was one before it was damaged: it begins like a file
    of DuckDB, and is not a whole one of another program; or our Parquet `directory` is beside it.
    Another file is never moved."""
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC_AT + len(_MAGIC))
    except OSError:
        return False
    if head[_MAGIC_AT:] == _MAGIC:
        return not _of_another_program(path)
    return (directory / "manifest.json").is_file()


def _of_another_program(path: Path) -> bool:
    """Tell whether DuckDB reads a file, and its tables are not ours. Without tables it is new."""
    with memory() as con:
        try:
            attach_reader(con, path)
            rows = con.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?",
                [SCHEMA_ALIAS],
            ).fetchall()
        except (StoreError, Error):
            return False
    return bool(rows) and ("main", "meta") not in rows


def refuse_foreign(path: Path, directory: Path) -> None:
    """Raise StoreError `store-foreign` if there is a file `path` that is not one of ours, and
    `store-denied` if it cannot be read."""
    if not path.exists() or (path.is_file() and is_ours(path, directory)):
        return
    check_regular(path, if_empty=EMPTY_HINT)
    with translated_errors(path), path.open("rb"):
        raise StoreError("store-foreign", f"{path} is not a DuckDB file of this kind", FILE_HINT)


def set_aside(path: Path, directory: Path, now: int) -> Path:
    """Rename the file `path`, its log, its marker and the Parquet `directory` beside it, and return
    the new path of the file.

    `metrics.duckdb` becomes `metrics.damaged-20261129T191500Z.duckdb`. The directory gets that name
    with `.parquet`; `.log` and `.commits` are appended for the log and the marker. DuckDB does not
    apply a log of that name: see `lent_log`. No program may have the file open. `now` is in Unix
    seconds. Raises StoreError.
    """
    time = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    base = path.with_name(f"{path.stem}.damaged-{time}")
    taken = 0
    while any(base.parent.glob(f"{base.name}.*")):
        taken += 1
        base = path.with_name(f"{path.stem}.damaged-{time}-{taken}")
    aside = base.with_name(base.name + path.suffix)
    with translated_errors(path):
        # The directory first: a new file beside an old directory would remove what is in it.
        for old, new in (
            (directory, base.with_name(f"{base.name}.parquet")),
            *((Path(f"{path}{end}"), _log(aside, end)) for end in _LOGS),
            (marker_of(path), marker_of(aside)),
            (path, aside),
        ):
            if os.path.lexists(old):
                old.rename(new)
    return aside


@contextmanager
def lent_log(aside: Path) -> Iterator[None]:
    """Let DuckDB apply the log of a file that was set aside, as far as the log can be read, while
    the block reads the file. Both stay as they are."""
    lent: list[Path] = []
    try:
        with suppress(OSError):
            for end in _LOGS:
                log, shown = _log(aside, end), Path(f"{aside}{end}")
                if log.exists():
                    shown.unlink(missing_ok=True)
                    shown.hardlink_to(log)
                    lent.append(shown)
            _cut_at_damage(aside, lent)
        yield
    finally:
        for shown in lent:
            shown.unlink(missing_ok=True)


def _cut_at_damage(aside: Path, lent: list[Path]) -> None:
    """Replace the log by a copy that ends before the first entry that DuckDB refuses; remove it if
    DuckDB does not say where that is."""
    for _ in range(2 if lent else 0):
        with memory() as con:
            try:
                attach_reader(con, aside)
            except StoreError as error:
                place = damaged_at(error)
            else:
                return
        whole = lent[0].read_bytes()
        lent[0].unlink()
        if place is None:
            return
        lent[0].write_bytes(whole[:place])


def remove_file(path: Path) -> None:
    """Delete a DuckDB file with its log and its marker. Raises OSError."""
    for one in (path, *(Path(f"{path}{end}") for end in _LOGS), marker_of(path)):
        one.unlink(missing_ok=True)


def _log(aside: Path, end: str) -> Path:
    """Return the name of a log that is set aside, such as `metrics.damaged-....duckdb.log`."""
    return Path(f"{aside}.log{end.removeprefix('.wal')}")

"""Puts a damaged file aside, so that a new one can take its place. Deletes nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from methrics.aggregate.store.duck import translated_errors

DAMAGED = "store-damaged"
"""The code of the error about a file that DuckDB wrote and cannot read any more."""

_MAGIC = b"DUCK"
_MAGIC_AT = 8


def is_ours(path: Path, directory: Path) -> bool:
    """Tell whether a file that DuckDB cannot open was one of ours: it begins like a file of DuckDB,
    or our Parquet `directory` is beside it. Another file is never moved."""
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC_AT + len(_MAGIC))
    except OSError:
        return False
    return head[_MAGIC_AT:] == _MAGIC or (directory / "manifest.json").is_file()


def set_aside(path: Path, directory: Path, now: int) -> Path:
    """Rename the file `path`, its log, and the Parquet `directory` beside it, and return the new
    path of the file.

    `metrics.duckdb` becomes `metrics.damaged-20261129T191500Z.duckdb`, and its directory and its
    log get the same name with `.parquet` and `.log`. DuckDB does not apply a log of that name. No
    program may have the file open. `now` is in Unix seconds. Raises StoreError.
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
            (path.with_name(f"{path.name}.wal"), base.with_name(f"{base.name}.log")),
            (path, aside),
        ):
            if os.path.lexists(old):
                old.rename(new)
    return aside

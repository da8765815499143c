"""The file beside a DuckDB file that names the live endpoint of the aggregator that writes it.

`metrics.live.json` stands beside `metrics.duckdb` and `metrics.parquet`. It is never part of the
Parquet, which people publish. An aggregator that was killed leaves it behind, and by then the port
may belong to another program. So nobody asks there unless the process that wrote the file still
writes the DuckDB file, and `instance` is compared with what the endpoint itself says. The next
aggregator removes what was left.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from methrics.aggregate.parquet.directory import read_regular
from methrics.node.process.lock import is_held
from methrics.schema.errors import StoreError

FILE_MAX = 4096
"""Most bytes of the file, and of the lock, that are read."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """The content of the file."""

    address: str
    """Such as `http://127.0.0.1:8417`."""
    instance: str
    """A random word that the endpoint answers in `/status`."""
    process: int
    """The number of the aggregator's process."""


def live_file_beside(path: Path) -> Path:
    """Return the path for a DuckDB file, or for the Parquet directory beside one."""
    return path.with_suffix(".live.json")


def lock_beside(path: Path) -> Path:
    """Return the lock that an aggregator holds while it writes the DuckDB file `path`. It has the
    number of the process that held it last."""
    return Path(f"{path.absolute()}.lock")


def writer_of(path: Path) -> int | None:
    """Return the number of the aggregator's process that writes the file `path`, or None."""
    lock = lock_beside(path)
    try:
        number = int(read_regular(lock.parent, lock.name, FILE_MAX) or b"")
    except (StoreError, ValueError):
        return None
    return number if is_held(str(lock)) else None


def write_live_file(path: Path, live: LiveFile) -> None:
    """Write the file beside the DuckDB file `path`, for its owner only. Raises OSError."""
    target = live_file_beside(path)
    new = target.with_name(f"{target.name}.tmp")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(live), file)
    new.replace(target)


def remove_live_file(path: Path, instance: str) -> None:
    """Remove the file beside `path` if it names this instance."""
    live = read_live_file(path)
    if live is not None and live.instance == instance:
        live_file_beside(path).unlink(missing_ok=True)


def remove_left_live_file(path: Path) -> None:
    """Remove what an aggregator that was killed left beside `path`. Raises OSError. Only the one
    that writes the file may call this."""
    live_file_beside(path).unlink(missing_ok=True)


def read_live_file(path: Path) -> LiveFile | None:
    """Return what the file beside `path` says; None without a file of that form."""
    try:
        beside = live_file_beside(path)
        found = json.loads(read_regular(beside.parent, beside.name, FILE_MAX) or b"")
        live = LiveFile(**found)
    except (StoreError, ValueError, TypeError, RecursionError):
        return None
    if not (isinstance(live.address, str) and live.address.startswith("http://")):
        return None
    return live

"""Measures the disk space that an aggregator uses, in a thread: a folder may have many files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import trio

MEASURED_FOR = 5.0
"""Seconds for which a measurement is used again, however often somebody asks."""

UNKNOWN: Mapping[str, int] = {"file": 0, "log": 0, "parquet": 0, "free": 0}
"""What is told before the first measurement."""


class DiskUse:
    """The space on disk of the DuckDB file `path` and of its Parquet in the folder `parquet`."""

    def __init__(self, path: Path, parquet: Path) -> None:
        self._path = path
        self._parquet = parquet
        self._one = trio.Lock()
        self._until = -1.0
        self.now = UNKNOWN
        """Bytes as of the last measurement: `file`, its `log`, `parquet`, and `free` on the
        disk."""

    async def measure(self) -> None:
        """Bring `now` up to date, unless it was measured a moment ago."""
        async with self._one:
            if trio.current_time() < self._until:
                return
            self.now = await trio.to_thread.run_sync(_measured, self._path, self._parquet)
            self._until = trio.current_time() + MEASURED_FOR


def _measured(path: Path, parquet: Path) -> Mapping[str, int]:
    try:
        free, _ = free_space(path.parent)
    except OSError:
        free = 0  # a file system that does not tell
    return {
        "file": size_of(path),
        "log": size_of(Path(f"{path}.wal")),
        "parquet": _tree_size(parquet),
        "free": free,
    }


def free_space(folder: Path) -> tuple[int, int]:
    """Return the bytes that this user may still write on the disk of `folder`, and its size. Raises
    OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tree_size(folder: Path) -> int:
    """Return the sum of the sizes of all files under `folder`; files may vanish meanwhile."""
    total, folders = 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += size_of(Path(entry.path))
        except OSError:
            continue
    return total

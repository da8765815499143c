"""A folder of this process for what DuckDB writes when memory is short, and for fetched files.

They have raw bytes of reports, and a process that is killed cannot remove them. So each process has
one folder, readable by its user only, with a lock that ends with the process. Whoever makes such a
folder first removes those of this user whose lock is free.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

from methrics.node.process.lock import FileLock

PREFIX = "methrics-run-"
"""The names of the folders begin with it."""

LOCK = "lock"

ODD = re.compile(r"[*?\[\]\\\ud800-\udfff]")
"""Characters that DuckDB does not take literally. The last are bytes that are not UTF-8, as Python
decodes them."""

_own: list[tuple[int, Path, FileLock]] = []
"""The folder of this process, with the process's id."""


def plain_temporary() -> Path:
    """Return the folder for temporary files. If DuckDB cannot use the name of the usual one, it is
    another one of the system, if there is one."""
    usual = tempfile.gettempdir()
    for folder in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        if not ODD.search(folder) and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    return Path(usual)


def scratch_folder() -> Path:
    """Return this process's folder, which is made when it is first needed, and removed when the
    process ends. Raises OSError."""
    if _own and _own[0][0] == os.getpid() and _own[0][1].is_dir():
        return _own[0][1]
    place = plain_temporary()
    sweep(place)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = FileLock(str(folder / LOCK))
        # Between both lines another process may have found the lock free, and removed the folder.
        if lock.try_acquire() and os.path.exists(lock.path):
            break
        lock.release()
    _own[:] = [(os.getpid(), folder, lock)]
    atexit.register(_remove, os.getpid(), folder, lock)
    return folder


def spill_folder() -> Path:
    """Return the name of a new folder in which DuckDB may write. DuckDB makes it when it needs it,
    and removes it."""
    try:
        folder = scratch_folder()
    except OSError:
        folder = plain_temporary()  # nothing can be written there: then DuckDB says so
    return folder / f"methrics-{secrets.token_hex(8)}"


def sweep(place: Path) -> None:
    """Remove the folders in `place` that killed processes of this user have left."""
    try:
        found = [entry.path for entry in os.scandir(place) if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for path in map(Path, found):
        if _is_own(path) and (path / LOCK).is_file():
            _remove_if_free(path)


def _is_own(path: Path) -> bool:
    """Whether `path` is a folder, and no link, of this user that nobody else can change."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _remove_if_free(folder: Path) -> None:
    lock = FileLock(str(folder / LOCK))
    try:
        if lock.try_acquire():
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # it has just been removed
    finally:
        lock.release()


def _remove(owner: int, folder: Path, lock: FileLock) -> None:
    """Remove `folder`, unless this process is a fork of the `owner` that still uses it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()

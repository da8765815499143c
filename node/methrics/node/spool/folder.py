"""The files of a spool folder: their names, their locks, and when a report may be due.

    <data>/<namespace>/outbox.db             the SQLite file, which apps do not open
    <data>/<namespace>/due                   when a publisher is needed next
    <data>/<namespace>/spool/<name>.events   frames appended by one process, which holds its lock
    <data>/<namespace>/spool/<name>.slots    counts and states of the same process
    <data>/<namespace>/spool/<id>.catalog    a catalog that records refer to

The operating system releases the lock of a process that ends, and a forked child closes its copy
of the descriptor. Where a file system has no locks, a spool counts as abandoned if its files did
not change for STALE seconds.

Both files begin with the byte FIRST. A file without it was truncated, or a reader has emptied slots
of it: its process leaves it, and no other process takes it over, because what was read of it is
known by offsets.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os

from methrics.node.process.foreign import pass_on
from methrics.schema.errors import StoreError

EVENTS, SLOTS, CATALOG = ".events", ".slots", ".catalog"

FIRST = b"M"
"""The first byte of an event file and of a slot file."""

STALE = 86_400
"""Seconds. See above."""

VISIT = b"visit"
"""Ends a stored time that is the one of the next visit."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_UNOPENED = {errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}

_HINTS = {
    "outbox-full": "free some disk space, or publish what is waiting",
    "outbox-read-only": "make the folder writable, or set METHRICS_HOME",
    "outbox-unopened": "check the folder and its permissions, or set METHRICS_HOME",
    "outbox-disk": "check the disk",
}


_serials = itertools.count(int.from_bytes(os.urandom(6), "big"))


def spool_folder(outbox: str) -> str:
    """Returns the spool folder that belongs to the outbox file `outbox`."""
    return os.path.join(os.path.dirname(outbox), "spool")


def spool_error(error: OSError, path: str) -> StoreError:
    """Returns the StoreError for an error of the file system."""
    if error.errno in _FULL:
        code = "outbox-full"
    elif error.errno in _FORBIDDEN:
        code = "outbox-read-only"
    else:
        code = "outbox-unopened" if error.errno in _UNOPENED else "outbox-disk"
    detail = error.strerror or type(error).__name__
    return StoreError(code, f"cannot use the spool {path}: {detail}", _HINTS[code])


def full_error(path: str, why: str) -> StoreError:
    """Returns the StoreError `outbox-full`."""
    return StoreError("outbox-full", f"cannot use the spool {path}: {why}", _HINTS["outbox-full"])


def lock(fd: int) -> bool | None:
    """Tries to lock the open file `fd`. Returns whether that worked, None if there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def is_linked(fd: int, path: str) -> bool:
    """Whether the open file `fd` is still the file at `path`."""
    try:
        found = os.stat(path)
    except OSError as error:
        pass_on(error)
        return False
    own = os.fstat(fd)
    return (found.st_ino, found.st_dev) == (own.st_ino, own.st_dev)


def spool_names(folder: str) -> list[str]:
    """Returns the names of the spools in `folder`, sorted. Raises OSError if it cannot be read."""
    try:
        files = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(name[: -len(EVENTS)] for name in files if name.endswith(EVENTS))


def used_bytes(folder: str) -> int:
    """Returns the size of all files in `folder`. Raises OSError if it cannot be read."""
    total = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            total += os.lstat(os.path.join(folder, name)).st_size
    return total


def temporary_name(path: str) -> str:
    """Returns a name for a file that will replace `path`. A process id alone is not unique:
    containers may share the folder, and a signal handler may write the same file meanwhile."""
    return f"{path}.{os.getpid()}.{next(_serials):x}"


def _due_file(folder: str) -> str:
    return os.path.join(os.path.dirname(folder), "due")


def read_due(folder: str, now: int) -> int | None:
    """Returns when a publisher is needed next (Unix seconds): at the next visit to an entry, or
    else at the earliest time at which a report or erasure of this outbox may be due; None if
    nothing is pending. A time that is not known counts as due now: it was never written, cannot be
    read, or was written more than STALE seconds before `now` (or after it), so that it may lack
    what a killed process recorded."""
    return _read_due(folder, now)[0]


def _read_due(folder: str, now: int) -> tuple[int | None, bool]:
    """Returns the time, and whether it is that of a visit."""
    try:
        # A pipe in its place must not be waited for.
        fd = os.open(_due_file(folder), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        pass_on(error)
        return now, False
    try:
        due, written, *visit = [*os.read(fd, 64).split(b" "), b""][:3]
    except OSError as error:
        pass_on(error)
        return now, False
    finally:
        os.close(fd)
    if not written.isdigit() or not 0 <= now - int(written) <= STALE:
        return now, False
    if due == b"-":
        return None, False
    return (int(due), visit == [VISIT]) if due.isdigit() else (now, False)


def write_due(folder: str, due: int | None, visit: int | None = None, *, now: int) -> None:
    """Stores the earliest time at which something is due, or in its place the time of the next
    visit, if one was drawn, and that this was so `now` (Unix seconds). Raises OSError."""
    path = _due_file(folder)
    temporary = temporary_name(path)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    when = due if visit is None else visit
    try:
        text = b"%s %d" % (b"-" if when is None else b"%d" % max(0, when), max(0, now))
        os.write(fd, text if visit is None else text + b" " + VISIT)
    finally:
        os.close(fd)
    os.replace(temporary, path)


def lower_due(folder: str, due: int, now: int) -> None:
    """Stores `due` if it is earlier than the stored time. The time of a visit stays: it does not
    depend on what is due. Raises no error of its own: a time that is not stored only delays the
    publisher, by at most STALE seconds."""
    try:
        known, visit = _read_due(folder, now)
        if not visit and (known is None or due < known):
            write_due(folder, due, now=now)
    except OSError as error:
        pass_on(error)

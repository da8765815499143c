"""A lock between processes, which is released even if its holder is killed (POSIX only)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from types import TracebackType

from methrics.node.process.folders import make_private


class FileLock:
    """An exclusive lock: one object in one process holds the lock at `path`. The operating system
    releases the lock when the holder's process ends. A forked child does not hold it.

    `with FileLock(path):` waits for the lock; `try_acquire()` does not. The lock file is never
    removed, because then two holders could lock two different files of the same name.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Acquires the lock if it is free; returns whether this object now holds it. Raises OSError
        if the file cannot be made."""
        return self._acquire(wait=False)

    def _acquire(self, *, wait: bool) -> bool:
        if self._fd is not None:
            return True
        make_private(os.path.dirname(self.path))
        with _guard:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._fd = fd
            _opened.add(self)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self._close()
            return False
        except BaseException:
            self._close()
            raise
        return True

    def release(self) -> None:
        """Releases the lock; does nothing if this object does not hold it."""
        if self._fd is not None:
            # Closing does not release the lock while a child that C code forked has the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._close()

    def _close(self) -> None:
        with _guard:
            fd, self._fd = self._fd, None
            _opened.discard(self)
            if fd is not None:
                os.close(fd)

    def __enter__(self) -> FileLock:
        self._acquire(wait=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


_opened: weakref.WeakSet[FileLock] = weakref.WeakSet()
_guard = threading.RLock()
"""Held while a descriptor is opened or closed, and during a fork, so that a child gets no
descriptor that is not in `_opened` yet. It is reentrant because a signal handler may fork."""


def _close_in_child() -> None:
    """Closes the descriptors that a forked child shares with its parent. Otherwise the child would
    hold the locks after the parent has ended."""
    try:
        for lock in list(_opened):
            with contextlib.suppress(OSError):
                lock._close()
    finally:
        _guard.release()


os.register_at_fork(
    before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_close_in_child
)


def is_held(path: str) -> bool:
    """Whether some process holds the lock at `path` now. Makes no file. To find out, it acquires a
    free lock for a moment."""
    if not os.path.exists(path):
        return False
    lock = FileLock(path)
    try:
        free = lock.try_acquire()
    except OSError:
        return False
    lock.release()
    return not free

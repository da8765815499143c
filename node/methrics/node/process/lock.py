"""A lock between processes that ends with its holder, even after a kill -9 (POSIX only)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from types import TracebackType


class FileLock:
    """Exclusive: one object in one process holds the lock at a path. The operating system frees the
    lock when the holder dies. A forked child does not hold it.

    `with FileLock(path):` waits; `try_acquire()` does not. The lock file is never removed, because
    then two holders could lock two different files of the same name.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """True if this object holds the lock now. Raises OSError if the file cannot be made."""
        return self._acquire(wait=False)

    def _acquire(self, *, wait: bool) -> bool:
        if self._fd is not None:
            return True
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
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
        """Frees the lock; does nothing if this object does not hold it."""
        if self._fd is not None:
            # Closing is not enough while a child that was forked in C has the descriptor, too.
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
"""Held while a descriptor is opened or closed, and by a fork: no child gets a descriptor that is
not in `_opened` yet. A fork from a signal handler may enter it again."""


def _close_in_child() -> None:
    """A child shares the descriptor, and would keep the lock when its parent has died."""
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
    """Whether some process holds the lock at `path` now. Makes no file."""
    if not os.path.exists(path):
        return False
    lock = FileLock(path)
    try:
        free = lock.try_acquire()
    except OSError:
        return False
    lock.release()
    return not free

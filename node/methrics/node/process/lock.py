"""A lock between processes that a kill -9 cannot leave behind."""

from __future__ import annotations

import os
import sys
from types import TracebackType

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _take(fd: int, wait: bool) -> None:
        msvcrt.locking(fd, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(fd: int, wait: bool) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """Exclusive while held; the operating system frees it when the holder dies.

    `with FileLock(path):` waits; `try_acquire()` does not. The lock file stays where it is:
    removing it would let two holders lock two different files of the same name.
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
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(fd, wait)
        except (BlockingIOError, PermissionError):
            os.close(fd)
            return False
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Frees the lock; nothing happens if it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

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

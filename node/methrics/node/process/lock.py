"""A lock between processes, which is released even if its holder is killed (POSIX only)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from types import TracebackType

from methrics.node.process.folders import make_private
from methrics.node.process.inherited import opening, watch


class FileLock:
    """An exclusive lock: one object in one process holds the lock at `path`. The operating system
    releases the lock when the holder's process ends. A forked child does not hold it.

    `with FileLock(path):` waits for the lock; `try_acquire()` does not. The lock file is never
    removed, because then two holders could lock two different files of the same name. A link in its
    place is not followed: in a shared folder, it may lead to any file of this user.
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
        with opening.hold():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self.path, flags, 0o600)
            self._fd = fd
            watch(self)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self.close_inherited()
            return False
        except BaseException:
            self.close_inherited()
            raise
        return True

    def write(self, text: str) -> None:
        """Replaces the content of the lock file. Only the holder may call this. Raises OSError."""
        assert self._fd is not None, "the lock is not held"
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def release(self) -> None:
        """Releases the lock; does nothing if this object does not hold it."""
        if self._fd is not None:
            # Closing alone does not release the lock while a forked child has the descriptor.
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.close_inherited()

    def close_inherited(self) -> None:
        with opening.hold():
            fd, self._fd = self._fd, None
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

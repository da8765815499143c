"""The open files of one process's spool, and the slots in them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from methrics.node.process.foreign import pass_on
from methrics.node.process.inherited import watch
from methrics.node.spool.folder import EVENTS, FIRST, SLOTS, is_linked

if TYPE_CHECKING:
    from collections.abc import Callable


LOW = 256
"""Least number of a spool's descriptor, where the limit of the process allows it."""


class Slot:
    """`value`: the total of a count, or the number of writes of a state."""

    __slots__ = ("offset", "room", "value")

    def __init__(self, offset: int, value: int, room: int = 0) -> None:
        self.offset = offset
        self.value = value
        self.room = room


class SpoolFiles:
    """The open files of one process. They are closed when no thread uses this object any more, so
    a write never goes to a descriptor that was closed and opened again by the app. An app may close
    all descriptors, as a daemon does; a number that then belongs to another file is not closed."""

    __slots__ = (
        "__weakref__",
        "events",
        "inodes",
        "owner",
        "path",
        "slots",
        "slots_end",
        "spent",
        "taken",
    )

    def __init__(self, path: str, events: int, size: int, slots: int, slots_end: int) -> None:
        self.events, self.slots = events, slots
        self.inodes = [os.fstat(fd).st_ino for fd in (events, slots)]
        self.path = path
        self.owner = os.getpid()
        self.spent = size
        self.slots_end = slots_end
        self.taken: dict[tuple[bytes, int, bytes], Slot] = {}
        watch(self)

    def is_gone(self) -> bool:
        """Whether the files were removed, replaced, truncated or emptied, or belong to another
        process."""
        if self.owner != os.getpid():
            return True
        ends = (self.events, EVENTS, self.spent), (self.slots, SLOTS, self.slots_end)
        return any(
            not is_linked(fd, self.path + suffix)
            or os.fstat(fd).st_size < end
            or os.pread(fd, len(FIRST), 0) != FIRST
            for fd, suffix, end in ends
        )

    def close(
        self,
        close: Callable[[int], None] = os.close,
        stat: Callable[[int], os.stat_result] = os.fstat,
        flock: Callable[[int, int], None] = fcntl.flock,
        unlock: int = fcntl.LOCK_UN,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        # This may run when the interpreter ends, and modules such as `os` are gone.
        own = self.owner == getpid()
        for fd, inode in zip((self.events, self.slots), self.inodes, strict=False):
            try:
                if stat(fd).st_ino == inode:
                    if own:  # a child that is forked right now keeps no lock
                        flock(fd, unlock)
                    close(fd)
            except OSError as error:
                if error.errno is None:  # of a signal handler of the app, such as a time limit
                    raise
        self.events = self.slots = -1

    def close_inherited(self) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "inodes"):  # otherwise a signal handler has interrupted `__init__`
            self.close()


def raised(fd: int) -> int:
    """Returns `fd`, moved to a number of LOW or more if the process may use one: an app that closes
    all its descriptors and opens its own gets the lowest numbers. Raises OSError."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOW)
    except OSError as error:
        pass_on(error)
        return fd
    os.close(fd)
    return high

"""Reads a whole regular file, and never waits for a pipe or a device in its place."""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = os.O_RDONLY
for _name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NONBLOCK"):  # each system has some of them
    _FLAGS |= getattr(os, _name, 0)


def read_regular(path: str, most: int) -> bytes:
    """Returns the content of the file `path`, at most its first `most` bytes. A link is followed.

    Raises OSError, also if `path` is a pipe, a device or a folder: to read from those can take for
    ever. Raises ValueError if the system cannot name `path`.
    """
    fd = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        parts: list[bytes] = []
        left = most
        while left > 0 and (part := os.read(fd, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)

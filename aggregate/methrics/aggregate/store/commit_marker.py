"""The number of the file's last commit, in a small file of its own beside it.

DuckDB reads its log up to the first entry that is cut off, and says nothing of the rest. So a log
that was cut loses commits that were acknowledged, and nobody notices. Here the number of a commit
is on disk before the commit is acknowledged, in the DuckDB file and beside it: a file that is
opened with a lower number than the one beside it has lost commits.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = 16
"""Length of the random id that tells one DuckDB file from another."""

_FORM = re.compile(rb"methrics commits 1\n([0-9a-f]{32}) (\d{20})\n", re.ASCII)
_LENGTH = 73
"""Bytes, which never change: the file is overwritten in place, within one sector of the disk."""


@dataclass(frozen=True, slots=True)
class Mark:
    """That the DuckDB file with the id `file` has as many commits as `number`."""

    file: bytes
    number: int


def encode_mark(mark: Mark) -> bytes:
    """Return the text of the marker."""
    return b"methrics commits 1\n%s %020d\n" % (mark.file.hex().encode(), mark.number)


def decode_mark(data: bytes) -> Mark | None:
    """Return what the marker says; None if it is not one, such as after damage to itself."""
    found = _FORM.fullmatch(data)
    return None if found is None else Mark(bytes.fromhex(found[1].decode()), int(found[2]))


def marker_of(path: Path) -> Path:
    """Return the path of the marker of a DuckDB file, such as `metrics.duckdb.commits`. It is where
    DuckDB keeps the log: beside the file itself, if `path` is a link."""
    return Path(f"{os.path.realpath(path)}.commits")


class CommitMarker:
    """The marker of the DuckDB file `path`. Methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = marker_of(path)
        self._number: int | None = None
        """The descriptor, once it was written."""

    def read(self) -> Mark | None:
        """Return the mark on disk; None if there is none, or if it is damaged."""
        try:
            with self.path.open("rb") as file:
                return decode_mark(file.read(_LENGTH + 1))
        except FileNotFoundError:
            return None

    def write(self, mark: Mark) -> None:
        """Put a mark on disk. It takes the place of the one before at once."""
        if self._number is None:
            self._number = self._open()
        os.pwrite(self._number, encode_mark(mark), 0)
        _sync(self._number)

    def _open(self) -> int:
        """Open the marker; make it, and sync its folder, if there is none."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            number = os.open(self.path, flags)
        except FileNotFoundError:
            number = os.open(self.path, flags | os.O_CREAT, 0o666)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        if os.fstat(number).st_size != _LENGTH:
            os.ftruncate(number, 0)
        return number

    def close(self) -> None:
        """Close the marker. It may be written again."""
        if self._number is not None:
            number, self._number = self._number, None
            os.close(number)


_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

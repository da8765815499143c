"""Writes Parquet files that never change: each has a name of its own, and is on disk when named."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from methrics.aggregate.store.duck import Connection, literal
from methrics.aggregate.store.plain_path import plain_path

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: its path in the directory, rows, bytes and SHA-256."""

    name: str
    rows: int
    size: int
    sha256: bytes


class Files:
    """Writes the files of one directory, from queries that `con` runs."""

    def __init__(self, con: Connection, directory: Path) -> None:
        self._con = con
        self._directory = directory
        self._folders: set[Path] = set()
        self._made: list[Path] = []

    def write(self, query: str, stem: str) -> Written:
        """Write the rows of `query` as a new file, whose name begins with `stem`."""
        name = f"{stem}{secrets.token_hex(6)}.parquet"
        target = self._directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(target.name + ".tmp")
        self._made += [target, half]
        place = plain_path(self._directory) / half.relative_to(self._directory)
        row = self._con.execute(
            f"COPY ({query}) TO {literal(place)} (FORMAT parquet, COMPRESSION zstd)"
        ).fetchone()
        size, digest = synced(half)
        half.replace(target)
        folder = target.parent
        while folder not in self._folders and folder != self._directory.parent:
            self._folders.add(folder)
            folder = folder.parent
        return Written(name, int(row[0]) if row else 0, size, digest)

    def sync(self) -> None:
        """Make the names of all files that were written last on disk."""
        for folder in self._folders:
            sync_folder(folder)
        self._folders.clear()

    def discard(self) -> None:
        """Delete all files that were written, because nothing is going to name them."""
        for path in self._made:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        self._made.clear()


def synced(path: Path) -> tuple[int, bytes]:
    """Sync a file to disk; return its size and SHA-256."""
    state, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while piece := file.read(_PIECE):
            state.update(piece)
            size += len(piece)
    return size, state.digest()


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk."""
    with suppress(FileNotFoundError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def replace_file(path: Path, text: bytes, writer: str = "") -> None:
    """Write a small file under another name, and rename it when it is on disk. If several write it,
    each names itself as `writer`."""
    half = path.with_name(f"{path.name}{writer and '.' + writer}.tmp")
    half.write_bytes(text)
    synced(half)
    half.replace(path)
    sync_folder(path.parent)

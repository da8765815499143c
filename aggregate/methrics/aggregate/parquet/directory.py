"""Reads a directory of Parquet on this machine: its manifest, and where its files are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from methrics.aggregate.parquet.manifest import (
    MANIFEST,
    MANIFEST_MAX,
    File,
    Manifest,
    decode_manifest,
)
from methrics.aggregate.store.duck import check_regular, translated_errors
from methrics.aggregate.store.plain_path import plain_path
from methrics.aggregate.store.tables import BASE
from methrics.schema.errors import StoreError

SAME_COLUMNS = frozenset({"item", *BASE})
"""Tables whose columns never change, so that planning a query need not look into all files."""


def read_directory(directory: Path, name: str = MANIFEST) -> Manifest:
    """Read the manifest of a directory, the file `name`. Raises StoreError: store-foreign,
    store-version, store-lake, store-denied."""
    text = read_regular(directory, name)
    if text is None:
        raise StoreError(
            "store-foreign",
            f"{directory} is not a methrics Parquet directory: it has no {name}",
            "name the directory that an aggregator writes beside its file, such as metrics.parquet",
        )
    return decode_manifest(text, str(directory))


def read_regular(directory: Path, name: str, most: int = MANIFEST_MAX + 1) -> bytes | None:
    """Return the first `most` bytes of the file `name` of a directory; None without one. Raises
    StoreError: store-foreign, store-denied."""
    try:
        # Nothing waits for a pipe of that name.
        number = os.open(directory / name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError("store-denied", f"{directory / name}: {error.strerror}") from error
    with os.fdopen(number, "rb") as file, translated_errors(directory / name):
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise StoreError("store-foreign", f"{directory / name} is not a regular file")
        return file.read(most)


def is_parquet(path: Path) -> bool:
    """Whether the file `path` begins like a Parquet file. Raises StoreError, also for an empty file
    or one that is no regular file."""
    with translated_errors(path):
        check_regular(path)
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"


def places(directory: Path, files: Iterable[File]) -> list[Path]:
    """Return the paths of `files` in `directory`. Raises StoreError `store-foreign` for a pipe or
    the like in the place of one, as nobody should wait for it."""
    plain = plain_path(directory)
    found = [plain / one.name for one in files]
    for path in found:
        if path.exists() and not path.is_file():
            raise StoreError("store-foreign", f"{path} is not a regular file")
    return found

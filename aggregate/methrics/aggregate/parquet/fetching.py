"""Fetches one file over http(s), up to a maximum size. Every failure raises a clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from methrics.schema.errors import LocalError, UnreachableError

SIZE_MAX = 4 * 1024**3
"""Maximum size of a fetched data set in bytes: some 100 million reports."""

PATIENCE = 30.0
"""Seconds to wait for an answer, or for the next part of an answer."""

Progress = Callable[[str], None]
"""Called with a short progress line, such as `metrics.duckdb: 3.1 of 12.0 MB`, when it changes."""

_PIECE = 1024 * 1024
_ABSENT = frozenset({404, 410})


def silent(line: str) -> None:
    """A `Progress` that shows nothing."""


def fetch(
    address: str,
    target: Path,
    *,
    size_max: int = SIZE_MAX,
    progress: Progress = silent,
    may_be_absent: bool = False,
) -> str | None:
    """Write the content of `address` to the file `target`.

    Returns the address after redirections. If `may_be_absent` is set and the server has no such
    file, writes no file and returns None.

    Raises UnreachableError `download-failed`, LocalError `download-too-large`.
    """
    try:
        # The caller checked the scheme; urllib follows redirections to http(s) and ftp only.
        with urlopen(Request(address), timeout=PATIENCE) as answer, target.open("wb") as file:
            length = answer.headers.get("Content-Length", "")
            size = int(length) if length.isdigit() else None
            if size is not None and size > size_max:
                raise too_large(address, size_max)
            _copy(answer, file, address, size_max, lambda done: progress(_line(target, done, size)))
            if size is not None and file.tell() < size:
                raise failed(address, "the connection ended early")
            return str(answer.url)
    except HTTPError as error:
        error.close()
        if may_be_absent and error.code in _ABSENT:
            return None
        raise failed(address, f"{error.code} {error.reason}") from error
    except URLError as error:
        raise failed(address, str(error.reason)) from error
    except (OSError, ValueError) as error:
        raise failed(address, str(error)) from error


def _copy(
    answer: IO[bytes], file: IO[bytes], address: str, size_max: int, step: Callable[[int], None]
) -> None:
    fetched = 0
    while piece := answer.read(_PIECE):
        fetched += len(piece)
        if fetched > size_max:
            raise too_large(address, size_max)
        file.write(piece)
        step(fetched)


def _line(target: Path, done: int, size: int | None) -> str:
    return f"{target.name}: {megabytes(done)}" + (f" of {megabytes(size)}" if size else "") + " MB"


def megabytes(size: int) -> str:
    """Format a number of bytes in megabytes, with one decimal."""
    return f"{size / 1e6:,.1f}"


def too_large(address: str, size_max: int) -> LocalError:
    """Return the error for content that is larger than `size_max` bytes."""
    return LocalError(
        "download-too-large",
        f"{address} is larger than {size_max:,} bytes",
        "fetch it yourself and give the file",
    )


def failed(address: str, why: str) -> UnreachableError:
    """Return the error for any other failure."""
    return UnreachableError("download-failed", f"{address} cannot be fetched: {why}")

"""A public data file on this machine, wherever it is: a path, or an address fetched whole.

Fetching all of it tells the server nothing about which report in it is whose.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, url2pathname, urlopen

from methrics.schema.errors import ConfigError, LocalError, UnreachableError

SIZE_MAX = 4 * 1024**3
"""Bytes of a file that is fetched: some 100 million reports."""

PATIENCE = 30.0
"""Seconds without an answer, or between two pieces of it."""

_PIECE = 1024 * 1024


def local_copy(source: str, folder: Path, *, size_max: int = SIZE_MAX) -> Path:
    """The file or directory that `source` names: itself if it is a path or a file: address, else
    what http(s) answers, written into `folder`.

    Raises ConfigError for another kind of address, UnreachableError `download-failed`, LocalError
    `download-too-large`.
    """
    if "://" not in source:
        return Path(source)
    parts = urlsplit(source)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            "address", f"{source} cannot be fetched", "give a path, or a http, https or file URL"
        )
    target = folder / (Path(parts.path).name or "data.duckdb")
    try:
        # The scheme was checked above, and urllib follows redirections to http(s) and ftp only.
        with urlopen(Request(source), timeout=PATIENCE) as answer, target.open("wb") as file:
            length = answer.headers.get("Content-Length", "0")
            if length.isdigit() and int(length) > size_max:
                raise _too_large(source, size_max)
            _copy(source, answer, file, size_max)
            short = length.isdigit() and 0 < file.tell() < int(length)
    except HTTPError as error:
        error.close()
        raise _failed(source, f"{error.code} {error.reason}") from error
    except URLError as error:
        raise _failed(source, str(error.reason)) from error
    except (OSError, ValueError) as error:
        raise _failed(source, str(error)) from error
    if short:
        raise _failed(source, "the connection ended early")
    return target


def _copy(source: str, answer: IO[bytes], file: IO[bytes], size_max: int) -> None:
    fetched = 0
    while piece := answer.read(_PIECE):
        fetched += len(piece)
        if fetched > size_max:
            raise _too_large(source, size_max)
        file.write(piece)


def _too_large(source: str, size_max: int) -> LocalError:
    return LocalError(
        "download-too-large",
        f"{source} is larger than {size_max:,} bytes",
        "fetch it yourself and give the file",
    )


def _failed(source: str, why: str) -> UnreachableError:
    return UnreachableError("download-failed", f"{source} cannot be fetched: {why}")

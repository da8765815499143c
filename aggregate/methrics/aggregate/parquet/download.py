"""Makes a public data set available on this machine: opens a path, or fetches an address.

`local_copy` fetches everything, so the server does not learn which report is of interest.
`found_at` fetches a single file, and leaves a directory to `RemoteDirectory`.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

from methrics.aggregate.parquet.fetching import SIZE_MAX, Progress, Session, silent
from methrics.aggregate.parquet.manifest import MANIFEST
from methrics.aggregate.parquet.mirror import mirror
from methrics.schema.errors import ConfigError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(source: str) -> bool:
    """Whether `source` is an address, that is, not a path."""
    return _ADDRESS.match(source) is not None


def local_copy(
    source: str,
    folder: Path,
    *,
    size_max: int = SIZE_MAX,
    progress: Progress = silent,
    ids_only: bool = False,
) -> Path:
    """Return the local file or directory for `source`, and fetch it first if necessary.

    A path or a file: address is used directly; http(s) content is written into `folder`. The
    address of a directory of Parquet ends in a slash (or redirects to one that does), or names the
    manifest in the directory. All files of a directory are fetched; with `ids_only`, only the files
    with ids.

    Raises ConfigError for another kind of address, UnreachableError `download-failed`, LocalError
    `download-too-large`, and StoreError for a directory that is not an export.
    """
    found = found_at(source, folder, size_max=size_max, progress=progress)
    if isinstance(found, Path):
        return found
    target = folder / name_of(found)
    return mirror(found, target, size_max=size_max, progress=progress, ids_only=ids_only)


def found_at(
    source: str, folder: Path, *, size_max: int = SIZE_MAX, progress: Progress = silent
) -> Path | str:
    """Return the path of `source`, or the address of a directory, which ends in a slash.

    A file at an http(s) address is fetched into `folder`. Raises as `local_copy` does.
    """
    if not is_address(source):
        return Path(source)
    parts = parts_of(source)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    if parts.path.endswith(f"/{MANIFEST}"):
        return parts._replace(path=parts.path.removesuffix(MANIFEST)).geturl()
    if parts.path.endswith("/") or not parts.path:
        return parts._replace(path=parts.path or "/").geturl()
    target = folder / name_of(source)
    with Session() as session:
        address = session.fetch(source, target, size_max=size_max, progress=progress).address
    if not urlsplit(address).path.endswith("/"):
        return target
    target.unlink()  # redirected to a directory: the content is a listing
    return address


def name_of(address: str) -> str:
    """Return the last part of the path of an address as the name of a file: never one that leads
    out of a folder, as whoever redirects a reader chooses the address."""
    last = Path(urlsplit(address).path).name
    return last if last not in ("", ".", "..") and "\0" not in last else "data"


def parts_of(source: str) -> SplitResult:
    """Return the parts of an address of a known kind. Raises ConfigError."""
    refused = ConfigError(
        "address", f"{source} cannot be fetched", "give a path, or a http, https or file URL"
    )
    try:
        parts = urlsplit(source)
    except ValueError as error:  # such as http://[
        raise refused from error
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return parts
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refused
    return parts

"""Makes a public data set available on this machine: opens a path, or fetches all of an address.

Because everything is fetched, the server does not learn which report is of interest.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from methrics.aggregate.parquet.fetching import SIZE_MAX, Progress, fetch, silent
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
    if not is_address(source):
        return Path(source)
    refused = ConfigError(
        "address", f"{source} cannot be fetched", "give a path, or a http, https or file URL"
    )
    try:
        parts = urlsplit(source)
    except ValueError as error:  # such as http://[
        raise refused from error
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refused
    name = Path(parts.path).name
    if name == MANIFEST:
        source, name = source[: source.rindex(MANIFEST)], Path(parts.path).parent.name
    target = folder / (name or "data")
    if not source.endswith("/"):
        found = fetch(source, target, size_max=size_max, progress=progress)
        if not str(found).endswith("/"):
            return target
        source = str(found)  # redirected to a directory: the content is a listing
        target.unlink()
    return mirror(source, target, size_max=size_max, progress=progress, ids_only=ids_only)

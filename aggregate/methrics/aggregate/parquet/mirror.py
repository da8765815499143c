"""Fetches a whole Parquet directory from an address: every file that its manifest lists.

Everything is fetched, in the order of the manifest, so the server learns nothing about what is
wanted from it. Every file has the size and the SHA-256 that the manifest lists, or it is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urljoin

from methrics.aggregate.parquet.fetching import Progress, fetch, megabytes, silent, too_large
from methrics.aggregate.parquet.manifest import MANIFEST, MANIFEST_MAX, decode_manifest, total_size
from methrics.schema.errors import StoreError

WITH_IDS = ("item", "tombstone")
"""The tables that have ids of reports."""


def mirror(
    address: str,
    target: Path,
    *,
    size_max: int,
    progress: Progress = silent,
    ids_only: bool = False,
) -> Path:
    """Fetch the directory at `address` (which ends in a slash) into the new directory `target`.

    With `ids_only`, only the tables of `WITH_IDS` are fetched. Raises StoreError `store-foreign`,
    `store-version` and `store-broken`, and the errors of `fetch`.
    """
    target.mkdir(parents=True)
    fetch(urljoin(address, MANIFEST), target / MANIFEST, size_max=min(MANIFEST_MAX, size_max))
    manifest = decode_manifest((target / MANIFEST).read_bytes(), address)
    files = [one for one in manifest.files if not ids_only or one.table in WITH_IDS]
    if total_size(files) > size_max:
        raise too_large(address, size_max)
    done = 0
    for number, one in enumerate(files, 1):
        place = target / one.name
        place.parent.mkdir(parents=True, exist_ok=True)
        fetch(urljoin(address, one.name), place, size_max=max(1, one.size))
        if hashlib.sha256(place.read_bytes()).hexdigest() != one.sha256:
            raise StoreError(
                "store-broken",
                f"the files at {address} are not those that their manifest lists ({one.name})",
                "try again later, or tell whoever publishes them",
            )
        done += one.size
        progress(f"{target.name}: {number} of {len(files)} files, {megabytes(done)} MB")
    return target

"""Fetches a whole Parquet directory from an address: every file that its manifest lists.

Everything is fetched, in the order of the manifest, so the server learns nothing about what is
wanted from it. Every file has the size and the SHA-256 that the manifest lists, or it is refused.
"""

from __future__ import annotations

from pathlib import Path

from methrics.aggregate.parquet.fetching import Progress, silent
from methrics.aggregate.parquet.remote import RemoteDirectory, settled_rounds
from methrics.schema.errors import LocalError

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
    `store-version`, `store-shards` and `store-broken`, and the errors of `Session.fetch`;
    LocalError `not-new` if `target` is there already, because files that the manifest does not list
    are deleted.
    """
    try:
        target.mkdir(parents=True)
    except FileExistsError:
        raise LocalError("not-new", f"{target} is there already", "name another folder") from None

    def named(line: str) -> None:
        progress(f"{target.name}: {line}")

    job = RemoteDirectory(address, target, size_max=size_max, progress=named, by_name=True)

    def once() -> None:
        if job.shards is not None:
            job.shards.require_all(address)
        job.bring([one for one in job.manifest.files if not ids_only or one.table in WITH_IDS])

    try:
        settled_rounds(address, once)
        listed = {target / one.name for one in job.manifest.files}
        for left in set(target.rglob("*.parquet")) - listed:
            left.unlink()  # fetched by an earlier manifest
        for name, text in job.texts.items():
            (target / name).write_bytes(text)
    finally:
        job.close()
    return target

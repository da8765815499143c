"""Leaves out the Parquet files of a data set that are not as they were written."""

from __future__ import annotations

from pathlib import Path

from methrics.aggregate.parquet.manifest import File
from methrics.aggregate.read.check_files import are_listed
from methrics.aggregate.read.sources import Source


def leave_out_damaged(source: Source) -> list[tuple[File, Path]]:
    """Leave out, and return, the files of a directory, or of the settled months of a DuckDB file,
    that are missing or have another size or SHA-256 than is listed, with their paths. Files that an
    aggregator has replaced are none: the newest state is read then. Raises StoreError.

    One damaged file would keep DuckDB from reading a table at all.
    """
    while True:
        pairs = source.listed()
        wrong = [pair for pair, right in zip(pairs, are_listed(pairs), strict=True) if not right]
        if all(path.exists() for _, path in wrong) or not source.renew():
            source.leave_out({one.name for one, _ in wrong})
            return wrong

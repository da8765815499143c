"""Opens the public data that `methrics trail` and `methrics threshold` compare own reports with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from methrics.node.mine.trail.gather import Gathered

if TYPE_CHECKING:
    from methrics.aggregate.mine.public_crowd import PublicReports


@contextmanager
def open_public(source: str, gathered: Gathered) -> Iterator[PublicReports]:
    """Open the reports in `source` without the person's own.

    `source` is a file, a directory of Parquet, or the address of either. Everything at an address
    is fetched, so that its owner learns nothing about the person's reports.

    Raises ConfigError, StoreError or UnreachableError.
    """
    from methrics.aggregate.cli.source import note_use
    from methrics.aggregate.mine.public_crowd import PublicReports
    from methrics.aggregate.parquet.download import local_copy
    from methrics.aggregate.read.dataset import open_dataset
    from methrics.aggregate.read.opening import fetching
    from methrics.aggregate.store.scratch import scratch_folder

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=scratch_folder())))
        with fetching(source):
            path = local_copy(source, folder)
        dataset = stack.enter_context(open_dataset(path))
        note_use(path, dataset, "reading")
        yield PublicReports(dataset, gathered.catalogs, gathered.own)

"""The argument of commands that read a data set: a path, or an address."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from methrics.aggregate.parquet.download import is_address
from methrics.aggregate.read.dataset import FLOOR, MEMORY_LIMIT, Dataset, open_dataset
from methrics.aggregate.read.progress_line import ProgressLine
from methrics.node.clock import Clock

SOURCE = click.argument("file", metavar="FILE|DIR|URL")
"""The argument, which a command gets as `file`."""


@contextmanager
def opened(
    source: str,
    doing: str,
    *,
    floor: int = FLOOR,
    known: Path | None = None,
    memory: str = MEMORY_LIMIT,
) -> Iterator[Dataset]:
    """Open a data set. A terminal shows what is fetched from an address. If an aggregator writes
    the file, a note says that its Parquet is read; `doing` is the verb in it."""
    place = source if is_address(source) else Path(source)
    with (
        ProgressLine(sys.stderr, Clock()) as line,
        open_dataset(
            place, floor=floor, known=known, memory_limit=memory, progress=line
        ) as dataset,
    ):
        if isinstance(place, Path) and dataset.path != place:
            click.echo(f"{place} is in use: {doing} its Parquet of {dataset.written}", err=True)
        yield dataset

"""The argument of commands that read a data set: a path, or an address."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

import click

from methrics.aggregate.parquet.download import is_address
from methrics.aggregate.read.dataset import Dataset, Reading, open_dataset, open_files
from methrics.aggregate.read.live import LiveDataset
from methrics.aggregate.read.progress_line import ProgressLine
from methrics.node.cli.times import utc_text
from methrics.node.clock import Clock

SOURCE = click.argument("file", metavar="FILE|DIR|URL")
"""The argument, which a command gets as `file`."""

Data = Dataset | LiveDataset
"""What a question can be asked of."""


@contextmanager
def opened(source: str, doing: str, **how: Unpack[Reading]) -> Iterator[Data]:
    """Open a data set. A terminal shows what is fetched from an address. If an aggregator writes
    the file, a note says that its Parquet is read; `doing` is the verb in it."""
    place = _place(source)
    with (
        ProgressLine(sys.stderr, Clock()) as how["progress"],
        open_dataset(place, **how) as dataset,
    ):
        note_use(place, dataset, doing)
        yield dataset


@contextmanager
def opened_files(
    source: str, doing: str, *, salvage: bool = False, **how: Unpack[Reading]
) -> Iterator[Dataset]:
    """Open a data set as `opened` does, but nothing that only answers questions. `salvage`: leave
    out what is damaged."""
    place = _place(source)
    with (
        ProgressLine(sys.stderr, Clock()) as how["progress"],
        open_files(place, salvage=salvage, **how) as dataset,
    ):
        note_use(place, dataset, doing)
        yield dataset


def _place(source: str) -> Path | str:
    return source if is_address(source) else Path(source)


def note_use(place: Path | str, dataset: Data, doing: str) -> None:
    """Say so if the Parquet beside a file is read instead of the file."""
    if isinstance(place, Path) and dataset.path != place:
        when = utc_text(dataset.written or "")
        click.echo(f"{place} is in use: {doing} its Parquet of {when}", err=True)

"""One call for notebooks: `open_data(source)` opens a path or an address alike.

from methrics.aggregate.explore import open_data

data = open_data("https://example.org/metrics.parquet/")
data                                    # in Jupyter: tables and views, and what each means
data.view("heartbeat_dau").pandas()     # or .polars(), .arrow(), .rows()
data.pandas("SELECT day, count(*) FROM example.signin GROUP BY day")
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TextIO

from methrics.aggregate.dataset import MEMORY_LIMIT, Dataset, open_dataset
from methrics.aggregate.download import is_address, local_copy
from methrics.aggregate.fetching import SIZE_MAX, Progress
from methrics.node.clock import Clock

_EVERY = 0.2
"""Seconds between two lines of progress."""


def open_data(
    source: Path | str,
    *,
    keep: Path | str | None = None,
    size_max: int = SIZE_MAX,
    memory_limit: str = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Dataset:
    """Open what `source` names: a path or a file, http or https address of a DuckDB file, of a
    directory of Parquet (its address ends in a slash), or of one Parquet file.

    What is fetched (at most `size_max` bytes) is checked against its manifest, if it has one, and
    written to the folder `keep`, or to a temporary one that goes with the data set. `progress` is
    given a line now and then; by default it shows where a person is likely to look on.
    Raises the errors of `open_dataset` and `local_copy`.
    """
    source = str(source)
    if not is_address(source):
        return open_dataset(Path(source).expanduser(), memory_limit=memory_limit)
    folder = Path(tempfile.mkdtemp(prefix="methrics-")) if keep is None else Path(keep)
    try:
        with _Line(sys.stderr, Clock()) as line:
            path = local_copy(source, folder, size_max=size_max, progress=progress or line)
        data = open_dataset(path, memory_limit=memory_limit)
    except BaseException:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if keep is None:
        weakref.finalize(data, shutil.rmtree, folder, ignore_errors=True)
    return data


class _Line:
    """One line of a terminal or a notebook, written over and over, and gone in the end."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream if stream.isatty() or "ipykernel" in sys.modules else None
        self._clock = clock
        self._due = 0.0
        self._width = 0

    def __call__(self, line: str) -> None:
        if self._stream is None or self._clock.monotonic() < self._due:
            return
        self._due = self._clock.monotonic() + _EVERY
        self._write(line)

    def _write(self, line: str) -> None:
        assert self._stream is not None
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._stream is not None and self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

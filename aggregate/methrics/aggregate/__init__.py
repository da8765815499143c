"""The programs that anyone can run: they collect a topic into DuckDB, verify it and query it.

`open_dataset` reads the files that an aggregator wrote; `open_live` asks one that runs. `open_data`
reads files for notebooks, from a path or from an address. Names are loaded when they are first
used, so that the `methrics` command, which is in this package, starts without duckdb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.schema.lazy import front

if TYPE_CHECKING:
    from methrics.aggregate.notebook.explore import example_data, open_data, open_truth
    from methrics.aggregate.read.dataset import Dataset, open_dataset
    from methrics.aggregate.read.live import LiveDataset, open_live
    from methrics.aggregate.read.verify import verify

__all__ = [
    "Dataset",
    "LiveDataset",
    "example_data",
    "open_data",
    "open_dataset",
    "open_live",
    "open_truth",
    "verify",
]

__getattr__, __dir__ = front(
    __name__,
    {
        "Dataset": "methrics.aggregate.read.dataset",
        "LiveDataset": "methrics.aggregate.read.live",
        "example_data": "methrics.aggregate.notebook.explore",
        "open_data": "methrics.aggregate.notebook.explore",
        "open_dataset": "methrics.aggregate.read.dataset",
        "open_live": "methrics.aggregate.read.live",
        "open_truth": "methrics.aggregate.notebook.explore",
        "verify": "methrics.aggregate.read.verify",
    },
)

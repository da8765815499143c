"""The programs that anyone can run: they collect a topic into DuckDB, verify it and query it.

`open_dataset` reads the files that an aggregator wrote. `open_data` does the same for notebooks,
from a path or from an address. Names are loaded when they are first used, so that the `methrics`
command, which is in this package, starts without duckdb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.schema.lazy import front

if TYPE_CHECKING:
    from methrics.aggregate.notebook.explore import example_data, open_data, open_truth
    from methrics.aggregate.read.dataset import Dataset, open_dataset
    from methrics.aggregate.read.verify import verify

__all__ = ["Dataset", "example_data", "open_data", "open_dataset", "open_truth", "verify"]

__getattr__, __dir__ = front(
    __name__,
    {
        "Dataset": "methrics.aggregate.read.dataset",
        "example_data": "methrics.aggregate.notebook.explore",
        "open_data": "methrics.aggregate.notebook.explore",
        "open_dataset": "methrics.aggregate.read.dataset",
        "open_truth": "methrics.aggregate.notebook.explore",
        "verify": "methrics.aggregate.read.verify",
    },
)

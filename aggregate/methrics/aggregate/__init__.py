"""What anyone can run: collect a topic into DuckDB, verify it, query it.

`open_dataset` is the one call by which notebooks, commands and users read. Names are loaded when
they are first used (PEP 562): the `methrics` command lives here and starts without duckdb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methrics.aggregate.read.dataset import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from methrics.aggregate.read import dataset

    value: object = getattr(dataset, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

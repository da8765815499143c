"""Opens data for notebooks: `open_data(source)` takes a path or an address.

from methrics.aggregate import open_data

data = open_data("https://example.org/metrics.parquet/")
data                                    # Jupyter shows the tables and views, with their meaning
data.view("heartbeat_dau").pandas()     # or .polars(), .arrow(), .rows()
data.pandas("SELECT day, count(*) FROM example.signin GROUP BY day")
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from methrics.aggregate.parquet.download import is_address
from methrics.aggregate.parquet.fetching import SIZE_MAX, Progress
from methrics.aggregate.read.dataframes import Tables
from methrics.aggregate.read.dataset import MEMORY_LIMIT, Dataset, open_dataset
from methrics.aggregate.read.live import LiveDataset
from methrics.aggregate.read.progress_line import ProgressLine
from methrics.aggregate.read.totals import FLOOR
from methrics.aggregate.simulate import DATA, TRUTH, Settings, simulate
from methrics.aggregate.store.duck import (
    SCHEMA_ALIAS,
    Relation,
    attach_reader,
    lock_down,
    memory,
    name,
    translated_query_errors,
)
from methrics.aggregate.store.only_reads import is_select
from methrics.node.clock import Clock
from methrics.node.paths import user_paths
from methrics.schema.errors import StoreError

EXAMPLE = Settings(installs=700, days=56, seed=1)
"""The example population: two months, with enough people for clear figures."""

TRUTH_HOLDS: Mapping[str, str] = {
    "install": "Every install: its person, its first and last day, and its properties.",
    "consent": "The event types, and fields, that an install's owner allows.",
    "active": "The days on which an install was used.",
    "session": "Every sign-in, with its steps.",
    "event": "The actions that were counted in one session.",
    "answer": "True answers to questions under randomized response.",
    "report": "Every report that a machine sent, and its fate.",
    "lost": "Reports that were sent and are not in the data.",
    "unsent": "Recorded events that were never sent.",
    "attack": "Items that attackers published on a day, and their fate.",
    "run": "The settings.",
}
"""Each table of a simulation's truth, with a sentence on its content."""


def open_data(
    source: Path | str,
    *,
    floor: int = FLOOR,
    known: Path | str | None = None,
    cache: Path | str | None = None,
    size_max: int = SIZE_MAX,
    memory_limit: str = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Dataset | LiveDataset:
    """Open a DuckDB file, a directory of Parquet, or one Parquet file, from a path or from a file,
    http or https address, or a running aggregator at its address. The address of a directory ends
    in a slash.

    Of a directory at an address, the files of the tables that a query names are fetched (at most
    `size_max` bytes), checked against its manifest, and kept in the folder `cache`, or by default
    in a folder of the user's data folder. `progress` is called with a progress line at intervals;
    by default a terminal or a notebook shows the line. `floor`, `known` and `memory_limit` are
    passed to `open_dataset`. Raises the errors of `open_dataset`.
    """
    source = str(source)
    with ProgressLine(sys.stderr, Clock()) as line:
        return open_dataset(
            source if is_address(source) else _expanded(source),
            floor=floor,
            known=known,
            memory_limit=memory_limit,
            cache=cache,
            size_max=size_max,
            progress=progress or line,
        )


def _expanded(source: str) -> Path:
    """Return the path `source`, in which `~` is the person's home folder if that is known."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        return Path(source)


def example_data(**changes: float) -> str:
    """Return the data that the notebooks open: the value of METHRICS_DATA, or if it is not set, the
    path of simulated data.

    The first call simulates the data and stores it in the user's data folder, where it can be
    deleted at any time. `changes` are settings of the simulation (`loss=0.1`, `flooders=20`, …: see
    `methrics simulate`). If there are any, METHRICS_DATA is ignored. Raises ConfigError.
    """
    chosen = os.environ.get("METHRICS_DATA")
    if chosen and not changes:
        return chosen
    settings = replace(EXAMPLE, **changes)  # type: ignore[arg-type]  # names and values are checked
    key = json.dumps([version("methrics"), settings.as_dict()])
    short = hashlib.sha256(key.encode()).hexdigest()[:12]
    folder = Path(user_paths().data, "example", short)
    if not (folder / TRUTH).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="making-", dir=folder.parent) as new,
            ProgressLine(sys.stderr, Clock()) as line,
        ):
            made = Path(new, "data")
            simulate(made, settings, tell=lambda what, done, total: line(f"{what} {done}/{total}"))
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return str(folder / DATA)


def open_truth(source: Path | str) -> Truth | None:
    """Open the true behaviour of simulated people, from the file beside the data `source`.

    Returns None if there is no such file; data of real people never has one. Raises StoreError if
    the file cannot be read.
    """
    path = Path(source).parent / TRUTH
    return None if is_address(str(source)) or not path.exists() else Truth(path)


class Truth(Tables):
    """The tables of a simulation's truth; docs/simulate.md explains them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._con = memory()
        attach_reader(self._con, path)
        found = self._con.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? ORDER BY 1",
            [SCHEMA_ALIAS],
        ).fetchall()
        self._tables = [table for (table,) in found]
        for table in self._tables:
            self._con.execute(f"CREATE VIEW {name(table)} AS FROM {name(SCHEMA_ALIAS, table)}")
        lock_down(self._con, [], MEMORY_LIMIT)

    def sql(self, query: str, parameters: Sequence[object] = ()) -> Relation:
        """Return the rows of one SELECT as a DuckDB relation. Raises StoreError, code query."""
        if not is_select(self._con, query):
            raise StoreError("query", "only one SELECT statement can be asked")
        with translated_query_errors():
            return self._con.sql(query, params=list(parameters) or None)

    def tables(self) -> list[str]:
        """Names of the tables."""
        return self._tables

    def contents(self) -> list[tuple[str, str, str]]:
        """List ("table", name, description) for each table."""
        return [("table", table, TRUTH_HOLDS.get(table, "")) for table in self._tables]

    def __str__(self) -> str:
        return self._path.name

    def close(self) -> None:
        """Close the file."""
        self._con.close()

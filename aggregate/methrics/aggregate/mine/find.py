"""Finds a person's own reports in public data without revealing which they are (METH-17).

All of the data is fetched, in an order that does not depend on the reports. Every id is read, and
the comparison happens in memory. So the owner of the data does not learn the id or time of a
report, or which part of the data was of interest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from methrics.aggregate.parquet.directory import is_parquet, places
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.parquet.fetching import SIZE_MAX
from methrics.aggregate.parquet.lake import read_whole
from methrics.aggregate.parquet.mirror import WITH_IDS
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.opening import fetching
from methrics.aggregate.store.duck import Relation, memory, read_parquet_files, translated_errors
from methrics.aggregate.store.scratch import scratch_folder
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import Kind

FOUND, MISSING, ERASED, OUTSIDE = "found", "missing", "erased", "outside"
"""The state of a report: it is in the data, it is not in the data, it was erased from the data, or
the data covers only some of the reports."""

_BATCH = 100_000
_REPORT = int(Kind.REPORT)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A report to look for: its id (32 bytes) and its time (Unix seconds)."""

    id: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of `check`. `of` maps each id to FOUND, MISSING, ERASED or OUTSIDE; `total` is the
    number of reports in the data."""

    of: dict[bytes, str]
    total: int


def check(source: str, wanted: Collection[Wanted], *, size_max: int = SIZE_MAX) -> Checked:
    """Look for `wanted` in `source`: an aggregator's file, its Parquet directory, one Parquet file
    of the folder `raw`, or an http(s) address of any of these. The address of a directory ends in a
    slash.

    Raises StoreError for other files, and the errors of `local_copy`: ConfigError,
    UnreachableError and LocalError.
    """
    with TemporaryDirectory(dir=scratch_folder()) as name:
        with fetching(source):
            path = local_copy(source, Path(name), size_max=size_max, ids_only=True)
        if path.is_dir() and path.parent == Path(name):
            return _check_directory(path, wanted)
        if path.is_file() and is_parquet(path):
            return _check_file(path, wanted)
        with open_dataset(path) as dataset, translated_errors(path):
            reports = dataset.sql(f"SELECT id FROM item WHERE kind = {_REPORT}")
            return _compare(reports, dataset.sql("SELECT report FROM tombstone"), wanted)


def _compare(reports: Relation, erased: Relation, wanted: Collection[Wanted]) -> Checked:
    there, total = _own(reports, wanted)
    gone, _ = _own(erased, wanted)
    return Checked({one.id: _state(one.id, there, gone) for one in wanted}, total)


def _check_directory(path: Path, wanted: Collection[Wanted]) -> Checked:
    """Look in a directory of Parquet that contains only the files with ids."""
    tables = read_whole(path).tables()
    con = memory()
    try:
        with translated_errors(path):
            items, erased = (
                con.sql(f"FROM {read_parquet_files(places(path, tables[table]), by_name=False)}")
                for table in WITH_IDS
            )
            reports = items.filter(f"kind = {_REPORT}").project("id")
            return _compare(reports, erased.project("report"), wanted)
    except KeyError:
        raise StoreError("store-foreign", f"{path.name} lists no reports") from None
    finally:
        con.close()


def _check_file(path: Path, wanted: Collection[Wanted]) -> Checked:
    """Look in one Parquet file of the table `item`. It has one event type and month of many."""
    con = memory()
    try:
        with translated_errors(path):
            rows = con.sql(f"FROM {read_parquet_files([path])}")
            if not {"id", "kind", "time"} <= set(rows.columns):
                raise StoreError(
                    "store-foreign",
                    f"{path.name} holds no signed reports",
                    "give a file of the folder `raw`, or the whole data set",
                )
            there, total = _own(rows.filter(f"kind = {_REPORT}").project("id"), wanted)
    finally:
        con.close()
    return Checked({one.id: FOUND if one.id in there else OUTSIDE for one in wanted}, total)


def _own(ids: Relation, wanted: Collection[Wanted]) -> tuple[set[bytes], int]:
    """Return the ids of `wanted` that are among `ids`, and the number of all `ids`.

    It reads all ids. With a filter, the parts of the file that are read would show which ids are of
    interest.
    """
    values = pa.array([one.id for one in wanted], pa.binary())
    found: set[bytes] = set()
    total = 0
    for batch in ids.to_arrow_reader(_BATCH):
        column = batch.column(0).cast(pa.binary())
        total += len(column)
        found.update(column.filter(pc.is_in(column, value_set=values)).to_pylist())
    return found, total


def _state(report: bytes, there: Collection[bytes], gone: Collection[bytes]) -> str:
    if report in there:
        return FOUND
    return ERASED if report in gone else MISSING

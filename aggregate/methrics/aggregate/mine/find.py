"""Finds a person's own reports in public data without revealing which they are (METH-17).

All of the data is fetched, in an order that does not depend on the reports. Every id is read, and
the comparison happens in memory. So the owner of the data does not learn the id or time of a
report, or which part of the data was of interest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from methrics.aggregate.parquet.directory import is_parquet
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.parquet.fetching import SIZE_MAX
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.duck import Relation, memory, read_parquet, translated_errors
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import Kind

FOUND, MISSING, ERASED, OUTSIDE = "found", "missing", "erased", "outside"
"""The state of a report: it is in the data, it is not in the data, it was erased from the data, or
the data does not cover its day."""

_DAY = 86_400
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
    of a day, or an http(s) address of any of these. The address of a directory ends in a slash.

    Raises StoreError for other files, and the errors of `local_copy`: ConfigError,
    UnreachableError and LocalError.
    """
    with TemporaryDirectory(prefix="methrics-") as name:
        path = local_copy(source, Path(name), size_max=size_max, ids_only=True)
        if path.is_dir() and path.parent == Path(name):
            return _check_directory(path, wanted)
        if path.is_file() and is_parquet(path):
            return _check_day(path, wanted)
        with open_dataset(path) as dataset, translated_errors(path):
            reports = dataset.sql(f"SELECT id FROM item WHERE kind = {_REPORT}")
            return _compare(reports, dataset.sql("SELECT report FROM tombstone"), wanted)


def _compare(reports: Relation, erased: Relation, wanted: Collection[Wanted]) -> Checked:
    there, total = _own(reports, wanted)
    gone, _ = _own(erased, wanted)
    return Checked({one.id: _state(one, there, gone, None) for one in wanted}, total)


def _check_directory(path: Path, wanted: Collection[Wanted]) -> Checked:
    """Look in a directory of Parquet that contains only the files with ids."""
    con = memory()
    try:
        with translated_errors(path):
            items = con.sql(f"FROM {read_parquet(path / 'item', '*.parquet')}")
            erased = con.sql(f"FROM {read_parquet(path / 'tombstone', '*.parquet')}")
            reports = items.filter(f"kind = {_REPORT}").project("id")
            return _compare(reports, erased.project("report"), wanted)
    finally:
        con.close()


def _check_day(path: Path, wanted: Collection[Wanted]) -> Checked:
    """Look in one Parquet file of the table `item`. It contains one day and no erasures."""
    con = memory()
    try:
        with translated_errors(path):
            rows = con.sql(f"FROM {read_parquet(path)}")
            if not {"id", "kind", "time"} <= set(rows.columns):
                raise StoreError(
                    "store-foreign",
                    f"{path.name} holds no signed reports",
                    "give a file of the folder `item`, or the whole data set",
                )
            days = rows.project("time::DATE AS day").distinct().fetchall()
            there, total = _own(rows.filter(f"kind = {_REPORT}").project("id"), wanted)
    finally:
        con.close()
    covered = {(day - date(1970, 1, 1)).days for (day,) in days}
    return Checked({one.id: _state(one, there, set(), covered) for one in wanted}, total)


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


def _state(
    one: Wanted, there: Collection[bytes], gone: Collection[bytes], days: Collection[int] | None
) -> str:
    if one.id in there:
        return FOUND
    if one.id in gone:
        return ERASED
    return MISSING if days is None or one.time // _DAY in days else OUTSIDE

"""Writes a person's own reports as one Parquet file with typed columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

_FIXED = {
    "app": pa.string(),
    "number": pa.int64(),
    "type": pa.string(),
    "time": pa.timestamp("s", tz="UTC"),
    "utc": pa.string(),
    "state": pa.string(),
    "left": pa.bool_(),
    "route": pa.string(),
    "made": pa.timestamp("s", tz="UTC"),
    "attempts": pa.int64(),
    "erasure": pa.string(),
    "count": pa.int64(),
    "one_in": pa.int64(),
    "sequence": pa.string(),
    "id": pa.binary(),
    "key": pa.binary(),
    "catalog": pa.binary(),
    "raw": pa.binary(),
}


def write_parquet(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    """Write `rows` (see `mine.to_rows`) to `path`. If a field has different types in different
    reports, its column is text."""
    arrays = {
        name: _array(name, [row[place] for row in rows]) for place, name in enumerate(columns)
    }
    pq.write_table(pa.table(arrays), path, compression="zstd")


def _array(name: str, cells: list[object]) -> pa.Array:
    kind = _FIXED.get(name)
    if kind is None:
        types = {type(cell) for cell in cells if cell is not None}
        if len(types) > 1:
            cells = [None if cell is None else str(cell) for cell in cells]
        kind = {bool: pa.bool_(), int: pa.int64()}.get(types.pop() if len(types) == 1 else str)
        kind = kind or pa.string()
    return pa.array(cells, kind)

"""Divides the table `tombstone` into numbered files, so that an export writes only the last again.

Anyone can publish erasures, and each one is kept for good, so the table may become long. Its rows
are numbered in the order in which they came, and never change. Part k holds the rows of which n is
k * PART_ROWS + 1 to (k + 1) * PART_ROWS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from methrics.aggregate.store.duck import Connection

FOLDER = "tombstone"

PART_ROWS = 16_384
"""Rows of one file: about 4 MB, written in a quarter of a second."""

_CHUNK = 65_536
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Part:
    """The number of rows of a file, and SHA-256 over their ids in the order of n, in hex."""

    count: int
    digest: str


Parts = Mapping[int, Part]


def file_of(part: int) -> str:
    """Return the path of a part in the directory."""
    return f"{FOLDER}/{part}.parquet"


def rows_of(part: int) -> str:
    """Return SQL for the rows of a part."""
    return (
        f"SELECT * FROM tombstone WHERE n > {part * PART_ROWS} "
        f"AND n <= {(part + 1) * PART_ROWS} ORDER BY n"
    )


def parts_of(con: Connection, *, since: int = 0) -> dict[int, Part]:
    """Return the parts from number `since` of the table `tombstone` that `con` reads."""
    counts: dict[int, int] = {}
    hashes: dict[int, Any] = {}
    found = con.execute(f"SELECT n, id FROM tombstone WHERE n > {since * PART_ROWS} ORDER BY n")
    while rows := found.fetchmany(_CHUNK):
        for n, item_id in rows:
            part = (n - 1) // PART_ROWS
            counts[part] = counts.get(part, 0) + 1
            hashes.setdefault(part, hashlib.sha256()).update(item_id)
    return {part: Part(count, hashes[part].hexdigest()) for part, count in counts.items()}


def encode_parts(parts: Parts) -> dict[str, dict[str, object]]:
    """Return the parts as the manifest lists them."""
    return {str(number): asdict(part) for number, part in sorted(parts.items())}


def decode_parts(listed: Mapping[str, Mapping[str, Any]]) -> dict[int, Part]:
    """Read the parts of a manifest. Raises ValueError, KeyError, TypeError or AttributeError for
    other values."""
    if not all(_NUMBER.fullmatch(number) for number in listed):
        raise ValueError("a part has a number")
    return {
        int(number): Part(int(one["count"]), str(one["digest"])) for number, one in listed.items()
    }

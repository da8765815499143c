"""The manifest of a Parquet directory: which files are current, and the digest of each day. Pure.

`manifest.json` is replaced by rename. Every file that it lists has a name that no other content
ever gets, so a reader that has read the manifest finds exactly those files, whatever is written
meanwhile. Whoever publishes a directory is not trusted: a name cannot leave the directory, and
numbers are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from methrics.aggregate.store.tables import LAYOUT_VERSION
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import WHOLE, Shard, read_part

MANIFEST = "manifest.json"

MANIFEST_MAX = 64 * 1024 * 1024
"""Most bytes of a manifest: some 250,000 files."""

FILES_MAX = 250_000
"""Most files of a directory: a thousand event types in each month of twenty years."""

SIZE_MAX = 1 << 50
"""Most bytes, and most rows, of one file that a manifest can claim."""

TABLE = re.compile(r"[a-z0-9_]{1,200}(\.[a-z0-9_]{1,200})?")
"""A table as SQL names it: `item`, `example.heartbeat`."""

_FILE = re.compile(r"([a-z0-9_][a-z0-9_.-]{0,199}/){1,5}[a-z0-9_][a-z0-9_.-]{0,199}\.parquet")
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{1,64}")
_SHARD = re.compile(r"[0-9]{1,2}-of-[0-9]{1,2}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class File:
    """One current Parquet file of a directory."""

    name: str
    """Path in the directory, with `/`: `types/example/heartbeat/2026-11/3f2a9c01.parquet`."""
    table: str
    """The table whose rows it has, as SQL names it: `item`, `tombstone`, `example.heartbeat`."""
    month: date | None
    """The first day of the month of its rows; None for a table that has no months."""
    rows: int
    size: int
    """Bytes of the file."""
    sha256: str
    """Of the file's bytes, in hex."""
    settled: bool
    """Whether its month is settled: the rows are in no other file, nor in the DuckDB file."""

    @property
    def place(self) -> tuple[str, str]:
        """The SQL schema and the name of the table."""
        schema, _, table = self.table.rpartition(".")
        return schema or "main", table


@dataclass(frozen=True, slots=True)
class Day:
    """The reports of one app on one UTC day: namespace key, count and digest."""

    key: bytes
    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """The days of one app that an aggregator has closed: how many, the reports of these days, and
    those of them that came in after their day was closed (`closing/coverage.py`)."""

    days: int
    reports: int
    late: int

    @property
    def coverage(self) -> float:
        """The share of the reports that the aggregator had when it closed their days: 0 to 1."""
        return 1.0 if not self.reports else max(0.0, 1.0 - self.late / self.reports)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a manifest."""

    written: str
    """When it was written (ISO 8601, UTC)."""
    files: tuple[File, ...]
    days: Mapping[str, Mapping[date, Day]] = field(default_factory=dict)
    """SQL schema -> day -> its reports"""
    tombstones: int = 0
    """Number of rows of the table `tombstone`."""
    shard: Shard = WHOLE
    """Which part of the ids this directory has."""
    closed: Mapping[str, Mapping[str, ClosedDays]] = field(default_factory=dict)
    """SQL schema -> peer id of an aggregator -> the days that it has closed"""

    def tables(self) -> dict[str, list[File]]:
        """Return the files of each table, in the order of the manifest."""
        found: dict[str, list[File]] = {}
        for one in self.files:
            found.setdefault(one.table, []).append(one)
        return found


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the JSON text of a manifest."""
    text = {
        "layout": LAYOUT_VERSION,
        "written": manifest.written,
        "shard": None if manifest.shard.is_whole else manifest.shard.part,
        "files": [
            {
                "name": one.name,
                "table": one.table,
                "month": None if one.month is None else f"{one.month:%Y-%m}",
                "rows": one.rows,
                "bytes": one.size,
                "sha256": one.sha256,
                "settled": one.settled,
            }
            for one in manifest.files
        ],
        "days": {
            schema: {
                str(day): {"key": one.key.hex(), "count": one.count, "digest": one.digest.hex()}
                for day, one in sorted(days.items())
            }
            for schema, days in sorted(manifest.days.items())
        },
        "tombstones": {"count": manifest.tombstones},
        "closed": {
            schema: {
                peer: {
                    "days": one.days,
                    "reports": one.reports,
                    "late": one.late,
                    "coverage": round(one.coverage, 6),
                }
                for peer, one in sorted(own.items())
            }
            for schema, own in sorted(manifest.closed.items())
        },
    }
    return json.dumps(text, separators=(",", ":")).replace('{"name"', '\n{"name"').encode() + b"\n"


def decode_manifest(text: bytes, place: str) -> Manifest:
    """Read a manifest. `place` is the directory or address, for error messages.

    Raises StoreError: store-version for another layout, store-lake for a lake, store-foreign for
    anything else that is no manifest, such as a name that leaves the directory, a number out of
    bounds, or a file that is listed twice.
    """
    try:
        if len(text) > MANIFEST_MAX:
            raise ValueError("too long")
        found = json.loads(text)
        layout = found["layout"]
        if type(layout) is not int:
            raise ValueError("no layout")
        if layout == LAYOUT_VERSION and "shards" not in found:
            return _manifest(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            "store-foreign",
            f"{place} holds no Parquet directory of methrics: its {MANIFEST} cannot be read",
            f"name the folder that holds {MANIFEST}",
        ) from error
    if layout == LAYOUT_VERSION:
        raise StoreError(
            "store-lake",
            f"{place} is a lake of several shards, and this is the manifest of none of them",
            "name the folder of the lake; manifest.1-of-N.json and so on list its files",
        )
    raise StoreError(
        "store-version",
        f"{place} has layout {layout}, this program reads {LAYOUT_VERSION}",
        "use the version of methrics that wrote it",
    )


def _manifest(found: Mapping[str, Any]) -> Manifest:
    written = str(datetime.fromisoformat(found["written"]).isoformat())
    listed = found["files"]
    if type(listed) is not list or len(listed) > FILES_MAX:
        raise ValueError("files")
    files = tuple(map(_file, listed))
    if len({one.name for one in files}) != len(files):
        raise ValueError("a file is listed twice")
    days = {
        _matched(TABLE, schema): {date.fromisoformat(day): _day(one) for day, one in own.items()}
        for schema, own in found["days"].items()
    }
    shard = WHOLE if found.get("shard") is None else read_part(found["shard"])
    closed = {
        _matched(TABLE, schema): {_matched(_PEER, peer): _closed(one) for peer, one in own.items()}
        for schema, own in found.get("closed", {}).items()
    }
    return Manifest(written, files, days, _number(found["tombstones"]["count"]), shard, closed)


def _closed(one: Mapping[str, Any]) -> ClosedDays:
    return ClosedDays(*(_number(one[name]) for name in ("days", "reports", "late")))


def _file(one: Mapping[str, Any]) -> File:
    month = one["month"]
    settled = one["settled"]
    if type(settled) is not bool:
        raise ValueError("settled")
    return File(
        _matched(_FILE, one["name"]),
        _matched(TABLE, one["table"]),
        None if month is None else date.fromisoformat(f"{month}-01"),
        _number(one["rows"]),
        _number(one["bytes"]),
        _matched(_HASH, one["sha256"]),
        settled,
    )


def _day(one: Mapping[str, Any]) -> Day:
    key, digest = (bytes.fromhex(_matched(_HASH, one[name])) for name in ("key", "digest"))
    return Day(key, _number(one["count"]), digest)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= SIZE_MAX:
        raise ValueError("a number out of bounds")
    return value


def _matched(pattern: re.Pattern[str], value: object) -> str:
    if type(value) is not str or not pattern.fullmatch(value) or ".." in value:
        raise ValueError("a text of another form")
    return value


def folders_of(name: str) -> list[str]:
    """Return the folders of a file of a directory and its name, without the folder of a shard."""
    return [part for part in name.split("/") if not _SHARD.fullmatch(part)]


def total_size(files: Iterable[File]) -> int:
    """Return the number of bytes of these files together."""
    return sum(one.size for one in files)

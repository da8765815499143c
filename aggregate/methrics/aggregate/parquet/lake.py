"""A lake: one directory of Parquet into which several shards write, each its own files.

    LAKE/
      manifest.json               how many shards there are; whoever has written writes it again
      manifest.2-of-4.json        the manifest of shard 2/4; only that shard writes it
      types/example/heartbeat/2026-11/2-of-4/<name>.parquet      and so on

No shard touches a file of another, so they need no lock. Items and tombstones of shards have
different numbers, and so have their catalogs, event types and records: `Numbers` maps those of a
catalog or type that several shards have to the lowest, so that all rows can be read as one table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from methrics.aggregate.parquet.files import replace_file
from methrics.aggregate.parquet.manifest import (
    FILES_MAX,
    MANIFEST,
    MANIFEST_MAX,
    File,
    Manifest,
    decode_manifest,
)
from methrics.aggregate.store.duck import Connection, read_parquet_files, translated_errors
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.plain_path import plain_path
from methrics.aggregate.store.tables import LAYOUT_VERSION, SMALL_BITS
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import COUNTS, Shard, shards_of


@dataclass(frozen=True, slots=True)
class Shards:
    """The manifests of a lake, by shard, and the shards of which there is none."""

    manifests: Mapping[Shard, Manifest]
    missing: tuple[Shard, ...]

    def merged(self) -> Manifest:
        """Return one manifest of all files. It has no digests of days: those of a whole day do not
        follow from those of its parts."""
        own = list(self.manifests.values())
        files = tuple(one for manifest in own for one in manifest.files)
        if len(files) > FILES_MAX:
            raise StoreError("store-foreign", f"a lake of more than {FILES_MAX} files")
        return Manifest(
            min((one.written for one in own), default="1970-01-01T00:00:00+00:00"),
            files,
            tombstones=sum(one.tombstones for one in own),
        )


def join_lake(file: Path, lake: Path, shard: Shard) -> None:
    """Let the Parquet of a DuckDB file be in a lake: the directory beside it becomes a link.

    Raises StoreError: as `make_lake`, and `store-foreign` if there is another directory.
    """
    make_lake(lake, shard)
    beside = directory_beside(file)
    with translated_errors(beside):
        if not beside.is_symlink() and not beside.exists():
            beside.symlink_to(lake.resolve(), target_is_directory=True)
        if beside.resolve() != lake.resolve():
            raise StoreError(
                "store-foreign",
                f"{beside} is not {lake}: the file has Parquet of its own",
                "begin with a new file, and take this one in by --from",
            )


def manifest_name(shard: Shard) -> str:
    """Return the name of a shard's manifest in a lake."""
    return f"manifest.{shard.folder}.json"


def shards_in(directory: Path) -> int | None:
    """Return how many shards write into a lake; None if `directory` is none."""
    try:
        text = (directory / MANIFEST).read_bytes()[: MANIFEST_MAX + 1]
        if len(text) > 256:
            return None  # the manifest of one aggregator
        found = json.loads(text)
        count = found["shards"] if found["layout"] == LAYOUT_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return count if type(count) is int and count in COUNTS[1:] else None


def make_lake(directory: Path, shard: Shard) -> None:
    """Make `directory` a lake of as many shards, unless it is one.

    Raises StoreError `store-foreign` if it is a lake of another number of shards, or no lake and
    not empty.
    """
    with translated_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        # Another shard may make it at this moment: look at the content first.
        names = {one.name for one in directory.iterdir()}
        half = {name for name in names if name.startswith(f"{MANIFEST}.")}
        count = shards_in(directory)
        if count is None and names - half:
            raise StoreError("store-foreign", f"{directory} is no lake, and not empty")
        if count not in (None, shard.count):
            raise StoreError("store-foreign", f"{directory} is a lake of {count} shards")
        touch_lake(directory, shard)


def touch_lake(directory: Path, shard: Shard) -> None:
    """Write the lake's own file again, so that whoever looks at it sees that something is new."""
    text = json.dumps({"layout": LAYOUT_VERSION, "shards": shard.count}) + "\n"
    replace_file(directory / MANIFEST, text.encode(), shard.folder)


def read_shards(directory: Path, count: int) -> Shards:
    """Read the manifests of a lake. Raises StoreError."""
    found: dict[Shard, Manifest] = {}
    missing: list[Shard] = []
    for shard in shards_of(count):
        path = directory / manifest_name(shard)
        try:
            with translated_errors(path), path.open("rb") as file:
                text = file.read(MANIFEST_MAX + 1)
        except StoreError as error:
            if error.code != "store-missing":
                raise
            missing.append(shard)
            continue
        manifest = decode_manifest(text, str(path))
        if manifest.shard != shard:
            raise StoreError("store-foreign", f"{path} is not the manifest of shard {shard}")
        found[shard] = manifest
    return Shards(found, tuple(missing))


@dataclass(slots=True)
class Numbers:
    """The numbers by which the rows of all shards are read as one data set."""

    catalogs: dict[Shard, list[int]] = field(default_factory=dict)
    """shard -> for each of its catalogs, in order of its own numbers, the common number"""
    types: dict[Shard, list[int]] = field(default_factory=dict)
    records: list[int] = field(default_factory=list)
    """The numbers of records that are read: one of each record."""

    def rows(self, place: tuple[str, str], files: Mapping[Shard, Sequence[Path]]) -> str:
        """Return SQL for the rows of a table in the files of the shards."""
        schema, table = place
        if schema == "main" and table in _ALONE:
            return f"({_ALONE[table].format(rows=self._union(files), **self._lists())})"
        maps = _MAPPED.get(table, ("catalog",)) if schema == "main" else ("catalog",)
        rows = self._union(files, maps)
        return f"({_TOGETHER.get(table, 'FROM {rows}').format(rows=rows)})" if maps else rows

    def _union(self, files: Mapping[Shard, Sequence[Path]], maps: Sequence[str] = ()) -> str:
        parts = []
        for shard, own in files.items():
            rows = read_parquet_files(list(own), by_name=True)
            new = ", ".join(self._mapped(one, shard) for one in maps)
            parts.append(f"SELECT * REPLACE ({new}) FROM {rows}" if new else f"FROM {rows}")
        return f"({' UNION ALL BY NAME '.join(parts)})"

    def _mapped(self, column: str, shard: Shard) -> str:
        known = (self.catalogs if column == "catalog" else self.types).get(shard, [])
        values = ", ".join(map(str, known))
        return f"([{values}]::INTEGER[])[{column} - {shard.first(SMALL_BITS)}] AS {column}"

    def _lists(self) -> dict[str, str]:
        def sql(numbers: Iterable[int]) -> str:
            return ", ".join(map(str, sorted(set(numbers)))) or "NULL"

        return {
            "catalogs": sql(n for own in self.catalogs.values() for n in own),
            "types": sql(n for own in self.types.values() for n in own),
            "records": sql(self.records),
        }


_ALONE = {
    "catalog": "FROM {rows} WHERE n IN ({catalogs})",
    "type": "FROM {rows} WHERE n IN ({types})",
    "record": "FROM {rows} WHERE n IN ({records})",
    "listing": "FROM {rows} WHERE record IN ({records})",
    "revoked": "FROM {rows} WHERE record IN ({records})",
    "manifest": "SELECT DISTINCT ON (id) * FROM {rows}",
    "refusal": "SELECT day, reason, sum(count)::BIGINT AS count FROM {rows} GROUP BY ALL",
}
"""Tables of which each thing is read once, though several shards have it."""

_MAPPED: Mapping[str, tuple[str, ...]] = {
    "item": ("catalog", "type"),
    "declaration": ("catalog", "type"),
    "field": ("catalog", "type"),
    "code": ("catalog", "type"),
    "tombstone": ("catalog",),
}

_TOGETHER = {
    "declaration": "SELECT DISTINCT ON (catalog, type) * FROM {rows} ORDER BY n",
    "field": "SELECT DISTINCT * FROM {rows}",
    "code": "SELECT DISTINCT * FROM {rows}",
}


def read_numbers(con: Connection, directory: Path, shards: Shards) -> Numbers:
    """Read from the dictionaries of a lake which numbers mean the same.

    Raises StoreError `lake-names` if two shards have given one SQL schema to two apps.
    """
    made = Numbers()
    catalogs: dict[object, int] = {}
    types: dict[object, int] = {}
    records: dict[object, int] = {}
    owners: dict[str, bytes] = {}
    with translated_errors(directory):
        for shard, manifest in shards.manifests.items():
            rows = partial(_rows, con, directory, manifest)
            own = rows("catalog", "n, id, schema, key")
            made.catalogs[shard] = [catalogs.setdefault(one[1], one[0]) for one in own]
            for _, _, schema, key in own:
                if owners.setdefault(schema, key) != key:
                    raise StoreError(
                        "lake-names",
                        f"{directory}: shard {shard} calls another app {schema} than other shards",
                        "let all shards collect the same apps, named in the same order",
                    )
            own = rows("type", 'n, schema, "table"')
            made.types[shard] = [types.setdefault(one[1:], one[0]) for one in own]
            for n, one in rows("record", "n, id"):
                records.setdefault(one, n)
    made.records = list(records.values())
    return made


def _rows(
    con: Connection, directory: Path, manifest: Manifest, table: str, columns: str
) -> list[tuple[Any, ...]]:
    """Return rows of a table that one shard has, in order of n."""
    paths = [plain_path(directory) / one.name for one in manifest.tables().get(table, ())]
    if not paths:
        return []
    sql = f"SELECT {columns} FROM {read_parquet_files(paths)} ORDER BY n"
    return con.execute(sql).fetchall()


def by_shard(shards: Shards, directory: Path, table: str) -> dict[Shard, list[Path]]:
    """Return the paths of the files of a table, by shard; those without any are left out."""
    plain = plain_path(directory)
    found: dict[Shard, list[Path]] = {}
    for shard, manifest in shards.manifests.items():
        own: list[File] = manifest.tables().get(table, [])
        if own:
            found[shard] = [plain / one.name for one in own]
    return found

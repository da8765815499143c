"""A lake: one directory of Parquet into which several shards write, each its own files.

    LAKE/
      manifest.json               how many shards there are; whoever has written writes it again
      manifest.2-of-4.json        the manifest of shard 2/4; only that shard writes it
      types/example/heartbeat/2026-11/2-of-4/<name>.parquet      and so on

No shard touches a file of another, so they need no lock. Items and tombstones of shards have
different numbers, and so have their catalogs, event types and records: `Numbers` maps those of a
catalog or type that several shards have to the lowest, so that all rows can be read as one table.
A reader knows the names of all manifests from the number of shards, so it need not list the
directory, which a web server does not do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methrics.aggregate.parquet.directory import SAME_COLUMNS, read_directory, read_regular
from methrics.aggregate.parquet.files import replace_file
from methrics.aggregate.parquet.manifest import (
    FILES_MAX,
    MANIFEST,
    File,
    Manifest,
    decode_manifest,
)
from methrics.aggregate.store.duck import Connection, name, read_parquet_files, translated_errors
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.plain_path import plain_path
from methrics.aggregate.store.tables import LAYOUT_VERSION, SMALL_BITS
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import COUNTS, Shard, shards_of

DICTIONARIES = ("catalog", "type")
"""The tables of which `read_numbers` reads the files of each shard."""

RECORDS = frozenset({"record", "listing", "revoked"})
"""The tables whose rows cannot be told without `Numbers.records`."""

Paths = Mapping[Shard, Sequence[Path]]
"""The files of one table, by shard."""

_LAKE_MAX = 256
"""Most bytes of the `manifest.json` of a lake."""


@dataclass(frozen=True, slots=True)
class Shards:
    """The manifests of a lake, by shard, and the shards of which there is none."""

    manifests: Mapping[Shard, Manifest]
    missing: tuple[Shard, ...]

    def lack(self) -> str:
        """Return in words which parts are missing; nothing if none is."""
        if not self.missing:
            return ""
        parts = ", ".join(map(str, self.missing))
        there = len(self.manifests)
        return f"{there} of {there + len(self.missing)} shards: {parts} missing"

    def require_all(self, place: Path | str) -> None:
        """Raise StoreError `store-shards` if a part is missing."""
        if self.missing:
            raise StoreError(
                "store-shards",
                f"{place} has {self.lack()}",
                "start the aggregator of that shard with --shard and --lake: it writes its part",
            )

    def merged(self, place: Path | str) -> Manifest:
        """Return one manifest of all files. It has no digests of days: those of a whole day do not
        follow from those of its parts. Raises StoreError `store-foreign`."""
        own = list(self.manifests.values())
        files = tuple(one for manifest in own for one in manifest.files)
        if len(files) > FILES_MAX:
            raise StoreError("store-foreign", f"{place} is a lake of more than {FILES_MAX} files")
        if len({one.name for one in files}) != len(files):
            raise StoreError("store-foreign", f"{place}: two shards list the same file")
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
        return shards_said(read_regular(directory, MANIFEST, _LAKE_MAX + 1) or b"")
    except StoreError:
        return None


def shards_said(text: bytes) -> int | None:
    """Return the number of shards that the `manifest.json` of a lake names; None if `text` is
    something else, such as the manifest of one aggregator."""
    try:
        found = json.loads(text) if len(text) <= _LAKE_MAX else {}
        count = found["shards"] if found["layout"] == LAYOUT_VERSION else None
    except (ValueError, KeyError, TypeError, RecursionError):
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
    return decode_shards(
        ((shard, read_regular(directory, manifest_name(shard))) for shard in shards_of(count)),
        f"{directory}/",
    )


def decode_shards(texts: Iterable[tuple[Shard, bytes | None]], place: str) -> Shards:
    """Read the manifests of all shards of a lake; None for one that is not there. `place` is the
    directory or address, which ends in a slash. Raises StoreError."""
    found: dict[Shard, Manifest] = {}
    missing: list[Shard] = []
    for shard, text in texts:
        if text is None:
            missing.append(shard)
            continue
        name = f"{place}{manifest_name(shard)}"
        manifest = decode_manifest(text, name)
        if manifest.shard != shard:
            raise StoreError("store-foreign", f"{name} is not the manifest of shard {shard}")
        found[shard] = manifest
    return Shards(found, tuple(missing))


def read_whole(directory: Path) -> Manifest:
    """Read the manifest of a directory; of a lake, that of the files of all shards. Raises
    StoreError, also `store-shards`."""
    count = shards_in(directory)
    if count is None:
        return read_directory(directory)
    shards = read_shards(directory, count)
    shards.require_all(directory)
    return shards.merged(directory)


@dataclass(slots=True)
class Numbers:
    """The numbers by which the rows of all shards are read as one data set."""

    catalogs: dict[Shard, list[int]] = field(default_factory=dict)
    """shard -> for each of its catalogs, in order of its own numbers, the common number"""
    types: dict[Shard, list[int]] = field(default_factory=dict)
    records: list[int] | None = None
    """The numbers of records that are read: one of each record. None if nobody has looked; the
    tables of `RECORDS` need it."""

    def rows(self, place: tuple[str, str], files: Paths) -> str:
        """Return SQL for the rows of a table in the files of the shards."""
        schema, table = place
        same = schema == "main" and table in SAME_COLUMNS
        if schema == "main" and table in _ALONE:
            return f"({_ALONE[table].format(rows=self._union(files, same), **self._lists())})"
        maps = _MAPPED.get(table, ("catalog",)) if schema == "main" else ("catalog",)
        together = _TOGETHER.get(table, "FROM {rows}") if schema == "main" else "FROM {rows}"
        return f"({together.format(rows=self._union(files, same, maps))})"

    def _union(self, files: Paths, same: bool, maps: Sequence[str] = ()) -> str:
        parts = []
        for shard, own in files.items():
            rows = read_parquet_files(list(own), by_name=not same)
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
            "records": sql(self.records or ()),
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


def counted_once(place: tuple[str, str]) -> bool:
    """Whether each thing of a table counts once, though several shards have it."""
    return place[0] == "main" and (place[1] in _ALONE or place[1] in _TOGETHER)


def read_numbers(con: Connection, place: Path | str, dictionaries: Mapping[str, Paths]) -> Numbers:
    """Read from the files of `DICTIONARIES` which numbers mean the same; from those of `record`,
    too, if they are given. `place` is the lake.

    The numbers become SQL, so each must be one: in Parquet a column may have any type. Raises
    StoreError `lake-names` if two shards have given one SQL schema to two apps, and
    `store-foreign`.
    """
    made = Numbers()
    catalogs: dict[object, int] = {}
    types: dict[object, int] = {}
    records: dict[object, int] = {}
    owners: dict[str, bytes] = {}
    with translated_errors(Path(place)):
        for shard, own in _rows(con, place, "catalog", dictionaries):
            made.catalogs[shard] = [catalogs.setdefault(one[1], one[0]) for one in own]
            for _, _, schema, key in own:
                if owners.setdefault(schema, key) != key:
                    raise StoreError(
                        "lake-names",
                        f"{place}: shard {shard} calls another app {schema} than other shards",
                        "let all shards collect the same apps, named in the same order",
                    )
        for shard, own in _rows(con, place, "type", dictionaries):
            made.types[shard] = [types.setdefault(one[1:], one[0]) for one in own]
        if "record" in dictionaries:
            for _, own in _rows(con, place, "record", dictionaries):
                for n, one in own:
                    records.setdefault(one, n)
            made.records = list(records.values())
    return made


def _rows(
    con: Connection, place: Path | str, table: str, dictionaries: Mapping[str, Paths]
) -> Iterator[tuple[Shard, list[tuple[Any, ...]]]]:
    """Yield rows of a table of each shard, in order of n."""
    columns = ", ".join(map(name, _COLUMNS[table]))
    kinds = tuple(_COLUMNS[table].values())
    for shard, own in dictionaries[table].items():
        if own:
            sql = f"SELECT {columns} FROM {read_parquet_files(list(own))} ORDER BY n"
            rows = con.execute(sql).fetchall()
            if any(tuple(map(type, row)) != kinds for row in rows):
                raise StoreError("store-foreign", f"{place}: the table {table} has other values")
            yield shard, rows


_COLUMNS: Mapping[str, Mapping[str, type]] = {
    "catalog": {"n": int, "id": bytes, "schema": str, "key": bytes},
    "type": {"n": int, "schema": str, "table": str},
    "record": {"n": int, "id": bytes},
}
"""The columns that `read_numbers` reads, and what their values are."""


def by_shard(shards: Shards, directory: Path, table: str) -> dict[Shard, list[Path]]:
    """Return the paths of the files of a table, by shard; those without any are left out."""
    plain = plain_path(directory)
    found: dict[Shard, list[Path]] = {}
    for shard, manifest in shards.manifests.items():
        own: list[File] = manifest.tables().get(table, [])
        if own:
            found[shard] = [plain / one.name for one in own]
    return found

"""The forms of a lake, which several shards write: in a directory here, or at an address.

Its tables have the rows of all shards, with the numbers that `parquet/lake.py` maps to common ones.
The dictionaries that say which are common are read when the first table is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from methrics.aggregate.parquet.lake import (
    DICTIONARIES,
    RECORDS,
    Numbers,
    Shards,
    counted_once,
    read_numbers,
    read_shards,
)
from methrics.aggregate.parquet.manifest import File, Manifest
from methrics.aggregate.parquet.remote import RemoteDirectory
from methrics.aggregate.read.sources import FarDirectory, Listed, Local, LocalDirectory, Place
from methrics.aggregate.store.duck import memory
from methrics.schema.wire.shard import Shard


class Lake(Listed):
    """What the shards of one lake have, as one data set."""

    where: Path | str
    """The directory or the address."""
    partial = False
    """Whether parts of shards may be missing."""

    def take_shards(self, shards: Shards, merged: Manifest) -> None:
        """Use other manifests; `merged` is that of all files. Raises StoreError `store-shards` if a
        shard's part is missing, unless `partial`."""
        if not self.partial:
            shards.require_all(self.where)
        self.take(merged)
        self.shards = shards
        self._numbers: Numbers | None = None
        self._own: dict[Place, dict[Shard, list[File]]] = {}
        for shard, manifest in shards.manifests.items():
            for one in manifest.files:
                self._own.setdefault(one.place, {}).setdefault(shard, []).append(one)

    @property
    def missing(self) -> tuple[Shard, ...]:
        """The shards of which there is no manifest."""
        return self.shards.missing

    def count(self, place: Place) -> int | None:
        """Return the number of rows that the manifests say, unless several shards can have one."""
        return None if counted_once(place) else super().count(place)

    def rows(self, place: Place) -> str:
        """Return the rows of a table in the files of all shards."""
        numbers = self.numbers(records=place[0] == "main" and place[1] in RECORDS)
        return numbers.rows(place, self._paths([place])[place])

    def numbers(self, *, records: bool = False) -> Numbers:
        """Return the common numbers; with `records`, those of records, too."""
        known = self._numbers
        if known is None or (records and known.records is None):
            tables = [*DICTIONARIES, "record"] if records else list(DICTIONARIES)
            found = self._paths([("main", one) for one in tables])
            known = read_numbers(self.con, self.where, {one: found["main", one] for one in tables})
            self._numbers = known
        return known

    def _paths(self, tables: Sequence[Place]) -> dict[Place, dict[Shard, list[Path]]]:
        """Return the paths of the files of these tables, by shard."""
        wanted = [
            (place, shard, one)
            for place in tables
            for shard, files in self._own.get(place, {}).items()
            for one in files
        ]
        found: dict[Place, dict[Shard, list[Path]]] = {place: {} for place in tables}
        paths = self.bring([one for _, _, one in wanted])
        for (place, shard, _), path in zip(wanted, paths, strict=True):
            found[place].setdefault(shard, []).append(path)
        return found

    @abstractmethod
    def parts(self) -> Sequence[Listed]:
        """Return each shard as a data set of its own."""


class LocalLake(Lake, Local):
    """A directory on this machine into which several shards write. Raises StoreError."""

    def __init__(self, path: Path, count: int, *, partial: bool = False) -> None:
        super().__init__(path, memory())
        self.where = path
        self.partial = partial
        self._count = count
        self._left: dict[str, Shard] = {}
        """The shards of the files that were left out, by name."""
        try:
            self._take(read_shards(path, count))
        except BaseException:
            self.con.close()
            raise

    def _take(self, shards: Shards) -> None:
        self.take_shards(shards, shards.merged(self.path))

    def leave_out(self, names: Collection[str]) -> bool:
        """Use the manifests without the files with these names."""
        before = len(self._left)
        kept: dict[Shard, Manifest] = {}
        for shard, manifest in self.shards.manifests.items():
            self._left.update((one.name, shard) for one in manifest.files if one.name in names)
            files = tuple(one for one in manifest.files if one.name not in names)
            kept[shard] = replace(manifest, files=files)
        self._take(Shards(kept, self.missing))
        return len(self._left) > before

    def rows_of(self, one: File, path: Path) -> str:
        """Return the rows of a file that was left out, with the common numbers."""
        return self.numbers().rows(one.place, {self._left[one.name]: [path]})

    def parts(self) -> list[LocalDirectory]:
        """Return each shard as a data set of its own."""
        return [LocalDirectory(self.path, one) for one in self.shards.manifests]

    def renew(self) -> bool:
        """Read the manifests again."""
        newer = read_shards(self.path, self._count)
        if newer == self.shards:
            return False
        self._take(newer)
        return True


class FarLake(Lake, FarDirectory):
    """A lake at an address. Its files are fetched when `rows` needs them. Raises StoreError."""

    def __init__(self, remote: RemoteDirectory, *, partial: bool = False) -> None:
        self.where = remote.address
        self.partial = partial
        super().__init__(remote)

    def _newest(self) -> None:
        """Use the manifests that were read last."""
        if self.remote.shards is not None:
            self.take_shards(self.remote.shards, self.remote.manifest)

    def parts(self) -> list[_FarPart]:
        """Return each shard as a data set of its own."""
        return [_FarPart(self.remote, one) for one in self.shards.manifests.values()]


class _FarPart(Listed):
    """What one shard has of a lake at an address, of which all files have been fetched."""

    def __init__(self, remote: RemoteDirectory, manifest: Manifest) -> None:
        super().__init__(remote.folder, memory())
        self._remote = remote
        self.take(manifest)

    def bring(self, files: list[File]) -> list[Path]:
        """Return the paths of `files`."""
        return self._remote.bring(files)


__all__ = ["FarLake", "Lake", "LocalLake"]

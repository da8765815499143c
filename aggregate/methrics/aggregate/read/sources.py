"""The forms of a data set: which tables it has, and SQL for the rows of each.

- `AttachedFile`: a DuckDB file that nobody writes, with the settled Parquet files beside it.
- `LocalDirectory`: a directory of Parquet on this machine, by the files that its manifest lists.
- `FarDirectory`: one at an address. A file is fetched when a query first needs its table.
- `LoneFile`: one Parquet file.

`lake_sources.py` has those of a directory into which several shards write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from methrics.aggregate.parquet.directory import SAME_COLUMNS, places, read_directory
from methrics.aggregate.parquet.lake import manifest_name
from methrics.aggregate.parquet.manifest import MANIFEST, File, Manifest
from methrics.aggregate.parquet.remote import RemoteDirectory
from methrics.aggregate.read.dataframes import HOLDS
from methrics.aggregate.read.settled import Settled, read_settled
from methrics.aggregate.store.duck import (
    FILE_HINT,
    SCHEMA_ALIAS,
    Connection,
    attach_reader,
    memory,
    name,
    read_parquet_files,
)
from methrics.aggregate.store.migrations.run import wrong_version
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.stored_layout import read_shard
from methrics.aggregate.store.tables import BASE, LAYOUT_VERSION
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import WHOLE, Shard

Place = tuple[str, str]
"""SQL schema and table."""


class Source(ABC):
    """One data set. `con` is the connection that reads it."""

    kind = "parquet"
    """`file` for a DuckDB file, `parquet` for anything else."""
    here = True
    """Whether all of it is on this machine."""

    def __init__(self, path: Path, con: Connection) -> None:
        self.path = path
        """The file or directory on this machine that is read."""
        self.con = con
        self.title = path.name
        """What is shown to people."""
        self.written: str | None = None
        """When the Parquet was written (ISO 8601, UTC); None for a DuckDB file."""

    @property
    def shard(self) -> Shard:
        """The part of all ids that the data set has."""
        return WHOLE

    @abstractmethod
    def tables(self) -> list[Place]:
        """Return all tables."""

    @abstractmethod
    def rows(self, place: Place) -> str:
        """Return SQL for the rows of a table, such as `read_parquet(...)`. Files at an address are
        fetched first."""

    def readable(self) -> list[Path]:
        """Return the files and folders that a query may read."""
        return [self.path]

    def count(self, place: Place) -> int | None:
        """Return the number of rows of a table if it is known without reading them."""
        return None

    def renew(self) -> bool:
        """Look for a newer state of the data; return whether there is one."""
        return False

    @property
    def missing(self) -> tuple[Shard, ...]:
        """The parts of all ids that the data set should have and lacks."""
        return ()

    def listed(self) -> list[tuple[File, Path]]:
        """Return the Parquet files on this machine of which size and SHA-256 are known, with their
        paths. Those that were fetched have been compared already."""
        return []

    def leave_out(self, names: Collection[str]) -> bool:
        """Read none of the `listed` files with these names any more; return whether there are
        any."""
        return False

    def rows_of(self, one: File, path: Path) -> str:
        """Return SQL for the rows of one of the `listed` files, which may have been left out."""
        return read_parquet_files([path])

    def close(self) -> None:
        """Close what is open."""
        self.con.close()


class LoneFile(Source):
    """One Parquet file, which is one table."""

    def __init__(self, path: Path, place: Place) -> None:
        super().__init__(path, memory())
        self._place = place

    def tables(self) -> list[Place]:
        """Return the one table."""
        return [self._place]

    def rows(self, place: Place) -> str:
        """Return the rows of the file."""
        return read_parquet_files([self.path])


class Listed(Source):
    """A directory, here or at an address, of which `manifest` lists the files."""

    manifest: Manifest

    @property
    def shard(self) -> Shard:
        """The shard of the manifest."""
        return self.manifest.shard

    def take(self, manifest: Manifest) -> None:
        """Use another manifest."""
        self.manifest = manifest
        self.written = manifest.written
        self._files: dict[Place, list[File]] = {}
        for one in manifest.files:
            self._files.setdefault(one.place, []).append(one)

    def tables(self) -> list[Place]:
        """Return the tables of the manifest."""
        return sorted(self._files)

    def files(self, place: Place) -> list[File]:
        """Return the files of a table."""
        return self._files[place]

    def count(self, place: Place) -> int | None:
        """Return the number of rows that the manifest says."""
        return sum(one.rows for one in self.files(place))

    def rows(self, place: Place) -> str:
        """Return the rows of the files of a table."""
        schema, table = place
        same = schema == "main" and table in SAME_COLUMNS
        return read_parquet_files(self.bring(self.files(place)), by_name=not same)

    @abstractmethod
    def bring(self, files: list[File]) -> list[Path]:
        """Return the paths of `files` on this machine."""


class Local(Listed):
    """Listed files that are on this machine."""

    def bring(self, files: list[File]) -> list[Path]:
        """Return the paths of `files`."""
        return places(self.path, files)

    def listed(self) -> list[tuple[File, Path]]:
        """Return the files of the manifest."""
        files = list(self.manifest.files)
        return list(zip(files, self.bring(files), strict=True))


class LocalDirectory(Local):
    """A directory of Parquet on this machine, as of its manifest; or the shard `part` of a lake.
    Raises StoreError."""

    def __init__(self, path: Path, part: Shard | None = None) -> None:
        super().__init__(path, memory())
        self._name = MANIFEST if part is None else manifest_name(part)
        self.take(read_directory(path, self._name))

    def leave_out(self, names: Collection[str]) -> bool:
        """Use the manifest without the files with these names."""
        kept = tuple(one for one in self.manifest.files if one.name not in names)
        changed = len(kept) < len(self.manifest.files)
        self.take(replace(self.manifest, files=kept))
        return changed

    def renew(self) -> bool:
        """Read the manifest again."""
        newer = read_directory(self.path, self._name)
        if newer == self.manifest:
            return False
        self.take(newer)
        return True


class FarDirectory(Listed):
    """A directory at an address. Its files are fetched when `rows` needs them."""

    here = False

    def __init__(self, remote: RemoteDirectory) -> None:
        self.remote = remote
        super().__init__(remote.folder, memory())
        self.title = Path(urlsplit(remote.address).path).name or remote.address
        self._newest()
        remote.tidy()

    def _newest(self) -> None:
        """Use the manifest that was read last."""
        self.take(self.remote.manifest)

    def bring(self, files: list[File]) -> list[Path]:
        """Fetch those of `files` that are not here; return the paths of all."""
        try:
            return self.remote.bring(files)
        finally:
            self.remote.progress("")
            if self.remote.manifest is not self.manifest:
                self._newest()

    def everything(self) -> None:
        """Fetch all files. Raises StaleError if the directory changes meanwhile."""
        self.bring(list(self.manifest.files))

    def renew(self) -> bool:
        """Read the manifest again."""
        if not self.remote.renew():
            return False
        self._newest()
        return True

    def close(self) -> None:
        """Close the connections. Fetched files stay for the next time."""
        self.remote.close()
        super().close()


class AttachedFile(Source):
    """A DuckDB file that nobody writes. Its tables are those in the file and, of settled months,
    the Parquet files beside it, without the rows that are dead.

    Raises StoreError: store-foreign, store-version; `FileBusyError` if somebody writes the file;
    store-missing if a settled file is not there.
    """

    kind = "file"

    def __init__(self, path: Path) -> None:
        con = memory()
        try:
            attach_reader(con, path)
            super().__init__(path, con)
            self._own = _tables_of(con, path)
            self.settled = read_settled(con, SCHEMA_ALIAS, directory_beside(path))
        except BaseException:
            con.close()
            raise

    @property
    def shard(self) -> Shard:
        """The shard that the file is of."""
        return read_shard(self.con)

    def tables(self) -> list[Place]:
        """Return the tables of the file. A settled table is in the file too, if only empty. Those
        that only the writer needs are left out."""
        return sorted(one for one in self._own if one[0] != "main" or one[1] in HOLDS)

    def rows(self, place: Place) -> str:
        """Return the rows of a table in the file and in settled files."""
        schema, table = place
        own = name(SCHEMA_ALIAS, schema, table)
        if place == ("main", "manifest"):  # those of open days are replaced, and not published
            return f"(FROM {own} WHERE closed)"
        paths = self.settled.paths(place)
        if not paths:
            return own
        alive = f"SELECT * FROM {read_parquet_files(paths)}"
        if self.settled.dead:
            alive += f" ANTI JOIN {name(SCHEMA_ALIAS, 'main', 'dead')} USING (n)"
        return f"(FROM {own} UNION ALL BY NAME {alive})"

    def listed(self) -> list[tuple[File, Path]]:
        """Return the files of the settled months."""
        return [pair for place in self.settled.files for pair in self.settled.pairs(place)]

    def leave_out(self, names: Collection[str]) -> bool:
        """Read no settled file with one of these names."""
        before = len(self.listed())
        for place, own in self.settled.files.items():
            self.settled.files[place] = [one for one in own if one.name not in names]
        return len(self.listed()) < before

    def readable(self) -> list[Path]:
        """Return the directory of the settled files, if there are any."""
        return [self.settled.directory] if self.settled.files else []


def _tables_of(con: Connection, path: Path) -> set[Place]:
    """Return the tables of the attached file. Raises StoreError unless it is of this layout."""
    found: Iterable[Place] = con.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?",
        [SCHEMA_ALIAS],
    ).fetchall()
    tables = set(found)
    if ("main", "meta") not in tables:
        raise StoreError("store-foreign", f"{path} is a DuckDB file of something else", FILE_HINT)
    row = con.execute(f"SELECT layout FROM {SCHEMA_ALIAS}.meta").fetchone()
    if row != (LAYOUT_VERSION,):
        raise wrong_version(path, row[0] if row else 0)
    if not {("main", table) for table in BASE} <= tables:
        raise StoreError("store-foreign", f"{path} is a DuckDB file of something else", FILE_HINT)
    return tables


__all__ = [
    "AttachedFile",
    "FarDirectory",
    "Listed",
    "Local",
    "LocalDirectory",
    "LoneFile",
    "Place",
    "Settled",
    "Source",
]

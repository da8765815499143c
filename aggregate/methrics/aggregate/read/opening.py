"""Decides in which form a data set is read: a file, the directory beside it, or an address."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from methrics.aggregate.parquet.directory import is_parquet
from methrics.aggregate.parquet.download import found_at, is_address, name_of
from methrics.aggregate.parquet.fetching import AnsweredError, Progress
from methrics.aggregate.parquet.lake import shards_in
from methrics.aggregate.parquet.manifest import MANIFEST, folders_of
from methrics.aggregate.parquet.remote import RemoteDirectory
from methrics.aggregate.parquet.views_file import VIEWS
from methrics.aggregate.read.lake_sources import FarLake, LocalLake
from methrics.aggregate.read.live import LIVE_HINT, live_status
from methrics.aggregate.read.sources import (
    AttachedFile,
    FarDirectory,
    LocalDirectory,
    LoneFile,
    Source,
)
from methrics.aggregate.store.duck import FILE_HINT, FileBusyError
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.scratch import scratch_folder
from methrics.node.paths import user_paths
from methrics.schema.errors import ConfigError, StoreError, UnreachableError

CACHE = "fetched"
"""The folder in the user's data folder that keeps fetched files."""


class LiveOnlyError(StoreError):
    """The address is that of a running aggregator, which answers questions and gives no files."""

    def __init__(self, address: str) -> None:
        super().__init__(
            "live-only",
            f"{address} is a running aggregator, which gives no files",
            "name its DuckDB file, or a directory or an address of its Parquet",
        )
        self.address = address


def open_source(
    path: Path | str,
    cache: Path | None,
    size_max: int,
    progress: Progress,
    *,
    partial: bool = False,
) -> Source:
    """Open a path or an address in the form in which it can be read: see `open_dataset`.

    `partial`: a lake may lack the parts of shards. Raises LiveOnlyError for the address of a
    running aggregator.
    """
    if is_address(str(path)):
        with fetching(str(path)):
            return _far(str(path), cache, size_max, progress, partial=partial)
    return _near(Path(path), partial=partial)


@contextmanager
def fetching(address: str) -> Iterator[None]:
    """If a server answers in the block and has no data at `address`, find out what is there.

    Raises LiveOnlyError for a running aggregator, and UnreachableError for anything else.
    """
    try:
        yield
    except AnsweredError as error:
        live = address.rstrip("/")
        try:
            status = live_status(live)
        except UnreachableError:
            status = None
        if status is not None:
            raise LiveOnlyError(live) from error
        raise UnreachableError(
            error.code,
            f"{error.message}; nor does a running aggregator answer there",
            "the address of a directory ends in a slash: https://example.org/metrics.parquet/",
        ) from error
    except UnreachableError as error:
        if urlsplit(address).path.strip("/") or type(error) is not UnreachableError:
            raise
        raise UnreachableError(error.code, error.message, LIVE_HINT) from error


def _far(
    address: str, cache: Path | None, size_max: int, progress: Progress, *, partial: bool
) -> Source:
    """Open an address. A single file is kept only while it is open, unless there is a `cache`."""
    folder = Path(tempfile.mkdtemp(dir=scratch_folder())) if cache is None else cache
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = found_at(address, folder, size_max=size_max, progress=progress)
        if isinstance(found, str):
            kept = _cache(folder) if cache is None else cache
            source: Source = _remote(found, kept, size_max, progress, partial=partial)
        else:
            source = _near(found)
    except BaseException:
        if cache is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if cache is None:
        weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
    return source


def _remote(
    address: str, cache: Path, size_max: int, progress: Progress, *, partial: bool
) -> Source:
    """Open the address of a directory, which ends in a slash; its files are kept in a folder of
    `cache`. Raises what `RemoteDirectory` raises."""
    title = name_of(address)
    short = hashlib.sha256(address.encode()).hexdigest()[:16]

    def tell(line: str) -> None:
        progress(line and f"{title}: {line}")

    remote = RemoteDirectory(address, cache / short, size_max=size_max, progress=tell)
    try:
        if remote.shards is None:
            return FarDirectory(remote)
        return FarLake(remote, partial=partial)
    except BaseException:
        remote.close()
        raise


def _cache(otherwise: Path) -> Path:
    """Return the user's folder of fetched files; `otherwise` if no home folder is known."""
    try:
        return Path(user_paths().data, CACHE)
    except ConfigError:
        return otherwise


def _near(path: Path, *, partial: bool = False) -> Source:
    """Open a path."""
    if not path.exists():
        raise StoreError(
            "store-missing", f"{path} cannot be opened: there is no such file", FILE_HINT
        )
    if path.is_dir():
        return _directory(path, partial=partial)
    if path.name in (MANIFEST, VIEWS) and (path.parent / MANIFEST).is_file():
        raise StoreError(
            "store-foreign", f"{path} is a part of a directory", f"name the directory {path.parent}"
        )
    if is_parquet(path):
        return LoneFile(path, _table_of(path))
    try:
        return AttachedFile(path)
    except FileBusyError as busy:
        beside = directory_beside(path)
        if not (beside / MANIFEST).exists():
            raise StoreError(
                "store-busy",
                f"{path} is in use and there is no Parquet beside it yet",
                "wait for the aggregator's first export, or stop it",
            ) from busy
        return _directory(beside, partial=partial)


def _directory(path: Path, *, partial: bool) -> Source:
    count = shards_in(path)
    return LocalDirectory(path) if count is None else LocalLake(path, count, partial=partial)


def _table_of(path: Path) -> tuple[str, str]:
    """Return the SQL schema and table of one Parquet file of a directory, from the file's path. If
    its folders are not those of such a directory, the table has the name of the file."""
    *parts, _ = folders_of(path.absolute().as_posix())
    match parts[-4:]:
        case [*_, "dictionary"]:
            return "main", path.name.partition(".")[0]
        case [*_, "tombstone"]:
            return "main", "tombstone"
        case ["types", schema, table, _]:
            return schema, table
        case ["raw", *_]:
            return "main", "item"
    return "main", path.stem

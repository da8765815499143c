"""Copies a Parquet directory that an aggregator writes, or a lake of several, while they run.

A file of the directory never changes under its name. So a backup links or copies only the files
that it lacks, and is complete when its manifest is replaced. If the aggregator deletes a file
meanwhile, the copy begins anew with the newer manifest. The backup of a lake is a lake: the parts
of its shards can be brought together, or each by itself, by several machines at the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from methrics.aggregate.parquet.directory import read_regular
from methrics.aggregate.parquet.files import replace_file, sync_folder
from methrics.aggregate.parquet.lake import (
    decode_shards,
    make_lake,
    manifest_name,
    shards_in,
    shards_said,
    touch_lake,
)
from methrics.aggregate.parquet.manifest import MANIFEST, File, Manifest, decode_manifest
from methrics.aggregate.store.duck import translated_errors
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import Shard, shards_of

TRIES = 5
"""Number of manifests that are tried. Each stays complete for a time of grace after the next."""

_FRESH = f"{MANIFEST}.tmp"
_OTHER = "name another folder"
_OURS = re.compile(
    r"(dictionary|tombstone|raw|types)/([^/]+/){0,4}([^/]+-)?[0-9a-f]{12}\.parquet(\.tmp)?"
)
"""The name of a file that an export has written (`files.py`), or of one that was being copied."""
_EXPORT = "name the file of an aggregator, after its first export"


@dataclass(slots=True)
class BackedUp:
    """The result of a backup."""

    written: str
    """When the aggregator wrote what the backup holds (ISO 8601, UTC)."""
    files: int
    """Files of the backup."""
    new: int = 0
    """Those of them that were linked or copied now."""
    new_bytes: int = 0
    removed: int = 0
    """Files of earlier backups that are not current any more, and were deleted there."""


@dataclass(frozen=True, slots=True)
class _State:
    """What is to be in the backup."""

    texts: Mapping[str, bytes]
    """The bytes of the manifests, by name; of a lake, without `manifest.json`."""
    manifest: Manifest
    """That of all files."""
    shards: tuple[Shard, ...]
    """The shards of a lake whose parts it is; none for the directory of one aggregator."""

    def names(self) -> set[str]:
        """Return the names of all files."""
        return {one.name for one in self.manifest.files}


def back_up(
    directory: Path, target: Path, *, check_all: bool = False, only: Shard | None = None
) -> BackedUp:
    """Bring the folder `target` to the state of the Parquet `directory`; of a lake, to that of all
    shards, or of one shard `only`, which leaves the parts of the others in `target` alone.

    New files are verified by their SHA-256, with `check_all` the others, too, which are then
    replaced if they are damaged. If this is interrupted, `target` has still what it had, and the
    next call continues. Raises StoreError: `store-foreign` if `target` is no backup and not empty,
    or one of another kind, `store-broken` if a file of `directory` is not what its manifest says,
    `store-shards` if a shard's part of a lake is missing.
    """
    with translated_errors(target):
        state = _read(directory, only)
        before = _begin(directory, target, state)
        for last in (False,) * (TRIES - 1) + (True,):
            done = BackedUp(state.manifest.written, len(state.manifest.files))
            try:
                for one in state.manifest.files:
                    _bring(one, directory, target, done, check=check_all)
                break
            except FileNotFoundError as error:
                newer = _read(directory, only)
                if last or newer.texts == state.texts:
                    raise StoreError(
                        "store-broken", f"{error.filename} is missing, and its manifest lists it"
                    ) from error
                state = newer
        _sync_names(target, state.manifest)
        _put(target, state)
        for name in before.union(_ours_in(target, state.shards)) - state.names():
            _remove(target, name)
            done.removed += 1
    return done


def _read(directory: Path, only: Shard | None) -> _State:
    """Read the manifest of a directory, or those of a lake. Raises StoreError."""
    if not directory.is_dir():
        raise StoreError("store-missing", f"there is no directory {directory}", _EXPORT)
    text = read_regular(directory, MANIFEST)
    if text is None:
        raise StoreError("store-missing", f"{directory} has no {MANIFEST}", _EXPORT)
    count = shards_said(text)
    if count is None:
        manifest = decode_manifest(text, str(directory))
        if only not in (None, manifest.shard):
            raise StoreError(
                "store-foreign", f"{directory} is not of shard {only}", "leave out --shard"
            )
        return _State({MANIFEST: text}, manifest, ())
    if only is not None and only.count != count:
        raise StoreError("store-foreign", f"{directory} is a lake of {count} shards")
    of = shards_of(count) if only is None else (only,)
    texts = {one: read_regular(directory, manifest_name(one)) for one in of}
    shards = decode_shards(texts.items(), f"{directory}/")
    if only is not None and shards.missing:
        raise StoreError("store-shards", f"{directory} has no part of shard {only}", _EXPORT)
    shards.require_all(directory)
    named = {manifest_name(one): text for one, text in texts.items() if text is not None}
    return _State(named, shards.merged(directory), of)


def _begin(directory: Path, target: Path, state: _State) -> frozenset[str]:
    """Make `target`, unless it is a backup. Return the names of the files of the last one."""
    target.mkdir(parents=True, exist_ok=True)
    inside, outside = target.resolve(), directory.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise StoreError("store-foreign", f"{target} and {directory} overlap", _OTHER)
    if state.shards:
        make_lake(target, state.shards[0])
    elif (target / MANIFEST).is_file():
        if shards_in(target) is not None:
            raise StoreError("store-foreign", f"{target} is the backup of a lake", _OTHER)
    elif any(not one.is_dir() and one.name != _FRESH for one in target.iterdir()):
        raise StoreError("store-foreign", f"{target} is no backup and is not empty", _OTHER)
    texts = {name: read_regular(target, name) for name in state.texts}
    known = [decode_manifest(text, str(target)) for text in texts.values() if text is not None]
    return frozenset(one.name for manifest in known for one in manifest.files)


def _bring(one: File, directory: Path, target: Path, done: BackedUp, *, check: bool) -> None:
    """Make sure that `target` has a file of the manifest. Raises FileNotFoundError if it has not,
    and neither has `directory`."""
    there = target / one.name
    if _is_there(one, there) and not (check and _digest(there) != one.sha256):
        return
    there.parent.mkdir(parents=True, exist_ok=True)
    fresh = there.with_name(f"{there.name}.tmp")
    fresh.unlink(missing_ok=True)
    try:
        os.link(directory / one.name, fresh)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(directory / one.name, fresh)
    if _digest(fresh) != one.sha256:
        fresh.unlink()
        raise StoreError(
            "store-broken",
            f"{directory / one.name} is not the file that its manifest lists",
            "the last backup is as it was",
        )
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(there)
    done.new += 1
    done.new_bytes += one.size


def _is_there(one: File, path: Path) -> bool:
    try:
        return path.stat().st_size == one.size
    except FileNotFoundError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_names(target: Path, manifest: Manifest) -> None:
    """Make the names of all files of the manifest last on disk, also of those that an interrupted
    call has brought."""
    folders = {target.parent}
    for one in manifest.files:
        folder = (target / one.name).parent
        while folder not in folders:
            folders.add(folder)
            folder = folder.parent
    for folder in folders - {target.parent}:
        sync_folder(folder)
    with contextlib.suppress(PermissionError):  # a folder of others, which may not be read
        sync_folder(target.parent)


def _put(target: Path, state: _State) -> None:
    """Replace the manifests of `target`; from then on the new backup counts."""
    for name, text in state.texts.items():
        replace_file(target / name, text)
    if state.shards:
        touch_lake(target, state.shards[0])


def _ours_in(target: Path, shards: tuple[Shard, ...]) -> Iterator[str]:
    """Yield the names of the files that a backup has brought, also of one that was interrupted: no
    manifest lists those, and what they have may be erased by now. Of a lake, only those of
    `shards`."""
    own = {one.folder for one in shards}
    for folder, _, files in os.walk(target):
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(target).as_posix()
            if _OURS.fullmatch(name) and (not own or path.parent.name in own):
                yield name


def _remove(target: Path, name: str) -> None:
    path = target / name
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()

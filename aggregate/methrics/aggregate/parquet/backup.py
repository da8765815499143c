"""Copies a Parquet directory that an aggregator writes, while it runs.

A file of the directory never changes under its name. So a backup links or copies only the files
that it lacks, and is complete when its manifest is replaced. If the aggregator deletes a file
meanwhile, the copy begins anew with the newer manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from methrics.aggregate.parquet.files import sync_folder
from methrics.aggregate.parquet.manifest import MANIFEST, File, Manifest, decode_manifest
from methrics.aggregate.store.duck import translated_errors
from methrics.schema.errors import StoreError

TRIES = 5
"""Number of manifests that are tried. Each stays complete for a time of grace after the next."""

_FRESH = f"{MANIFEST}.tmp"
_OTHER = "name another folder"
_OURS = re.compile(
    r"(dictionary|tombstone|raw|types)/([^/]+/){0,4}([^/]+-)?[0-9a-f]{12}\.parquet(\.tmp)?"
)
"""The name of a file that an export has written (`files.py`), or of one that was being copied."""


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


def back_up(directory: Path, target: Path, *, check_all: bool = False) -> BackedUp:
    """Bring the folder `target` to the state of the Parquet `directory`.

    New files are verified by their SHA-256, with `check_all` the others, too, which are then
    replaced if they are damaged. If this is interrupted, `target` has still what it had, and the
    next call continues. Raises StoreError: `store-foreign` if `target` is no backup and not empty,
    `store-broken` if a file of `directory` is not what its manifest says.
    """
    with translated_errors(target):
        before = _begin(directory, target)
        known = before.files if before is not None else ()
        for last in (False,) * (TRIES - 1) + (True,):
            text = _read(directory)
            manifest = decode_manifest(text, str(directory))
            done = BackedUp(manifest.written, len(manifest.files))
            try:
                for one in manifest.files:
                    _bring(one, directory, target, done, check=check_all)
                break
            except FileNotFoundError as error:
                if last or _read(directory) == text:
                    raise StoreError(
                        "store-broken", f"{error.filename} is missing, and its manifest lists it"
                    ) from error
        _sync_names(target, manifest)
        _put(target, text)
        current = {one.name for one in manifest.files}
        for name in {one.name for one in known}.union(_ours_in(target)) - current:
            _remove(target, name)
            done.removed += 1
    return done


def _begin(directory: Path, target: Path) -> Manifest | None:
    """Return the manifest of the last backup in `target`, if there is one."""
    if not directory.is_dir():
        raise StoreError(
            "store-missing",
            f"there is no directory {directory}",
            "name the file of an aggregator, after its first export",
        )
    if not (directory / MANIFEST).is_file():
        raise StoreError(
            "store-missing",
            f"{directory} has no {MANIFEST}",
            "name the file of an aggregator, after its first export",
        )
    target.mkdir(parents=True, exist_ok=True)
    inside, outside = target.resolve(), directory.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise StoreError(
            "store-foreign", f"{target} and {directory} overlap", "name another folder"
        )
    if (target / MANIFEST).is_file():
        return decode_manifest((target / MANIFEST).read_bytes(), str(target))
    if any(not one.is_dir() and one.name != _FRESH for one in target.iterdir()):
        raise StoreError("store-foreign", f"{target} is no backup and is not empty", _OTHER)
    return None


def _read(directory: Path) -> bytes:
    return (directory / MANIFEST).read_bytes()


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


def _put(target: Path, text: bytes) -> None:
    """Replace the manifest of `target`; from then on the new backup counts."""
    fresh = target / _FRESH
    with fresh.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(target / MANIFEST)
    sync_folder(target)


def _ours_in(target: Path) -> Iterator[str]:
    """Yield the names of the files that a backup has brought, also of one that was interrupted: no
    manifest lists those, and what they have may be erased by now."""
    for folder, _, files in os.walk(target):
        for file in files:
            name = Path(folder, file).relative_to(target).as_posix()
            if _OURS.fullmatch(name):
                yield name


def _remove(target: Path, name: str) -> None:
    path = target / name
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()

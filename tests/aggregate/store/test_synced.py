"""A power cut loses nothing: a file is on disk before it is named, and its name before it counts.

A process that is killed loses nothing that it has written, so only the order of the calls to the
system shows what a power cut would lose.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aggregate_making as making
import pytest
from settling import CATALOG, ERASURES, LATER, NOW, RAWS, commit

from methrics.aggregate.parquet.backup import back_up
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store import commit_marker
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook


class Disk:
    """Notes what is synced, and what is named before it is."""

    def __init__(self) -> None:
        self.synced: list[tuple[int, int]] = []
        """Number and size of each file, when it was synced."""
        self.early: list[str] = []
        """Files that were renamed before their content was on disk."""
        self.unnamed: set[Path] = set()
        """Folders with names that are not on disk yet."""

    def sync(self, number: int) -> None:
        found = os.fstat(number)
        if stat.S_ISDIR(found.st_mode):
            self.unnamed = {one for one in self.unnamed if one.stat().st_ino != found.st_ino}
        else:
            self.synced.append((found.st_ino, found.st_size))

    def has(self, path: Path) -> bool:
        found = path.stat()
        return (found.st_ino, found.st_size) in self.synced


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of this test, which notes the calls of `fsync`, `rename` and `mkdir`."""
    made = Disk()
    real_replace, real_mkdir = Path.replace, Path.mkdir

    def noted(sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(number: int) -> None:
            sync(number)
            made.sync(number)

        return synced

    def replace(old: Path, new: Path) -> Path:
        if not made.has(old):
            made.early.append(new.name)
        made.unnamed.add(new.parent)
        return real_replace(old, new)

    def mkdir(folder: Path, *given: Any, **named: Any) -> None:
        if not folder.exists():
            made.unnamed.add(folder.parent)
        real_mkdir(folder, *given, **named)

    monkeypatch.setattr(os, "fsync", noted(os.fsync))
    monkeypatch.setattr(commit_marker, "_sync", noted(commit_marker._sync))
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    return made


def filled(path: Path) -> Store:
    store = Store(path)
    store.commit(making.batch([CATALOG.raw, *RAWS], CatalogBook()))
    return store


def test_the_number_of_a_commit_is_on_disk_when_it_is_acknowledged(
    tmp_path: Path, disk: Disk
) -> None:
    with filled(tmp_path / "a.duckdb") as store:
        marker = commit_marker.marker_of(store.path)
        for raw in (making.beat(CATALOG, 90, NOW), *ERASURES):
            disk.synced.clear()
            commit(store, raw)
            assert disk.has(marker)


def test_parquet_is_on_disk_with_its_name_before_the_file_relies_on_it(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    relied: list[bool] = []
    change_parts = Store.change_parts

    def noted(store: Store, *given: Any) -> None:
        assert disk.unnamed == set()
        relied.append(True)
        change_parts(store, *given)

    monkeypatch.setattr(Store, "change_parts", noted)
    with filled(tmp_path / "a.duckdb") as store:
        exporter = Exporter(store, grace=0)
        exporter.export(NOW)
        commit(store, *ERASURES)
        exporter.export(LATER)
        exporter.export(LATER)
        exporter.close()
        assert store.compact()
    assert len(relied) > 2
    assert (disk.early, disk.unnamed) == ([], set())


def test_a_rewritten_file_is_on_disk_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, disk: Disk
) -> None:
    with filled(tmp_path / "a.duckdb") as store:
        commit(store, *ERASURES)
        disk.synced.clear()
        assert store.compact()
    assert (disk.early, disk.unnamed) == ([], set())


def test_a_backup_is_on_disk_with_all_names_when_its_manifest_is_replaced(
    tmp_path: Path, disk: Disk
) -> None:
    with filled(tmp_path / "a.duckdb") as store:
        exporter = Exporter(store)
        exporter.export(NOW)
        exporter.close()
        back_up(store.directory, tmp_path / "backup")
    assert (disk.early, disk.unnamed) == ([], set())

"""Backups of a Parquet directory that is written meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aggregate_making as making
import pytest
from traces import left_on_disk

from methrics.aggregate.cli.main import main
from methrics.aggregate.parquet import backup
from methrics.aggregate.parquet.backup import back_up
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.manifest import File
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore.restore import restore
from methrics.aggregate.store.digest import combine
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
NOW = making.NOW


class Writer:
    """A store that exports when told, and deletes what is not current at once."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.directory = directory_beside(path)
        self.exporter = Exporter(self.store, grace=0)
        self.now = NOW

    def write(self, raws: list[bytes]) -> None:
        book = making.book(CATALOG) if self.store.total else CatalogBook()
        first = [] if self.store.total else [CATALOG.raw]
        self.store.commit(making.batch([*first, *raws], book))
        self.export()

    def export(self) -> None:
        self.now += 60
        self.exporter.export(self.now)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    writer = Writer(path)
    yield writer
    writer.exporter.close()
    writer.store.close()


def beats(first: int, last: int) -> list[bytes]:
    return [making.beat(CATALOG, i) for i in range(first, last)]


def reports(folder: Path) -> int:
    with open_dataset(folder) as dataset:
        assert verify(dataset).ok
        return verify(dataset).reports


def test_a_backup_of_a_running_writer_is_complete_and_the_next_copies_only_what_is_new(
    tmp_path: Path,
) -> None:
    target = tmp_path / "backup"
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 40))
        first = back_up(writer.directory, target)
        assert first.new == first.files
        assert reports(target) == 40
        again = back_up(writer.directory, target)
        assert (again.new, again.removed) == (0, 0)
        writer.write(beats(40, 50))
        second = back_up(writer.directory, target)
        assert 0 < second.new < second.files
        assert reports(target) == 50
        names = {str(one.relative_to(target)) for one in target.rglob("*.parquet")}
        listed = {
            one["name"] for one in json.loads((target / "manifest.json").read_text())["files"]
        }
        assert names == listed, "what is not current any more is gone"


def test_a_backup_restores_to_the_same_digest(tmp_path: Path) -> None:
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write([*beats(0, 40), making.erasure(CATALOG, beats(0, 1)[0], "beat", 0)])
        back_up(writer.directory, tmp_path / "backup")
        wanted = combine(writer.store.day_digests())
    with Store(tmp_path / "b.duckdb") as store, open_dataset(tmp_path / "backup") as dataset:
        restore(dataset, store, lambda: NOW)
        assert [one.digest for one in combine(store.day_digests())] == [wanted[0].digest]


def test_what_was_erased_leaves_the_backup_with_the_next_run(tmp_path: Path) -> None:
    target, gone = tmp_path / "backup", beats(3, 4)[0]
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 10))
        back_up(writer.directory, target)
        writer.write([making.erasure(CATALOG, gone, "beat", 3)])
        assert left_on_disk(target, gone) > {"id", "key"}
        assert back_up(writer.directory, target).removed > 0
    assert left_on_disk(target, gone) == {"id", "key"}, "those of the tombstone"
    with open_dataset(target) as dataset:
        assert (gone,) not in dataset.rows("SELECT raw FROM item")
        assert dataset.rows("SELECT count(*) FROM item") == [(9,)]


@pytest.mark.parametrize("step", ["_put", "_remove"])
def test_what_was_erased_leaves_a_backup_that_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """No manifest lists the files that were brought, or those that were to be removed."""
    target, gone = tmp_path / "backup", beats(3, 4)[0]
    (target / "types" / "own").mkdir(parents=True)
    (target / "raw").mkdir()
    for own in ("types/own/photos.parquet", "raw/notes-0123456789ab.txt"):
        (target / own).write_text("of somebody else")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 10))
        if step == "_remove":
            back_up(writer.directory, target)
            writer.write([making.erasure(CATALOG, gone, "beat", 3)])
        monkeypatch.setattr(backup, step, killed)
        with pytest.raises(KeyboardInterrupt):
            back_up(writer.directory, target)
        monkeypatch.undo()
        assert left_on_disk(target, gone) > {"id", "key"}
        half = next(target.rglob("raw/test/**/*.parquet"))
        half.rename(half.with_name(f"{half.name}.tmp"))  # of a copy that was not finished
        writer.write([making.erasure(CATALOG, gone, "beat", 3), *beats(20, 30)])
        back_up(writer.directory, target)
    assert left_on_disk(target, gone) == {"id", "key"}
    assert reports(target) == 19
    assert (target / "types/own/photos.parquet").read_text() == "of somebody else"
    assert (target / "raw/notes-0123456789ab.txt").exists()


def test_a_file_that_the_writer_deletes_meanwhile_begins_the_copy_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, real = tmp_path / "backup", backup._bring
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 10))
        calls = 0

        def slow(one: File, *more: object, **named: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                writer.write(beats(10, 20))  # replaces most files, and deletes the old ones
                writer.export()
                writer.write(beats(20, 21))
            real(one, *more, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(backup, "_bring", slow)
        done = back_up(writer.directory, target)
        assert calls > done.files, "it began anew"
    assert reports(target) == 21


def test_a_damaged_source_is_named_and_the_last_backup_stays(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 10))
        back_up(writer.directory, target)
        before = (target / "manifest.json").read_bytes()
        writer.write(beats(10, 20))
        new = {one.relative_to(writer.directory) for one in writer.directory.rglob("*.parquet")}
        old = {one.relative_to(target) for one in target.rglob("*.parquet")}
        damaged = writer.directory / min(new - old)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
        with pytest.raises(StoreError, match="is not the file that its manifest lists"):
            back_up(writer.directory, target)
        damaged.unlink()
        with pytest.raises(StoreError, match="is missing"):
            back_up(writer.directory, target)
    assert (target / "manifest.json").read_bytes() == before
    assert reports(target) == 10


def test_a_damaged_backup_is_found_and_repaired_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 10))
        back_up(writer.directory, target)
        damaged = next(target.glob("raw/**/*.parquet"))
        good = damaged.read_bytes()
        damaged.unlink()
        damaged.write_bytes(b"x" + good[1:])
        assert back_up(writer.directory, target).new == 0
        assert back_up(writer.directory, target, check_all=True).new == 1
        assert damaged.read_bytes() == good


def test_a_foreign_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 3))
        for folder in (target, writer.directory, writer.directory / "raw", tmp_path):
            with pytest.raises(StoreError) as caught:
                back_up(writer.directory, folder)
            assert caught.value.code == "store-foreign"
    assert [one.name for one in target.iterdir()] == ["notes.txt"]
    with pytest.raises(StoreError) as caught:
        back_up(tmp_path / "nothing.parquet", tmp_path / "backup")
    assert caught.value.code == "store-missing"


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 5))
        back_up(writer.directory, tmp_path / "backup")
    assert reports(tmp_path / "backup") == 5


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path / "a.duckdb") as writer:
        writer.write(beats(0, 5))
        assert main(["backup", str(tmp_path / "a.duckdb"), str(tmp_path / "backup")]) == 0
        assert "has the state of 2026-09-21 14:21:00 UTC" in capsys.readouterr().out
        command = ["backup", str(writer.directory), str(tmp_path / "backup"), "--json", "--check"]
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out)["new"] == 0
    assert reports(tmp_path / "backup") == 5

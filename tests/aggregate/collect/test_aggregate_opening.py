"""The file of an aggregator that another program has open, or that is damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.cli.main import main
from methrics.aggregate.collect import opening
from methrics.aggregate.collect.opening import (
    Busy,
    Opening,
    SetAside,
    TakenOver,
    is_free,
    only_aggregator,
    open_file,
    side_of,
)
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore.restore import restore
from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.commit_marker import marker_of
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.read_all import read_all
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
BEATS = [making.beat(CATALOG, i) for i in range(60)]
NOW = making.NOW

FIRST_BLOCK, BLOCK = 12_288, 262_144
"""Where the blocks of a file begin, and their size."""

HOLD = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Another process, which has the file open to read it, like a notebook. Yields its number."""
    command = [sys.executable, "-c", HOLD, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


def store_exported(path: Path, raws: list[bytes]) -> None:
    """Put items into a file with its Parquet beside it."""
    with Store(path) as store:
        store.commit(making.batch([CATALOG.raw, *raws], CatalogBook()))
        exporter = Exporter(store)
        exporter.export(NOW)
        exporter.close()


def more(raws: list[bytes]) -> Batch:
    return making.batch(raws, making.book(CATALOG))


def stored(path: Path) -> list[bytes]:
    """The exact bytes of the reports in a file, all valid."""
    with open_dataset(path) as dataset:
        assert dataset.source == "file"
        assert verify(dataset).ok
        return sorted(raw for (raw,) in dataset.rows("SELECT raw FROM item"))


def test_a_busy_file_is_named_with_its_reader_and_a_side_file_takes_its_place(
    tmp_path: Path,
) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    store_exported(path, BEATS[:10])
    with held(path) as pid:
        assert not is_free(path)
        opened = open_file(path, NOW, told.append)
        assert opened.side
        with opened.store as side:
            assert [one.id for one in side.catalogs()] == [CATALOG.id]
            assert len(side.records()) == 1
            side.commit(more(BEATS[5:30]))
    (busy,) = told
    assert isinstance(busy, Busy)
    assert f"is in use by process {pid} ({sys.executable}" in busy.line()
    assert len(busy.line().splitlines()) == 1, "the command of the process has several"
    assert is_free(path)
    told.clear()
    opened = open_file(path, NOW, told.append)
    assert not opened.side
    opened.store.close()
    assert [type(one) for one in told] == [TakenOver]
    assert "took 20 reports over from" in told[0].line()
    assert stored(path) == sorted(BEATS[:30])
    assert list(tmp_path.glob("*.side*")) == []


def test_the_parquet_of_a_side_file_goes_with_it(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    store_exported(path, BEATS[:10])
    store_exported(side_of(path), BEATS[5:30])
    open_file(path, NOW, told.append).store.close()
    assert [type(one) for one in told] == [TakenOver]
    assert stored(path) == sorted(BEATS[:30])
    assert list(tmp_path.glob("*.side*")) == []


def test_a_link_to_the_parquet_of_a_side_file_is_removed_and_not_what_it_leads_to(
    tmp_path: Path,
) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    store_exported(side_of(path), BEATS[5:30])
    beside = directory_beside(side_of(path))
    beside.rename(tmp_path / "elsewhere")
    beside.symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    open_file(path, NOW, told.append).store.close()
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before
    assert list(tmp_path.glob("*.side*")) == []


def test_a_side_file_of_which_not_all_could_be_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    store_exported(side_of(path), BEATS[5:30])

    def partly(*given: object) -> object:
        found = restore(*given)  # type: ignore[arg-type]
        found.unreadable.append("2026-09-21: it cannot be read")
        return found

    monkeypatch.setattr(opening, "restore", partly)
    open_file(path, NOW, told.append).store.close()
    assert "not readable: 2026-09-21" in told[0].line()
    (kept,) = tmp_path.glob("metrics.side.damaged-*.duckdb")
    assert directory_beside(kept).is_dir()
    assert stored(kept) == sorted(BEATS[5:30])
    assert not side_of(path).exists()
    told.clear()
    monkeypatch.undo()
    open_file(path, NOW, told.append).store.close()
    assert told == [], "it is taken over once"


@pytest.mark.parametrize("step", ["_remove_parquet", "rmtree"])
def test_what_a_kill_left_of_a_side_file_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Else its bytes stay for ever, and the next side file cannot be exported."""
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    store_exported(path, BEATS[:10])
    store_exported(side_of(path), BEATS[5:30])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    where = opening if step.startswith("_") else shutil
    monkeypatch.setattr(where, step, killed)
    with pytest.raises(KeyboardInterrupt):
        open_file(path, NOW, told.append)
    monkeypatch.undo()
    assert directory_beside(side_of(path)).is_dir()
    open_file(path, NOW, told.append).store.close()
    assert stored(path) == sorted(BEATS[:30])
    assert list(tmp_path.glob("*.side*")) == []


def test_the_parquet_of_a_side_file_that_somebody_removed_is_taken_over(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    store_exported(path, BEATS[:10])
    store_exported(side_of(path), BEATS[5:30])
    side_of(path).unlink()
    open_file(path, NOW, told.append).store.close()
    assert [one.line().split(" over from")[0] for one in told] == ["took 20 reports"]
    assert stored(path) == sorted(BEATS[:30])


def test_a_busy_file_that_alone_says_what_to_collect_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.duckdb"
    making.store_all(path, [CATALOG.raw])
    with held(path):
        assert main(["aggregate", str(path)]) == 3
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "is in use, and nothing else says what to collect (close the program" in told.err


def test_without_parquet_beside_it_a_busy_file_still_gets_a_side_file(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    with held(path):
        opened = open_file(path, NOW, told.append)
        with opened.store as side:
            assert side.catalogs() == []


def test_an_empty_side_file_is_no_reason_to_stop(tmp_path: Path) -> None:
    """A process that was killed when it made the file, or a full disk, leaves one."""
    path, said = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS[:5]])
    side_of(path).touch()
    with open_file(path, NOW, said.append).store as store:
        assert store.total == 5
    assert said == []
    assert not side_of(path).exists()


def test_erasures_survive_the_side_file(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    gone = making.erasure(CATALOG, BEATS[3], "beat", 3)
    making.store_all(side_of(path), [CATALOG.raw, gone, *BEATS[20:22]])
    open_file(path, NOW, told.append).store.close()
    assert stored(path) == sorted([*BEATS[:3], *BEATS[4:10], *BEATS[20:22]])


class Dying(Store):
    """A store whose process dies after some commits."""

    commits = 0

    def commit(self, batch: Batch) -> Committed:
        if not self.commits:
            raise KeyboardInterrupt
        self.commits -= 1
        return super().commit(batch)


def test_attack_a_taking_that_dies_anywhere_is_done_again_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    path, side = tmp_path / "metrics.duckdb", tmp_path / "metrics.side.duckdb"
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    gone = making.erasure(CATALOG, BEATS[3], "beat", 3)
    making.store_all(side, [CATALOG.raw, gone, *BEATS[5:40]])
    before = path.read_bytes()
    for commits in range(4):
        path.write_bytes(before)
        marker_of(path).unlink(missing_ok=True)  # an older copy in its place is noticed
        with Dying(path) as store, open_dataset(side) as dataset:
            store.commits = commits
            with pytest.raises(KeyboardInterrupt):
                restore(dataset, store, lambda: NOW)
        found = stored(path)
        assert len(found) == len(set(found))
        assert set(found) >= set(BEATS[:10]) - {BEATS[3]}
        with Store(path) as store, open_dataset(side) as dataset:
            restore(dataset, store, lambda: NOW)
        assert stored(path) == sorted([*BEATS[:3], *BEATS[4:40]])


def flip(at: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            found = file.read(64)
            file.seek(at)
            file.write(bytes(one ^ 0xFF for one in found))

    return damage


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    "damage", [flip(4096), flip(8192), flip(17_288), flip(0), cut, emptied, zeroed]
)
def test_a_damaged_file_is_set_aside_and_the_parquet_is_taken_over(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    store_exported(path, BEATS)
    damage(path)
    bytes_before = path.read_bytes()
    opened = open_file(path, NOW, told.append)
    assert opened.store.total == 60
    opened.store.close()
    assert stored(path) == sorted(BEATS)
    aside = told[0]
    assert isinstance(aside, SetAside)
    assert aside.aside.name == "metrics.damaged-20260921T142000Z.duckdb"
    assert aside.aside.read_bytes() == bytes_before, "nothing is deleted"
    assert (tmp_path / "metrics.damaged-20260921T142000Z.parquet" / "manifest.json").exists()
    assert str(aside.aside) in aside.line()


def test_damage_that_nothing_would_read_is_found_at_the_start(tmp_path: Path) -> None:
    """Wherever a block is damaged: a file that opens is no sound file."""
    path, found = tmp_path / "metrics.duckdb", 0
    store_exported(path, BEATS)
    whole, directory = path.read_bytes(), directory_beside(path)
    shutil.copytree(directory, tmp_path / "kept")
    blocks = (len(whole) - FIRST_BLOCK) // BLOCK
    for block in range(0, blocks, max(1, blocks // 5)):
        told = list[Opening]()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", directory)
        path.write_bytes(whole)
        flip(FIRST_BLOCK + block * BLOCK + 100)(path)
        with open_file(path, NOW, told.append).store as store:
            read_all(store)
        assert stored(path) == sorted(BEATS)
        found += any(isinstance(one, SetAside) for one in told)
    assert found > 1


def test_what_can_be_read_of_a_damaged_file_is_taken_over(tmp_path: Path) -> None:
    """Damage that was found while collecting: the rest of the file is fine."""
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS])
    opened = open_file(path, NOW, told.append, StoreError("store-damaged", "a page is damaged"))
    opened.store.close()
    assert stored(path) == sorted(BEATS)
    assert "took 60 reports over from" in told[1].line()


def test_two_damages_in_one_second_have_two_names(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    damage = StoreError("store-damaged", "a page is damaged")
    for _ in range(2):
        making.store_all(path, [CATALOG.raw, *BEATS[:5]])
        open_file(path, NOW, told.append, damage).store.close()
    names = [one.aside.name for one in told if isinstance(one, SetAside)]
    assert len(set(names)) == 2
    assert len(list(tmp_path.glob("*.damaged-*.duckdb"))) == 2


def test_a_file_that_is_not_ours_is_never_moved(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which no program may move")
    with pytest.raises(StoreError) as caught:
        open_file(path, NOW, lambda event: None)
    assert caught.value.code == "store-foreign"
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("version", ["v1.5.0", "latest"])
def test_a_database_of_another_program_is_never_moved(tmp_path: Path, version: str) -> None:
    path = tmp_path / "metrics.duckdb"
    with memory() as con:
        con.execute(f"ATTACH '{path}' AS other (STORAGE_VERSION '{version}')")
        con.execute("CREATE TABLE other.sales AS SELECT 1 AS amount")
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        open_file(path, NOW, lambda event: None)
    assert caught.value.code == "store-foreign"
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["text", "database", "empty", "folder"])
def test_nothing_is_left_beside_a_file_that_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "metrics.duckdb"
    if kind == "database":
        with memory() as con:
            con.execute(f"ATTACH '{path}' AS other")
            con.execute("CREATE TABLE other.sales AS SELECT 1 AS amount")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("" if kind == "empty" else "my notes, which no program may move")
    with pytest.raises(StoreError) as caught, only_aggregator(path):
        pass
    assert caught.value.code == "store-foreign"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_two_aggregators_on_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.duckdb"
    with only_aggregator(path):
        with pytest.raises(StoreError) as caught, only_aggregator(path):
            pass
        assert caught.value.code == "aggregator-running"
        assert f"(process {os.getpid()})" in str(caught.value)
    with only_aggregator(path):
        pass


def test_a_damaged_side_file_keeps_no_aggregator_from_starting(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.duckdb", list[Opening]()
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    making.store_all(side_of(path), [CATALOG.raw, *BEATS[10:20]])
    cut(side_of(path))
    open_file(path, NOW, told.append).store.close()
    assert [type(one) for one in told] == [SetAside, TakenOver]
    assert stored(path) == sorted(BEATS[:10])
    assert not opening.side_of(path).exists()

"""Rewriting the file: deleted bytes are gone from the disk, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import aggregate_making as making
import pytest
from traces import left_on_disk

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store import compaction
from methrics.aggregate.store import store as store_module
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.waste import ROWS_LEAST, Wasted
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
GONE = making.beat(CATALOG, 0)
REST = [making.beat(CATALOG, i) for i in range(1, 40)]
LATER = [making.walk(CATALOG, 1), making.clicks(CATALOG, 1), making.beat(CATALOG, 90)]
ERASURE = making.erasure(CATALOG, GONE, "beat", 0)


def filled(path: Path) -> tuple[Store, CatalogBook]:
    """A store with the report to be erased, on disk in the file itself, and then erased."""
    book = CatalogBook()
    with Store(path) as store:
        store.commit(making.batch([CATALOG.raw, GONE, *REST], book))
    store = Store(path)
    store.commit(making.batch([ERASURE], book))
    return store, book


@pytest.mark.shows("NEW-3", "METH-16")
def test_an_erased_report_is_gone_from_the_disk(tmp_path: Path) -> None:
    store, book = filled(tmp_path / "a.duckdb")
    with store:
        # The tombstone has the erased report's id and the key, which keep it out.
        kept = {"id", "key"}
        assert left_on_disk(tmp_path, GONE) > kept
        wasted = store.wasted()
        assert wasted is not None
        assert (wasted.rows, wasted.since) == (1, making.NOW)
        digests = store.day_digests()
        assert store.compact()
        assert store.wasted() is None
        assert left_on_disk(tmp_path, GONE) == kept
        assert store.day_digests() == digests
        done = store.commit(making.batch([GONE, *LATER], book))
        assert (done.reports, done.erased) == (3, 1)
        assert store.total == len(REST) + len(LATER)
    assert left_on_disk(tmp_path, GONE) == kept
    assert sorted(os.listdir(tmp_path)) == ["a.duckdb", "a.duckdb.commits"]
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        found = verify(dataset)
        assert (found.mismatches, found.reports) == ([], len(REST) + len(LATER))


def test_a_file_is_rewritten_in_time_whatever_the_clock_does() -> None:
    few, many = Wasted(1, making.NOW), Wasted(ROWS_LEAST, making.NOW)
    for waited, due in ((0, False), (1799, False), (1800, True), (-1, True)):
        assert few.is_due(making.NOW + waited, 3600.0, 10) is due
    assert many.is_due(making.NOW, 3600.0, ROWS_LEAST)
    assert not many.is_due(making.NOW, 3600.0, ROWS_LEAST + 1)


def test_what_is_committed_meanwhile_is_in_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, book = filled(tmp_path / "a.duckdb")
    with store:
        more = [making.beat(CATALOG, i) for i in range(100, 120)]
        also = making.erasure(CATALOG, REST[0], "beat", 1)

        def copy_slowly(*arguments: object) -> int:
            last = compaction.copy(*arguments)  # type: ignore[arg-type]
            store.commit(making.batch([*more, also], book))
            return last

        monkeypatch.setattr(store_module, "copy", copy_slowly)
        assert store.compact()
        assert store.total == len(REST) - 1 + len(more)
        wasted = store.wasted()
        assert wasted is not None
        assert wasted.rows == 1  # the erasure that came during the copy waits for the next
        assert "signature" not in left_on_disk(tmp_path, GONE)
        monkeypatch.undo()
        assert store.compact()
        assert "signature" not in left_on_disk(tmp_path, REST[0])
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert verify(dataset).mismatches == []
        assert dataset.rows("SELECT count(*) FROM test.beat") == [(len(REST) - 1 + len(more),)]


def test_a_table_that_is_made_meanwhile_makes_it_start_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, book = filled(tmp_path / "a.duckdb")
    with store:

        def copy_slowly(*arguments: object) -> int:
            last = compaction.copy(*arguments)  # type: ignore[arg-type]
            store.commit(making.batch([making.walk(CATALOG, 1)], book))
            return last

        monkeypatch.setattr(store_module, "copy", copy_slowly)
        assert not store.compact()
        monkeypatch.undo()
        assert store.total == len(REST) + 1
        assert store.compact()
        assert store.total == len(REST) + 1


def test_readers_are_waited_for_and_new_ones_wait(tmp_path: Path) -> None:
    store, book = filled(tmp_path / "a.duckdb")
    with store:
        with store.reading() as con:
            assert not store.compact(patience=0.0)
            before = con.execute("SELECT count(*) FROM item").fetchall()
            store.commit(making.batch(LATER, book))
            assert con.execute("SELECT count(*) FROM item").fetchall() == before
            done: list[bool] = []
            thread = threading.Thread(target=lambda: done.append(store.compact()))
            thread.start()
        thread.join()
        assert done == [True]
        with store.reading() as con:
            counted = con.execute("SELECT count(*) FROM item").fetchall()
        assert counted == [(len(REST) + len(LATER),)]


@pytest.mark.parametrize("step", ["copy", "catch_up", "swap"])
def test_a_failure_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store, book = filled(tmp_path / "a.duckdb")
    with store:

        def fails(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store_module, step, fails)
        with pytest.raises(StoreError) as caught:
            store.compact()
        assert caught.value.code == "store-full"
        monkeypatch.undo()
        assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".new") == []
        assert store.commit(making.batch(LATER, book)).reports == 3
        assert store.compact()


def test_a_disk_without_room_for_a_copy_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, book = filled(tmp_path / "a.duckdb")
    with store:
        monkeypatch.setattr(compaction, "ROOM", 1 << 60)
        with pytest.raises(StoreError, match="cannot be rewritten") as caught:
            store.compact()
        assert caught.value.code == "store-full"
        assert not list(tmp_path.glob("*.new*"))
        assert store.commit(making.batch(LATER, book)).reports == 3


KILLING = Path(__file__).with_name("compacting.py")


@pytest.mark.wire
@pytest.mark.parametrize("step", range(8))
def test_attack_kill_the_rewriting_at_any_step(tmp_path: Path, step: int) -> None:
    path = tmp_path / "a.duckdb"
    store, book = filled(path)
    with store:
        store.commit(making.batch(LATER, book))
    done = subprocess.run(
        [sys.executable, str(KILLING), str(path), str(step)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Store(path) as store:
        assert store.total == len(REST) + len(LATER)
        assert store.commit(making.batch([GONE, REST[3]], book)).reports == 0
        assert store.compact()
        assert left_on_disk(tmp_path, GONE) == {"id", "key"}
    assert sorted(os.listdir(tmp_path)) == ["a.duckdb", "a.duckdb.commits"]
    with open_dataset(path) as dataset:
        assert verify(dataset).mismatches == []


def test_a_file_behind_a_link_is_rewritten_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.duckdb").symlink_to(tmp_path / "disk" / "b.duckdb")
    store, _ = filled(tmp_path / "a.duckdb")
    with store:
        assert store.compact()
    assert (tmp_path / "a.duckdb").is_symlink()
    assert sorted(os.listdir(tmp_path / "disk")) == ["b.duckdb", "b.duckdb.commits"]
    assert "signature" not in left_on_disk(tmp_path, GONE)

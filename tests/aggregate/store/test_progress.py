"""A log that cannot be read to its end: lost commits are noticed, and taken from Parquet."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import aggregate_making as making
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.collect.opening import Opening, SetAside, TakenOver, open_file, side_of
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.commit_marker import (
    CommitMarker,
    Mark,
    decode_mark,
    encode_mark,
    marker_of,
)
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.set_aside import set_aside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

NOW = making.NOW
CATALOG = making.catalog()
BEATS = [making.beat(CATALOG, i) for i in range(50)]


def log_of(path: Path) -> Path:
    return Path(f"{path}.wal")


@cache
def _template(exported: int) -> tuple[tempfile.TemporaryDirectory[str], list[int]]:
    folder = tempfile.TemporaryDirectory(prefix="progress-")
    path, sizes = Path(folder.name, "real", "a.duckdb"), list[int]()
    path.parent.mkdir()
    with Store(path) as store:
        book = CatalogBook()
        store.commit(making.batch([CATALOG.raw], book))
        for i in range(5):
            store.commit(making.batch(BEATS[10 * i : 10 * i + 10], book))
            sizes.append(log_of(path).stat().st_size)
            if i + 1 == exported:
                Exporter(store).export(NOW)
        shutil.copytree(path.parent, Path(folder.name, "killed"))
    return folder, sizes


def killed(folder: Path, *, exported: int = 0) -> list[int]:
    """Put a file into `folder` as a killed process left it, with five commits of ten reports in its
    log, of which the first `exported` are in Parquet, too. Returns the size of the log after each
    commit."""
    made, sizes = _template(exported)
    shutil.copytree(Path(made.name, "killed"), folder, dirs_exist_ok=True)
    return sizes


def taken(path: Path) -> tuple[list[Opening], list[bytes]]:
    """Open a file as an aggregator does; return what it says, and the reports that it has then."""
    told: list[Opening] = []
    with open_file(path, NOW, told.append).store as store:
        rows = store.cursor().execute("SELECT raw FROM item").fetchall()
    return told, sorted(raw for (raw,) in rows)


def test_a_file_that_is_set_aside_keeps_its_marker(tmp_path: Path) -> None:
    """Otherwise nobody could tell any more how many commits it has lost."""
    path = tmp_path / "a.duckdb"
    killed(tmp_path)
    mark = CommitMarker(path).read()
    assert mark is not None
    aside = set_aside(path, directory_beside(path), NOW)
    assert CommitMarker(aside).read() == mark
    assert not marker_of(path).exists()


def test_a_killed_file_opens_with_all_its_commits(tmp_path: Path) -> None:
    killed(tmp_path)
    assert taken(tmp_path / "a.duckdb") == ([], sorted(BEATS))


def invert(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        found = file.read(4)
        file.seek(at)
        file.write(bytes(one ^ 0xFF for one in found))


DAMAGES: dict[str, Callable[[Path, list[int]], None]] = {
    "in an entry": lambda log, sizes: os.truncate(log, sizes[2] + 40),
    "between two commits": lambda log, sizes: os.truncate(log, sizes[2]),
    "a wrong checksum": lambda log, sizes: invert(log, sizes[2] + 100),
    "a wrong length": lambda log, sizes: invert(log, sizes[2]),
}
"""Damages of the log after its third commit. DuckDB says nothing of most of them."""


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("exported", [0, 4])
def test_lost_commits_are_noticed_and_the_rest_is_kept(
    tmp_path: Path, how: str, exported: int
) -> None:
    path = tmp_path / "a.duckdb"
    sizes = killed(tmp_path, exported=exported)
    DAMAGES[how](log_of(path), sizes)
    before = path.read_bytes(), log_of(path).read_bytes()
    told, found = taken(path)
    assert found == sorted(BEATS[: 10 * max(3, exported)])
    aside = told[0]
    assert isinstance(aside, SetAside)
    assert {type(one) for one in told[1:]} == {TakenOver}
    assert "log" in aside.line()
    assert (aside.aside.read_bytes(), Path(f"{aside.aside}.log").read_bytes()) == before
    assert not log_of(aside.aside).exists()
    assert taken(path)[0] == [], "it is well again"


@pytest.mark.parametrize("left", [0, 10, None])
def test_a_log_that_is_gone_is_noticed(tmp_path: Path, left: int | None) -> None:
    path = tmp_path / "a.duckdb"
    killed(tmp_path, exported=5)
    if left is None:
        log_of(path).unlink()
    else:
        os.truncate(log_of(path), left)
    told, found = taken(path)
    assert isinstance(told[0], SetAside)
    assert "lacks the last" in told[0].message
    assert found == sorted(BEATS)


def test_an_older_copy_of_the_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *BEATS[:10]])
    older = path.read_bytes()
    with Store(path) as store:
        store.commit(making.batch(BEATS[10:], making.book(CATALOG)))
    path.write_bytes(older)
    with pytest.raises(StoreError, match="lacks the last 1 of its 2 commits") as caught:
        Store(path)
    assert caught.value.code == "store-damaged"
    assert path.read_bytes() == older


def test_verify_says_which_commits_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    sizes = killed(tmp_path)
    with open_dataset(path) as dataset:
        assert verify(dataset).mismatches == []
    os.truncate(log_of(path), sizes[2])
    with open_dataset(path) as dataset:
        (found,) = verify(dataset).mismatches
    assert "the last 2 commits are missing" in str(found)


def test_a_new_or_another_file_in_its_place_is_fine(tmp_path: Path) -> None:
    path, other = tmp_path / "a.duckdb", tmp_path / "b.duckdb"
    making.store_all(path, [CATALOG.raw, *BEATS])
    path.unlink()
    assert marker_of(path).exists()
    making.store_all(path, [CATALOG.raw, *BEATS[:5]])
    making.store_all(other, [CATALOG.raw, *BEATS[:7]])
    other.replace(path)
    assert taken(path) == ([], sorted(BEATS[:7]))


def test_a_file_without_marker_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *BEATS[:5]])
    marker_of(path).unlink()
    with memory() as con:
        con.execute(f"ATTACH '{path}' AS m")
        con.execute("DROP TABLE m.commits")
    making.store_all(path, [CATALOG.raw, *BEATS[5:10]])
    mark = decode_mark(marker_of(path).read_bytes())
    assert mark is not None
    assert mark.number == 1
    assert taken(path) == ([], sorted(BEATS[:10]))


@pytest.mark.parametrize("text", [b"", b"x" * 73, b"methrics commits 1\n", b"x" * 500])
def test_a_damaged_marker_keeps_nothing_from_opening(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *BEATS[:5]])
    marker_of(path).write_bytes(text)
    making.store_all(path, [CATALOG.raw, *BEATS[5:10]])
    mark = decode_mark(marker_of(path).read_bytes())
    assert mark is not None
    assert mark.number == 2


def test_a_file_that_lost_a_commit_while_it_was_open_again_is_refused(tmp_path: Path) -> None:
    """The file is detached after a failed commit, and attached again with a damaged log."""
    path = tmp_path / "a.duckdb"
    with Store(path) as store:
        book = CatalogBook()
        store.commit(making.batch([CATALOG.raw], book))
        store.commit(making.batch(BEATS[:10], book))
        mark = decode_mark(marker_of(path).read_bytes())
        assert mark is not None
        store.cursor().execute("UPDATE commits SET n = n - 1").fetchall()
        with pytest.raises(StoreError, match="lacks the last 1 of its 2 commits"):
            store.reopen()
        with pytest.raises(StoreError, match="closed after an error"):
            store.commit(making.batch(BEATS[10:20], book))


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "store-full"), (errno.EROFS, "store-denied")]
)
def test_a_commit_whose_marker_cannot_be_written_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    path, book = tmp_path / "a.duckdb", CatalogBook()
    with Store(path) as store:
        store.commit(making.batch([CATALOG.raw], book))
        batch = making.batch(BEATS[:10], book)
        with monkeypatch.context() as patch:
            patch.setattr(CommitMarker, "write", refuse)
            with pytest.raises(StoreError) as caught:
                store.commit(batch)
            assert caught.value.code == code
        store.reopen()
        assert store.commit(batch).total == 10
    assert taken(path) == ([], sorted(BEATS[:10]))


def test_the_marker_of_a_side_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *BEATS[:5]])
    making.store_all(side_of(path), [CATALOG.raw, *BEATS[5:10]])
    assert taken(path)[1] == sorted(BEATS[:10])
    assert not marker_of(side_of(path)).exists()


def test_a_store_closes_while_somebody_reads_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    book = CatalogBook()
    with Store(path) as store:
        store.commit(making.batch([CATALOG.raw, *BEATS[:10]], book))
        reader = store.cursor()
        reader.execute("BEGIN")
        reader.execute("SELECT raw FROM item").fetchall()
        store.commit(making.batch([making.erasure(CATALOG, BEATS[3], "beat", 3)], book))
    reader.close()
    assert taken(path) == ([], sorted([*BEATS[:3], *BEATS[4:10]]))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 10**20 - 1))
def test_the_marker_round_trips(file: bytes, number: int) -> None:
    data = encode_mark(Mark(file, number))
    assert len(data) == 73
    assert decode_mark(data) == Mark(file, number)


@given(st.binary(max_size=100))
def test_any_other_bytes_are_no_marker(data: bytes) -> None:
    found = decode_mark(data)
    assert found is None or encode_mark(found) == data

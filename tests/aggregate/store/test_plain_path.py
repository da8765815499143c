"""Paths are paths: DuckDB opens the named file and no other, whatever characters the name has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import aggregate_making as making
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from methrics.aggregate.mine.find import Wanted, check
from methrics.aggregate.notebook.explore import open_data
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.simulate import Settings, simulate
from methrics.aggregate.store import scratch as module
from methrics.aggregate.store.plain_path import plain_file, plain_path
from methrics.aggregate.store.scratch import plain_temporary
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError

CATALOG = making.catalog()
COUNT = "SELECT count(*) FROM item WHERE kind = 1"
OWN, OTHER = 5, 2
BOOK = making.book(CATALOG)

ODD = ("run[1]", "a\\b", "a*b", "**", "[!a]", "[", "\\", "day=1", "~", "#", "%41", "a b")
ODD += ("it's", '"', "é", "a\nb", ":memory:", "s3:", "$HOME", "-x", "{a,b}", "\udcff", "😀", ";")

NAMES = st.text(
    st.sampled_from("[]?*\\#%~ '\"é={},:$-ab1\n\udc80\udcff"), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) < 200)


def make(folder: Path, reports: int) -> None:
    making.store_all(
        folder / "a.duckdb", [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(reports))]
    )
    with Store(folder / "a.duckdb") as store:
        export = Exporter(store)
        export.export(making.NOW)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders with a data set each: one to open, and one that a pattern could match."""
    folder = tmp_path_factory.mktemp("two")
    for name, reports in (("own", OWN), ("other", OTHER)):
        (folder / name).mkdir()
        make(folder / name, reports)
    return folder / "own", folder / "other"


@contextmanager
def named(folder: Path, name: str) -> Iterator[Path]:
    """Moves a folder to a parent of its own and the name `name`, and back."""
    place = folder.parent / "moved" / name
    place.parent.mkdir(exist_ok=True)
    folder.rename(place)
    try:
        yield place
    finally:
        place.rename(folder)


def counts(folder: Path) -> set[int]:
    """The number of reports in a data set, by each way to read it."""
    found = set()
    day = next((folder / "a.parquet").glob("raw/test/*/*/*.parquet"))
    for path in (folder / "a.duckdb", folder / "a.parquet", day):
        with open_dataset(path, floor=1) as data:
            found.add(data.rows(COUNT)[0][0])
            assert "day" not in data.arrow("FROM item").column_names or path != day
        found.add(check(str(path), [Wanted(bytes(32), making.NOW)]).total)
    return found


@given(NAMES)
@settings(max_examples=15, deadline=None)
def test_any_name_of_a_folder_is_read(two: tuple[Path, Path], name: str) -> None:
    own, other = two
    decoy = re.sub(r"[\[\]*?\\]", "", name) or "x"
    with named(own, name) as folder:
        if decoy in (name, ".", ".."):
            assert counts(folder) == {OWN}
        else:
            with named(other, decoy):
                assert counts(folder) == {OWN}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_written_exported_and_verified(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    make(folder, OWN)
    assert counts(folder) == {OWN}
    with open_dataset(folder / "a.parquet") as data:
        assert verify(data).reports == OWN
    with Store(folder / "a.duckdb") as store:
        assert store.total == OWN
        store.commit(making.batch([making.beat(CATALOG, 77)], BOOK))
        names = ["a.duckdb", "a.duckdb.commits", "a.duckdb.wal", "a.parquet"]
        assert sorted(os.listdir(folder)) == names
        assert open_dataset(folder / "a.duckdb", floor=1).source == "parquet", "it is in use"
    assert os.listdir(tmp_path) == [name], "nothing was written elsewhere"
    assert sorted(os.listdir(folder)) == ["a.duckdb", "a.duckdb.commits", "a.parquet"]


def test_a_question_mark_is_refused_where_the_log_would_be_in_another_folder(
    tmp_path: Path, two: tuple[Path, Path]
) -> None:
    (tmp_path / "a?b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a?b")
    for folder in (tmp_path / "a?b", tmp_path / "link"):
        with pytest.raises(StoreError, match="question mark") as raised:
            Store(folder / "a.duckdb")
        assert raised.value.code == "store-name"
    with pytest.raises(StoreError, match="question mark"):
        simulate(tmp_path / "a?b", Settings(installs=1_000_000))
    assert os.listdir(tmp_path / "a?b") == []
    with named(two[0], "a?b") as folder:
        assert counts(folder) == {OWN}
        (folder / "a.duckdb.wal").touch()
        with pytest.raises(StoreError, match="question mark"):
            open_dataset(folder / "a.duckdb")
        (folder / "a.duckdb.wal").unlink()
        assert counts(folder) == {OWN}


@pytest.mark.parametrize("name", ["run[1]", "a?b", "a#b", "a%b", "a b", "é"])
def test_a_file_address_of_an_odd_name(two: tuple[Path, Path], name: str) -> None:
    with (
        named(two[0], name) as folder,
        open_data(f"file://{quote(str(folder / 'a.parquet'))}") as data,
    ):
        assert data.rows(COUNT) == [(OWN,)]


def test_a_path_that_contains_an_address_is_a_path(two: tuple[Path, Path]) -> None:
    with named(two[0], "http:") as folder, open_data(f"{folder.parent}/http://a.duckdb") as data:
        assert data.rows(COUNT) == [(OWN,)]


@pytest.mark.parametrize("name", ["a\\b.duckdb", "\udcff.duckdb"])
def test_a_file_name_that_duckdb_cannot_use_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="file name") as raised:
        Store(tmp_path / name)
    assert raised.value.code == "store-name"
    (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(StoreError, match="file name"):
        open_dataset(tmp_path / name)


@pytest.mark.parametrize("name", ["a[1].duckdb", "a?b.duckdb", "a*.duckdb", "a#%20.duckdb"])
def test_an_odd_file_name(tmp_path: Path, name: str) -> None:
    making.store_all(tmp_path / name, [CATALOG.raw, making.beat(CATALOG, 1)])
    with open_dataset(tmp_path / name) as data:
        assert data.rows(COUNT) == [(1,)]
    assert sorted(os.listdir(tmp_path)) == [name, f"{name}.commits"]


@given(NAMES)
@example("plain")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_plain_path_leads_to_the_same_place(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    found = plain_path(folder)
    assert found.is_absolute()
    assert found.samefile(folder)
    assert not re.search(r"[*?\[\]\\\ud800-\udfff]", str(found))
    assert (found == folder) == (not re.search(r"[*?\[\]\\\ud800-\udfff]", str(folder)))
    assert plain_file(folder / "a.duckdb", writing=False).parent == found


def test_a_link_that_was_removed_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a[1]").mkdir()
    first = plain_path(tmp_path / "a[1]")
    assert plain_path(tmp_path / "a[1]") == first
    first.unlink()
    assert plain_path(tmp_path / "a[1]").samefile(tmp_path / "a[1]")


def test_a_system_without_links_gives_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(StoreError, match="no links here"):
        plain_path(tmp_path / "a[2]")


def test_an_odd_temporary_folder_is_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path / "a[1]"))
    assert "[" not in str(plain_temporary())


LEAVE = """
import os, sys
from pathlib import Path
from methrics.aggregate.store.plain_path import plain_path
link = plain_path(Path(sys.argv[1]))
if os.fork() == 0:
    sys.exit(0)
os.wait()
print(link.parent, link.is_symlink())
"""


def test_links_are_removed_when_their_process_ends(tmp_path: Path) -> None:
    run = [sys.executable, "-c", LEAVE, str(tmp_path / "a[1]")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    folder, there = done.stdout.split()
    assert there == "True", "a fork that ends first removes nothing"
    assert not Path(folder).exists()

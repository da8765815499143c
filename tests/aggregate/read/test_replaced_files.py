"""Readers of a directory whose files an aggregator replaces by newer ones at the same time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aggregate_making as making
import pytest
from layout_making import Writer

from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.read.dataset import RENEWALS_MAX, Dataset, open_dataset
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError

CATALOG = making.catalog()
COUNT = "SELECT count(*), count(DISTINCT n), max(n) FROM test.beat"


class Keeper:
    """Writes a directory again and again, each time with one report more, in files of new names."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "a.parquet"
        self.store = Store(folder / "a.duckdb")
        self.book = making.book(CATALOG)
        self.writer = Writer(self.directory, random.Random(1))
        self.count = 0
        self.store.commit(making.batch([CATALOG.raw], self.book))
        self.step()

    def step(self) -> None:
        """Write one report more."""
        self.store.commit(making.batch([making.beat(CATALOG, self.count)], self.book))
        self.count += 1
        self.writer.write(self.store, making.NOW + self.count)

    def forget(self, keep: frozenset[str] = frozenset()) -> None:
        """Delete the files that the manifest does not list, except those in `keep`."""
        listed = {one.name for one in read_directory(self.directory).files} | keep
        for path in self.directory.rglob("*.parquet"):
            if str(path.relative_to(self.directory)) not in listed:
                path.unlink()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    found = Keeper(tmp_path)
    yield found
    found.store.close()


def count(data: Dataset) -> int:
    """The number of reports; it is that of one state, and not of a mixture."""
    ((rows, numbers, last),) = data.rows(COUNT)
    assert rows == numbers == last
    return int(rows)


@contextmanager
def writing(keeper: Keeper) -> Iterator[Callable[[], None]]:
    """Write newer states meanwhile, a few after each call of the function that this gives: as many
    as a query may meet. A file is deleted as soon as two newer manifests are there."""
    turn, most, ended = threading.Condition(), keeper.count, False

    def more() -> None:
        nonlocal most
        with turn:
            most = keeper.count + RENEWALS_MAX
            turn.notify()

    def write() -> None:
        while True:
            with turn:
                turn.wait_for(lambda: ended or keeper.count < most)
            if ended:
                return
            before = frozenset(one.name for one in read_directory(keeper.directory).files)
            keeper.step()
            keeper.forget(before)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield more
    finally:
        with turn:
            ended = True
            turn.notify()
        thread.join()


def test_readers_see_one_whole_state_while_files_come_and_go(keeper: Keeper) -> None:
    with writing(keeper) as more, open_dataset(keeper.directory, floor=1) as long:
        seen = 0
        while keeper.count < 12:
            more()
            with open_dataset(keeper.directory, floor=1) as short:
                assert count(short) > 0
            assert count(long) >= seen
            seen = count(long)
    with open_dataset(keeper.directory) as data:
        assert count(data) == keeper.count


def test_what_is_open_stays_as_it_is_while_its_files_are_there(keeper: Keeper) -> None:
    with open_dataset(keeper.directory, floor=1) as data:
        assert count(data) == 1
        keeper.step()
        assert count(data) == 1
        assert data.refresh()
        assert count(data) == 2


def test_a_reader_whose_files_are_gone_reads_the_new_manifest_by_itself(keeper: Keeper) -> None:
    with open_dataset(keeper.directory, floor=1) as data:
        before = data.view("test.beat_dau").rows()
        for _ in range(3):
            keeper.step()
        keeper.forget()
        assert count(data) == 4
        (now,) = data.view("test.beat_dau").rows()
        assert [now] != before
        keeper.step()
        keeper.forget()
        assert data.sql(COUNT).fetchall() == [(5, 5, 5)]
        assert "4" not in data.footnote("test.beat_dau")


def test_a_manifest_whose_files_are_gone_before_they_are_listed_is_read_again(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_dataset(keeper.directory, floor=1) as data:
        plain, newer = data.origin.renew, [3, 4]

        def renew() -> bool:
            found = plain()
            if newer:
                keeper.step()
                keeper.forget()
                assert keeper.count == newer.pop(0)
            return found

        monkeypatch.setattr(data.origin, "renew", renew)
        keeper.step()
        keeper.forget()
        assert count(data) == 4


def test_a_table_that_was_not_used_yet_is_that_of_the_new_manifest(keeper: Keeper) -> None:
    with open_dataset(keeper.directory, floor=1) as data:
        keeper.store.commit(making.batch([making.walk(CATALOG, 0)], keeper.book))
        keeper.step()
        keeper.forget()
        assert data.rows("SELECT count(*) FROM test.beat") == [(2,)]
        assert data.rows("SELECT count(*) FROM test.walk") == [(1,)]
        assert "test.walk_funnel" in data.views()


def test_files_that_are_gone_without_a_new_manifest_are_a_clear_error(keeper: Keeper) -> None:
    with open_dataset(keeper.directory, floor=1) as data:
        for path in keeper.directory.glob("types/test/beat/*/*.parquet"):
            path.unlink()
        with pytest.raises(StoreError, match="No files found") as caught:
            count(data)
        assert "\n" not in str(caught.value)
        assert data.rows("SELECT count(*) FROM type") == [(1,)]

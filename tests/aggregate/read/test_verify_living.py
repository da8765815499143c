"""`verify` of a directory whose files an aggregator replaces and deletes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read import check_rows, verify_plan
from methrics.aggregate.read.check_rows import Result, Task
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
LARGE = 40


class Living:
    """An aggregator that exports, and deletes at once what nothing names any more."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "a.duckdb")
        self.exporter = Exporter(self.store, grace=0)
        self.book = making.book(CATALOG)
        self.count = 0
        self.now = making.NOW
        self.store.commit(making.batch([CATALOG.raw], CatalogBook()))
        self.take(LARGE)
        self.take(1)  # a part of its own, which the next report replaces

    def take(self, count: int) -> None:
        """Store as many reports more, and export."""
        raws = [making.beat(CATALOG, i) for i in range(self.count, self.count + count)]
        self.count += count
        self.store.commit(making.batch(raws, self.book))
        for _ in range(2):  # the second one deletes the files that the first one replaced
            self.now += 60
            self.exporter.export(self.now)


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Living]:
    monkeypatch.setattr(verify_plan, "TASK_ROWS", 10)
    made = Living(tmp_path)
    yield made
    made.exporter.close()
    made.store.close()


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The tasks that are worked on."""
    done: list[Task] = []
    plain = check_rows.RowChecker.check

    def check(self: check_rows.RowChecker, task: Task) -> Result:
        done.append(task)
        return plain(self, task)

    monkeypatch.setattr(check_rows.RowChecker, "check", check)
    return done


def verified(living: Living, counts: list[int], at_least: int = 0) -> Verification:
    """Verify, while so many reports more come at each of some steps."""
    left = list(counts)

    def progress(done: int, _total: int) -> None:
        if left and done >= at_least:
            living.take(left.pop(0))

    with open_dataset(living.store.directory) as dataset:
        found = verify(dataset, progress)
        assert found.reports == dataset.count("item")
    assert not left
    return found


@pytest.mark.parametrize(
    ("counts", "at_least"), [([1, 1], 0), ([14], 0), ([14], LARGE), ([1, 14], LARGE)]
)
def test_files_that_are_replaced_meanwhile_are_no_mismatch(
    living: Living, counts: list[int], at_least: int
) -> None:
    found = verified(living, counts, at_least)
    assert found.mismatches == []
    assert found.reports == living.count


def test_what_was_verified_of_files_that_stay_is_not_verified_again(
    living: Living, tasks: list[Task]
) -> None:
    assert verified(living, [1, 1], LARGE).ok
    done = [(task.files, task.first) for task in tasks]
    assert len(done) == len(set(done)) <= LARGE // 10 + 1 + 4


def test_a_file_that_is_missing_for_good_is_an_error(living: Living) -> None:
    raws = sorted(living.store.directory.glob("raw/test/beat/*/*.parquet"))
    with open_dataset(living.store.directory) as dataset:
        raws[0].unlink()
        with pytest.raises(StoreError):
            verify(dataset)


def test_attack_a_row_that_is_wrong_in_a_file_that_stays_is_found(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = check_rows.RowChecker.check
    wrong = [True]

    def check(self: check_rows.RowChecker, task: Task) -> Result:
        result = plain(self, task)
        if wrong and len(task.files) and result.found.reports >= 10:
            wrong.clear()
            result.found.add("item", 1, "wrong")
        return result

    monkeypatch.setattr(check_rows.RowChecker, "check", check)
    found = verified(living, [1, 1], LARGE)
    assert [str(one) for one in found.mismatches] == ["item 1: wrong"]

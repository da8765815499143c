"""Months that are over leave the DuckDB file, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import pytest
import settling
from settling import CATALOG, LATE, LATER, NOW, RAWS, STEPS, check, commit

from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.files import Files
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import DayDigest, digests
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.envelope import split


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose only month has been settled."""
    settling.begin(tmp_path / "a.duckdb")
    with Store(tmp_path / "a.duckdb") as store:
        Exporter(store, grace=0).export(LATER)
        yield store


def in_file(store: Store) -> list[tuple[int, ...]]:
    """The number of rows that the DuckDB file itself has."""
    tables = "item", "test.beat", "test.walk", "test.walk_step", "dead"
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    return store.cursor().execute(f"SELECT {counts}").fetchall()


def test_the_rows_of_a_month_that_is_over_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    wanted = settling.begin(path)
    end = int((making.NOW // making.DAY) * making.DAY) + 10 * making.DAY  # 2026-10-01
    with Store(path) as store:
        late = max(one.lateness for entry in store.catalogs() for one in entry.types.values())
        exporter = Exporter(store, grace=0)
        exporter.export(end + late + making.DAY - 1)
        assert in_file(store) == [(15, 10, 5, 9, 0)]
        exporter.export(end + late + making.DAY)
        assert in_file(store) == [(0, 0, 0, 0, 0)]
        check(store, wanted)
        files = read_directory(store.directory)
        settled = [one.name.rsplit("/", 1)[0] for one in files.files if one.settled]
        assert settled == [
            "raw/test/beat/2026-09",
            "raw/test/walk/2026-09",
            "types/test/beat/2026-09",
            "types/test/walk/2026-09",
            "types/test/walk_step/2026-09",
        ]
        assert store.wasted() is not None, "the bytes are still in the file"
    with Store(path) as store:
        check(store, wanted)
        with open_dataset(store.directory) as dataset:
            assert digests(dataset.connection) == wanted
            assert verify(dataset).ok


def test_a_type_with_reports_still_coming_in_is_not_settled(tmp_path: Path) -> None:
    wanted = settling.begin(tmp_path / "a.duckdb")
    with Store(tmp_path / "a.duckdb") as store:
        commit(store, *LATE)
        exporter = Exporter(store)
        exporter.export(LATER)
        assert in_file(store) == [(12, 12, 0, 0, 0)], "walk was quiet, and beat was not"
        exporter.export(LATER)
        assert in_file(store) == [(0, 0, 0, 0, 0)]
        assert sum(one.count for one in store.day_digests()) == 17
    assert sum(one.count for one in wanted) == 15


def test_numbers_go_on_after_all_rows_have_left(store: Store) -> None:
    path, total = store.path, store.total
    store.close()
    with Store(path) as again:
        commit(again, *LATE)
        assert again.total == total + 2
        again.close()
    with Store(path) as again:
        Exporter(again).export(LATER)
        Exporter(again).export(LATER)
        check(again, again.day_digests())


def test_a_settled_report_that_comes_again_is_a_duplicate(store: Store) -> None:
    before = store.day_digests()
    done = store.commit(making.batch([*RAWS, *LATE], making.book(CATALOG)))
    assert (done.reports, done.duplicates, done.erased) == (2, 15, 2)
    assert store.total == 17
    exporter = Exporter(store, grace=0)
    exporter.export(LATER)
    exporter.export(LATER)
    assert in_file(store) == [(0, 0, 0, 0, 0)]
    check(store, store.day_digests())
    assert sum(one.count for one in before) == 15


def test_a_settled_report_is_erased(store: Store) -> None:
    (old,) = (
        one
        for one in read_directory(store.directory).files
        if one.table == "item" and one.settled and "beat" in one.name
    )
    erasure = making.erasure(CATALOG, RAWS[4], "beat", 4, NOW - making.DAY)
    done = store.commit(making.batch([erasure], making.book(CATALOG)))
    assert (done.erased, done.total) == (1, 14)
    assert in_file(store)[0][-1] == 1
    wanted = store.day_digests()
    check(store, wanted)
    assert store.commit(making.batch([erasure, RAWS[4]], making.book(CATALOG))).erased == 1
    path = store.path
    store.close()
    with Store(path) as again:
        check(again, wanted)
        exporter = Exporter(again, grace=0)
        exporter.export(LATER)
        check(again, wanted)
        assert in_file(again)[0][-1] == 0
        assert not (again.directory / old.name).exists()
        signature = split(RAWS[4]).signature
        listed = read_directory(again.directory).files
        assert old.name not in {one.name for one in listed}
        with open_dataset(again.directory) as dataset:
            raws = [raw for (raw,) in dataset.rows("SELECT raw FROM item")]
        assert not any(signature in raw for raw in raws)


def test_settled_reports_are_revoked(store: Store) -> None:
    since = NOW - making.DAY
    raw = making.record(CATALOG, time=NOW - 500, revoked={"beat": since})
    done = store.commit(making.batch([raw], making.book(CATALOG)))
    beats = sum(NOW - making.DAY * (i % 3) >= since for i in range(12) if i not in (1, 2))
    assert (done.revoked, done.total) == (beats, 15 - beats)
    wanted = store.day_digests()
    check(store, wanted)
    Exporter(store, grace=0).export(LATER)
    check(store, wanted)
    with open_dataset(store.directory) as dataset:
        assert digests(dataset.connection) == wanted


def test_a_report_that_came_back_after_its_revocation_is_stored_again(store: Store) -> None:
    book = making.book(CATALOG)
    raws = [
        making.record(CATALOG, time=NOW - 500, revoked={"beat": NOW - 7 * making.DAY}),
        making.record(CATALOG, time=NOW - 400),
    ]
    for raw in raws:
        verdict = judge(raw, book, NOW)
        assert isinstance(verdict, Accepted)
        learn(verdict, book)
        store.commit(making.batch([raw], book))
    assert store.total == 5
    done = store.commit(making.batch(RAWS[3:12], making.book(CATALOG)))
    assert (done.reports, store.total) == (9, 14)
    exporter = Exporter(store, grace=0)
    exporter.export(LATER)
    exporter.export(LATER)
    check(store, store.day_digests())


def test_a_month_of_which_all_is_erased_has_no_file(store: Store) -> None:
    walks = [making.erasure(CATALOG, RAWS[12 + i], "walk", i, NOW) for i in range(5)]
    commit(store, *walks)
    Exporter(store, grace=0).export(LATER)
    found = {one.name.split("/")[2] for one in read_directory(store.directory).files if one.settled}
    assert found == {"beat"}
    check(store, store.day_digests())


def test_a_snapshot_from_before_reads_what_it_saw(tmp_path: Path) -> None:
    wanted = settling.begin(tmp_path / "a.duckdb")
    with Store(tmp_path / "a.duckdb") as store, store.reading() as old:
        items = store.items_sql(con=old)
        Exporter(store, grace=0).export(LATER)
        commit(store, making.erasure(CATALOG, RAWS[4], "beat", 4, NOW - making.DAY))
        Exporter(store, grace=0).export(LATER)
        assert old.execute(f"SELECT count(*) FROM {items}").fetchall() == [(15,)]
        assert store.day_digests(con=old) == wanted
        with store.reading() as new:
            items = store.items_sql(con=new)
            assert new.execute(f"SELECT count(*) FROM {items}").fetchall() == [(14,)]


def test_rows_deleted_while_a_month_is_settled_stay_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    settling.begin(path)
    with Store(path) as store:
        real = Store.change_parts

        def first_an_erasure(self: Store, change: object, now: int) -> None:
            commit(store, making.erasure(CATALOG, RAWS[4], "beat", 4, NOW - making.DAY), *LATE)
            monkeypatch.setattr(Store, "change_parts", real)
            real(self, change, now)  # type: ignore[arg-type]

        monkeypatch.setattr(Store, "change_parts", first_an_erasure)
        exporter = Exporter(store, grace=0)
        exporter.export(LATER)
        wanted = store.day_digests()
        assert sum(one.count for one in wanted) == 16
        check(store, wanted)
        for _ in range(2):
            exporter.export(LATER)
            check(store, wanted)
        assert in_file(store) == [(0, 0, 0, 0, 0)]


def test_a_settled_file_that_is_missing_is_told_at_the_start(store: Store) -> None:
    path, folder = store.path, store.directory
    store.close()
    (raw,) = folder.glob("raw/test/beat/2026-09/*.parquet")
    text = raw.read_bytes()
    for wrong in (text[:-1], None):
        raw.unlink()
        if wrong is not None:
            raw.write_bytes(wrong)
        with pytest.raises(StoreError, match="missing or cut short") as caught:
            Store(path)
        assert caught.value.code == "store-broken"
    raw.write_bytes(text)
    Store(path).close()


class DeathError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    ("step", "times"),
    [*((step, 1) for step in STEPS), ("before a file is synced", 9), ("in the transaction", 2)],
)
def test_an_export_that_fails_at_any_step_loses_nothing(
    tmp_path: Path, step: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.duckdb"
    wanted = settling.begin(path)

    def die() -> None:
        raise DeathError

    with monkeypatch.context() as patch:
        patch.setattr(*settling.dying(STEPS[step], times, die))
        store = Store(path)
        try:
            exporter = Exporter(store, grace=0)
            exporter.export(LATER)
            exporter.export(LATER)
        except DeathError:
            pass
        finally:
            store.close()
    _recovered(path, wanted)


@pytest.mark.parametrize(
    ("of", "what"), [(Files, "sync"), (Exporter, "_publish"), (Exporter, "_day_digests")]
)
def test_attack_bytes_erased_after_an_export_failed_are_gone(
    tmp_path: Path, of: type, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a moment leaves no file with what is erased later."""
    beats = [making.beat(CATALOG, i) for i in range(20)]
    with Store(tmp_path / "a.duckdb") as store:
        exporter = Exporter(store, grace=0)
        book = making.book(CATALOG)
        commit(store, CATALOG.raw)
        exporter.export(NOW)
        store.commit(making.batch(beats, book))
        with monkeypatch.context() as patch:
            patch.setattr(of, what, full)
            with pytest.raises(StoreError):
                exporter.export(NOW + 1)
        erasures = [making.erasure(CATALOG, raw, "beat", i) for i, raw in enumerate(beats)]
        store.commit(making.batch(erasures, book))
        exporter.export(NOW + 2)
        exporter.export(NOW + 3)
        exporter.close()
        raw = [path for path in store.directory.rglob("*.parquet*") if "raw" in path.parts]
        with memory() as con:
            rows = [
                row for path in raw for row in con.execute(f"SELECT raw FROM '{path}'").fetchall()
            ]
        assert rows == []


def full(*_: object) -> None:
    """Stands for a full disk."""
    raise OSError(errno.ENOSPC, "no space left on device")


@pytest.mark.wire
@pytest.mark.parametrize("step", STEPS)
def test_an_export_that_is_killed_at_any_step_loses_nothing(tmp_path: Path, step: str) -> None:
    with Store(tmp_path / "all.duckdb") as whole:
        kept = [raw for i, raw in enumerate(RAWS) if i not in (1, 2)]
        whole.commit(making.batch([CATALOG.raw, *kept, *LATE], CatalogBook()))
        more = whole.day_digests()
    path = tmp_path / "a.duckdb"
    wanted = settling.begin(path)
    killed = subprocess.run(
        [sys.executable, settling.__file__, path, step, "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with Store(path) as store:
        found = store.day_digests()
    assert found in (wanted, more)
    _recovered(path, found)


def _recovered(path: Path, wanted: list[DayDigest]) -> None:
    """Check that nothing is lost or doubled, and that the next exports bring all into order."""
    with Store(path) as store:
        check(store, wanted)
        exporter = Exporter(store, grace=0)
        for _ in range(2):
            exporter.export(LATER)
            check(store, wanted)
        assert in_file(store) == [(0, 0, 0, 0, 0)]
        folder = store.directory
        manifest = read_directory(folder)
        listed = {one.name for one in manifest.files}
        there = {one.relative_to(folder).as_posix() for one in folder.rglob("*.parquet")}
        assert listed == there
        assert not list(folder.rglob("*.tmp"))
        days = {day: (one.count, one.digest) for day, one in manifest.days["test"].items()}
        assert days == {one.date: (one.count, one.digest) for one in wanted}

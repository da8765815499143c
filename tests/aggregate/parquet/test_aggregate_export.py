"""The directory of Parquet beside the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet import groups, whole
from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.files import Files
from methrics.aggregate.parquet.manifest import MANIFEST, Manifest
from methrics.aggregate.parquet.views_file import VIEWS
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import digests
from methrics.aggregate.store.duck import attach_reader, memory
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

NOW = making.NOW
DAY = making.DAY
CATALOG = making.catalog()
TABLES = ("item", "catalog", "type", "field", "code", "test.beat", "test.walk", "test.walk_step")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Reports of today and of yesterday."""
    with Store(tmp_path / "a.duckdb") as store:
        raws = [making.beat(CATALOG, i, NOW - DAY * (i % 2)) for i in range(6)]
        raws += [making.walk(CATALOG, i, NOW) for i in range(3)]
        store.commit(making.batch([CATALOG.raw, *raws], CatalogBook()))
        yield store


def rows(dataset: Dataset, table: str) -> list[tuple[object, ...]]:
    return dataset.rows(f"FROM {table} ORDER BY ALL")


def commit(store: Store, *raws: bytes, now: int = NOW) -> None:
    store.commit(making.batch(raws, making.book(CATALOG), now))


def names(store: Store, table: str = "") -> set[str]:
    """The files that the manifest lists: all, or those of one table that have rows."""
    found = read_directory(store.directory).files
    return {one.name for one in found if not table or (one.table == table and one.rows)}


def on_disk(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*.parquet")}


@pytest.mark.shows("MARS-16", "METH-13", "METH-18")
def test_the_parquet_holds_what_the_file_holds(store: Store) -> None:
    done = Exporter(store).export(NOW)
    assert (len(done.days), done.reports) == (2, 9)
    store.close()
    with open_dataset(store.path) as file, open_dataset(store.directory) as parquet:
        assert (file.source, parquet.source) == ("file", "parquet")
        for table in TABLES:
            assert rows(file, table) == rows(parquet, table)
            assert rows(file, table)
        assert digests(file.connection) == digests(parquet.connection)
        assert verify(parquet).ok


def test_the_manifest_lists_every_file_with_its_size_hash_and_rows(store: Store) -> None:
    Exporter(store).export(NOW)
    manifest = read_directory(store.directory)
    assert {one.name for one in manifest.files} == on_disk(store.directory)
    for one in manifest.files:
        data = (store.directory / one.name).read_bytes()
        assert (one.size, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    beats = manifest.tables()["test.beat"]
    assert [one.rows for one in beats] == [0, 6]
    assert beats[1].name.startswith("types/test/beat/2026-09/")
    assert str(beats[1].month) == "2026-09-01"
    raw = {one.name.rsplit("/", 1)[0] for one in manifest.tables()["item"] if one.rows}
    assert raw == {"raw/test/beat/2026-09", "raw/test/walk/2026-09"}


def test_the_views_show_the_tables(store: Store) -> None:
    Exporter(store).export(NOW)
    con = memory()
    attach_reader(con, store.directory / VIEWS)
    found = con.execute("SELECT count(*) FROM methrics.test.beat").fetchall()
    found += con.execute("SELECT count(*) FROM methrics.item").fetchall()
    found += con.execute("SELECT count(*) FROM methrics.catalog").fetchall()
    con.close()
    assert found == [(6,), (9,), (1,)]


def test_nothing_unchecked_is_exported(store: Store) -> None:
    Exporter(store).export(NOW)
    with open_dataset(store.directory) as parquet:
        assert "contested" not in parquet.tables()
        assert parquet.arrow("FROM refusal").column_names == ["day", "reason", "count"]


def test_an_export_writes_only_what_is_new(store: Store) -> None:
    export = Exporter(store)
    export.export(NOW)
    first = names(store)
    commit(store, making.beat(CATALOG, 20, NOW))
    done = export.export(NOW)
    assert [str(day) for day in done.days] == ["2026-09-21"]
    assert first < names(store)
    new = {name.rsplit("/", 1)[0] for name in names(store) - first}
    assert new == {"raw/test/beat/2026-09", "types/test/beat/2026-09"}


def test_the_number_of_parts_grows_with_the_logarithm_of_the_rows(store: Store) -> None:
    export, most = Exporter(store, grace=0), 0
    for i in range(100, 115):
        commit(store, making.beat(CATALOG, i, NOW))
        export.export(NOW)
        most = max(most, len(names(store, "test.beat")))
    assert most <= 4
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*), count(DISTINCT n) FROM test.beat") == [(21, 21)]
        assert parquet.rows("SELECT count(*), count(DISTINCT n) FROM item") == [(24, 24)]


def test_nothing_is_written_if_nothing_changed(store: Store) -> None:
    export = Exporter(store)
    export.export(NOW)
    before = names(store), (store.directory / MANIFEST).stat().st_ino
    assert export.export(NOW + 60).files == 0
    assert Exporter(store).export(NOW + 90).files == 0, "started again"
    assert (names(store), (store.directory / MANIFEST).stat().st_ino) == before


def test_erased_rows_leave_the_parquet_with_the_next_export(store: Store) -> None:
    export = Exporter(store, grace=0)
    export.export(NOW)
    commit(store, making.beat(CATALOG, 50, NOW))
    export.export(NOW)
    untouched = names(store, "test.walk")
    erasures = [
        making.erasure(CATALOG, making.beat(CATALOG, i, NOW - DAY), "beat", i, NOW - DAY)
        for i in (1, 3, 5)
    ]
    commit(store, *erasures)
    gone = names(store, "item")
    done = export.export(NOW)
    assert [str(day) for day in done.days] == ["2026-09-20"]
    assert names(store, "test.walk") == untouched
    assert len(gone - names(store, "item")) == 1, "only the part with erased rows"
    assert names(store) == on_disk(store.directory)
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*) FROM item") == [(7,)]
        assert verify(parquet).ok
    assert store.cursor().execute("FROM dead").fetchall() == []


def test_a_part_of_which_all_rows_are_erased_is_not_written_again(store: Store) -> None:
    export = Exporter(store)
    export.export(NOW)
    raws = [making.walk(CATALOG, i, NOW) for i in range(3)]
    commit(store, *(making.erasure(CATALOG, raw, "walk", i, NOW) for i, raw in enumerate(raws)))
    export.export(NOW)
    assert names(store, "test.walk") | names(store, "test.walk_step") == set()
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*) FROM test.walk_step") == [(0,)]


def test_an_export_that_fails_leaves_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk they would take the room that is left."""
    export = Exporter(store)
    export.export(NOW)
    before = on_disk(store.directory)
    commit(store, making.beat(CATALOG, 60, NOW))

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Files, "sync", full)
    with pytest.raises(StoreError) as caught:
        export.export(NOW)
    assert caught.value.code == "store-full"
    assert on_disk(store.directory) == before


def test_closed_days_only_leaves_the_running_day_alone(store: Store) -> None:
    export = Exporter(store)
    commit(store, making.beat(CATALOG, 59, NOW - 7200))  # of the running day, hours ago
    assert [str(day) for day in export.export(NOW, closed_only=True).days] == ["2026-09-20"]
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*) FROM item") == [(3,)]
        assert verify(parquet).ok
    commit(store, making.beat(CATALOG, 60, NOW - DAY))
    assert [str(day) for day in export.export(NOW, closed_only=True).days] == ["2026-09-20"]
    done = export.export(NOW + DAY, closed_only=True)
    assert [str(day) for day in done.days] == ["2026-09-21"]
    commit(store, making.beat(CATALOG, 61, NOW + DAY), now=NOW + DAY)
    assert export.export(NOW + DAY, closed_only=True).files == 0
    Exporter(store).export(NOW + DAY)
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*), count(DISTINCT n) FROM item") == [(12, 12)]


def test_all_rows_come_if_an_exporter_of_closed_days_is_followed_by_another(store: Store) -> None:
    Exporter(store).export(NOW, closed_only=True)
    Exporter(store).export(NOW)
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*), count(DISTINCT n) FROM item") == [(9, 9)]


def test_a_new_field_is_null_in_files_written_before_it(store: Store) -> None:
    export = Exporter(store)
    export.export(NOW)
    later = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
    commit(store, later.raw, making.beat(later, 30, NOW))
    export.export(NOW)
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT DISTINCT country FROM test.beat") == [(None,)]
        assert parquet.rows("SELECT count(*) FROM test.beat") == [(7,)]


@pytest.mark.parametrize("when", ["before the snapshot", "after it"])
def test_a_type_that_is_new_while_an_export_begins_is_exported(
    store: Store, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = Exporter(store)
    other = making.catalog(label="other", key=making.seed("other"))
    hook = (Exporter, "_begin") if when == "before the snapshot" else (groups.Snapshot, "groups")
    begun = getattr(*hook)

    def and_commit(self: object, *given: object, **named: object) -> object:
        commit(store, other.raw, making.beat(other, 50, NOW))
        return begun(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(*hook, and_commit)
        export.export(NOW)
    export.export(NOW)
    store.close()
    with open_dataset(store.path) as file, open_dataset(store.directory) as parquet:
        assert rows(parquet, "other.beat") == rows(file, "other.beat") != []
        assert digests(file.connection) == digests(parquet.connection)


def test_announcements_are_exported(store: Store) -> None:
    commit(store, making.announcement(NOW))
    Exporter(store).export(NOW)
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT count(*) FROM item WHERE type IS NULL") == [(1,)]


def test_what_a_crash_left_behind_is_cleared_away(store: Store) -> None:
    Exporter(store).export(NOW)
    month = store.directory / "raw" / "test" / "beat" / "2026-09"
    old = store.directory / "item"
    old.mkdir()
    left = [month / "0123.parquet.tmp", month / "0123.parquet", old / "2026-09-20.parquet"]
    for path in left:
        path.write_bytes(b"half")
    listed = names(store)
    Exporter(store).export(NOW)
    assert not any(path.exists() for path in [*left, old])
    assert names(store) == listed == on_disk(store.directory)


@pytest.mark.parametrize("what", ["deleted", "cut short"])
def test_a_file_that_is_damaged_is_written_again(store: Store, what: str) -> None:
    Exporter(store).export(NOW)
    for name in names(store, "test.beat") | names(store, "catalog"):
        path = store.directory / name
        path.unlink() if what == "deleted" else os.truncate(path, 10)
    Exporter(store).export(NOW)
    with open_dataset(store.directory) as parquet:
        assert len(rows(parquet, "test.beat")) == 6
        assert verify(parquet).ok


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b'{"layout": 4}', b'{"layout": 3}'])
def test_a_damaged_manifest_is_replaced(store: Store, text: bytes) -> None:
    Exporter(store).export(NOW)
    (store.directory / MANIFEST).write_bytes(text)
    with pytest.raises(StoreError):
        open_dataset(store.directory)
    Exporter(store).export(NOW)
    with open_dataset(store.directory) as parquet:
        assert verify(parquet).ok


def test_a_directory_of_something_else_is_left_alone(store: Store) -> None:
    store.directory.mkdir()
    (store.directory / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        Exporter(store).export(NOW)
    assert [path.name for path in store.directory.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("owner", "step"), [(Exporter, "_write_whole"), (Store, "change_parts"), (Exporter, "_publish")]
)
def test_a_first_export_that_was_interrupted_is_done_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, die)
        with pytest.raises(KeyboardInterrupt):
            Exporter(store).export(NOW)
    assert not (store.directory / "manifest.json").exists()
    Exporter(store).export(NOW)
    with open_dataset(store.directory) as parquet:
        assert verify(parquet).ok
    assert not list(store.directory.rglob("*.tmp"))


def test_the_directory_of_another_file_is_left_alone(store: Store) -> None:
    Exporter(store).export(NOW)
    before = on_disk(store.directory)
    store.close()
    store.path.unlink()
    with Store(store.path) as fresh:
        with pytest.raises(StoreError, match="written from another file"):
            Exporter(fresh).export(NOW)
        (store.directory / MANIFEST).write_bytes(b"")
        with pytest.raises(StoreError, match="cannot be read"):
            Exporter(fresh).export(NOW)
    assert on_disk(store.directory) == before


def test_a_replaced_file_stays_for_a_while_and_as_long_as_a_snapshot_is_open(store: Store) -> None:
    export = Exporter(store, grace=100)
    export.export(NOW)
    before = names(store, "test.beat")
    (old,) = before
    erasure = making.erasure(CATALOG, making.beat(CATALOG, 0, NOW), "beat", 0, NOW)
    with store.reading():
        commit(store, erasure)
        export.export(NOW)
        assert names(store, "test.beat").isdisjoint(before)
        export.export(NOW + 500)
        assert (store.directory / old).exists(), "a snapshot may read it"
    with store.reading():
        export.export(NOW + 99)
        assert (store.directory / old).exists(), "somebody may have read the manifest"
        export.export(NOW + 100)
        assert not (store.directory / old).exists()


@pytest.mark.shows("NEW-7")
def test_the_manifest_proves_each_day(store: Store) -> None:
    Exporter(store).export(NOW)
    manifest: Manifest = read_directory(store.directory)
    assert manifest.written == "2026-09-21T14:20:00+00:00"
    found = {day: (one.count, one.digest) for day, one in manifest.days["test"].items()}
    assert found == {day.date: (day.count, day.digest) for day in digests(store.cursor())}


def test_attack_invented_erasures_are_written_again_only_in_the_last_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "TOMBSTONE_ROWS", 3)
    export = Exporter(store, grace=0)

    def erase(start: int, end: int) -> set[str]:
        lost = [making.beat(CATALOG, i) for i in range(start, end)]
        commit(
            store, *(making.erasure(CATALOG, raw, "beat", i) for i, raw in enumerate(lost, start))
        )
        export.export(NOW)
        return names(store, "tombstone")

    first = erase(100, 107)
    assert len(first) == 3
    second = erase(107, 108)
    assert (len(second), len(second & first)) == (3, 2)
    third = erase(108, 113)
    assert (len(third), len(third & second)) == (5, 2)
    assert read_directory(store.directory).tombstones == 13
    with open_dataset(store.directory) as dataset:
        assert dataset.rows("SELECT n FROM tombstone ORDER BY n") == [(n,) for n in range(1, 14)]
        assert verify(dataset).ok


def test_an_erasure_in_the_place_of_one_that_is_over_is_exported(store: Store) -> None:
    def erase(store: Store, i: int, now: int) -> None:
        raw = making.beat(CATALOG, i, now - 7200)
        commit(store, making.erasure(CATALOG, raw, "beat", i, now - 7200), now=now)

    exporter, later = Exporter(store), NOW + 400 * DAY
    erase(store, 70, NOW)
    exporter.export(NOW)
    exporter.close()
    store.expire(later)
    store.close()
    with Store(store.path) as again:
        erase(again, 71, later)  # has the number of the one that is over
        Exporter(again).export(later)
        with again.reading() as con:
            ((stored, n),) = con.execute("SELECT id, n FROM tombstone").fetchall()
    with open_dataset(store.directory) as parquet:
        assert parquet.rows("SELECT id, n FROM tombstone") == [(stored, n)]
        assert n == 1

"""Parquet beside the file."""

from __future__ import annotations

import json
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter, directory_beside
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import digests
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.tables import LAYOUT_VERSION, TypeTable
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

NOW = making.NOW
TODAY = NOW // 86_400
CATALOG = making.catalog()
TABLES = ("item", "catalog", "type", "field", "code", "test.beat", "test.walk", "test.walk_step")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Reports of today and of yesterday."""
    store = Store(tmp_path / "a.duckdb")
    raws = [making.beat(CATALOG, i, NOW - 86_400 * (i % 2)) for i in range(6)]
    raws += [making.walk(CATALOG, i, NOW) for i in range(3)]
    store.commit(making.batch([CATALOG.raw, *raws], CatalogBook()))
    return store


def exporter(store: Store) -> Exporter:
    return Exporter(store.cursor(), directory_beside(store.path))


def rows(dataset: Dataset, table: str) -> list[tuple[object, ...]]:
    return dataset.rows(f"FROM {table} ORDER BY ALL")


@pytest.mark.shows("MARS-16", "METH-13", "METH-18")
def test_the_parquet_holds_what_the_file_holds(store: Store) -> None:
    done = exporter(store).export(store.tables, NOW)
    assert (len(done.days), done.reports) == (2, 9)
    store.close()
    with open_dataset(store.path) as file, open_dataset(directory_beside(store.path)) as parquet:
        assert (file.source, parquet.source) == ("file", "parquet")
        for table in TABLES:
            assert rows(file, table) == rows(parquet, table)
            assert rows(file, table)
        assert digests(file.connection) == digests(parquet.connection)
        assert verify(parquet).ok


def test_nothing_unchecked_is_exported(store: Store) -> None:
    exporter(store).export(store.tables, NOW)
    with open_dataset(directory_beside(store.path)) as parquet:
        assert "quarantine" not in parquet.tables()
        assert parquet.arrow("FROM refusal").column_names == ["day", "reason", "count"]


def test_only_days_that_changed_are_written_again(store: Store) -> None:
    export = exporter(store)
    export.export(store.tables, NOW, store.take_changed())
    file = directory_beside(store.path) / "item" / "2026-09-20.parquet"
    before = file.stat().st_ino
    late = making.beat(CATALOG, 20, NOW)
    store.commit(making.batch([late], _book()))
    done = export.export(store.tables, NOW, store.take_changed())
    assert [str(day) for day in done.days] == ["2026-09-21"]
    assert file.stat().st_ino == before


def test_an_exporter_started_again_writes_nothing_that_is_there(store: Store) -> None:
    exporter(store).export(store.tables, NOW)
    assert exporter(store).export(store.tables, NOW).days == ()


def test_erased_rows_leave_the_parquet_and_an_empty_day_its_file(store: Store) -> None:
    export = exporter(store)
    export.export(store.tables, NOW, store.take_changed())
    yesterday = [i for i in range(6) if i % 2]
    erasures = [
        making.erasure(CATALOG, making.beat(CATALOG, i, NOW - 86_400), "beat", i, NOW - 86_400)
        for i in yesterday
    ]
    store.commit(making.batch(erasures, _book()))
    export.export(store.tables, NOW, store.take_changed())
    directory = directory_beside(store.path)
    assert not (directory / "item" / "2026-09-20.parquet").exists()
    assert not (directory / "types" / "test" / "beat" / "2026-09-20.parquet").exists()
    with open_dataset(directory) as parquet:
        assert parquet.rows("SELECT count(*) FROM item") == [(6,)]
        assert verify(parquet).ok


def test_closed_days_only_leaves_the_running_day_alone(store: Store) -> None:
    export = exporter(store)
    done = export.export(store.tables, NOW, closed_only=True)
    assert [str(day) for day in done.days] == ["2026-09-20"]
    done = export.export(store.tables, NOW + 86_400, {TODAY}, closed_only=True)
    assert [str(day) for day in done.days] == ["2026-09-21"]


def test_a_new_field_is_null_in_days_written_before_it(store: Store) -> None:
    export = exporter(store)
    export.export(store.tables, NOW, store.take_changed())
    later = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
    book = _book()
    store.commit(making.batch([later.raw, making.beat(later, 30, NOW)], book))
    export.export(store.tables, NOW, store.take_changed())
    with open_dataset(directory_beside(store.path)) as parquet:
        assert parquet.rows("SELECT DISTINCT country FROM test.beat") == [(None,)]


@pytest.mark.parametrize("when", ["before the snapshot", "after it"])
def test_a_type_that_is_new_while_an_export_begins_is_exported(
    store: Store, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = exporter(store)
    other = making.catalog(label="other", key=making.seed("other"))
    begun = Exporter._stored

    def commit() -> None:
        book = _book()
        store.commit(making.batch([other.raw, making.beat(other, 50, NOW)], book))

    def stored(self: Exporter) -> object:
        commit()
        return begun(self)

    def tables() -> list[TypeTable]:
        if when == "after it":
            commit()
        return store.tables()

    if when == "before the snapshot":
        monkeypatch.setattr(Exporter, "_stored", stored)
    export.export(tables, NOW, store.take_changed())
    export.export(store.tables, NOW, store.take_changed())
    store.close()
    with open_dataset(store.path) as file, open_dataset(directory_beside(store.path)) as parquet:
        assert rows(parquet, "other.beat") == rows(file, "other.beat") != []
        assert digests(file.connection) == digests(parquet.connection)


def test_what_a_crash_left_behind_is_cleared_away(store: Store) -> None:
    export = exporter(store)
    export.export(store.tables, NOW)
    left = directory_beside(store.path) / "item" / "2026-09-21.parquet.tmp"
    left.write_bytes(b"half")
    exporter(store).export(store.tables, NOW)
    assert not left.exists()


def test_a_directory_of_something_else_is_left_alone(store: Store) -> None:
    directory = directory_beside(store.path)
    directory.mkdir()
    (directory / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        exporter(store).export(store.tables, NOW)
    assert [path.name for path in directory.iterdir()] == ["mine.txt"]


@pytest.mark.shows("NEW-7")
def test_the_manifest_proves_each_day(store: Store) -> None:
    exporter(store).export(store.tables, NOW)
    manifest = json.loads((directory_beside(store.path) / "manifest.json").read_text())
    days = {str(day.date): day for day in digests(store.cursor())}
    assert manifest["written"] == "2026-09-21T14:20:00+00:00"
    assert {text: entry["digest"] for text, entry in manifest["days"]["test"].items()} == {
        text: day.digest.hex() for text, day in days.items()
    }


def _book() -> CatalogBook:
    return making.book(CATALOG)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "[" * 100_000,
        {"written": "now"},
        {"written": 5, "days": {}},
        {"written": "now", "days": 7},
        {"written": "now", "days": {"test": 7}},
        {"written": "now", "days": {"test": {"b": {}}}},
        {"written": "now", "days": {"test": {"2026-01-01": {"count": 1, "key": 5}}}},
    ],
)
def test_a_damaged_manifest_is_a_clear_error(store: Store, wrong: object) -> None:
    exporter(store).export(store.tables, NOW)
    manifest = directory_beside(store.path) / "manifest.json"
    text = wrong if isinstance(wrong, str) else json.dumps({"layout": LAYOUT_VERSION, **wrong})  # type: ignore[dict-item]
    manifest.write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json cannot be read"):
        exporter(store).export(store.tables, NOW)
    try:
        open_dataset(manifest.parent).close()
    except StoreError as error:
        assert error.code == "store-foreign"

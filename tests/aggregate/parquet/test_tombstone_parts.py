"""The tombstones in numbered files: invented erasures do not make every export a long one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import pytest
from serving import FolderServer

from methrics.aggregate.parquet import parts
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.parquet.export import MANIFEST, Exporter, directory_beside
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
NOW = making.NOW
ROWS = 3


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", ROWS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw, making.beat(CATALOG, 99)], CatalogBook()))
        erase(store, 0, 7)
        yield store


def erase(store: Store, start: int, end: int) -> None:
    """Store erasures of reports that never came."""
    raws = [making.erasure(CATALOG, making.beat(CATALOG, i), "beat", i) for i in range(start, end)]
    store.commit(making.batch(raws, making.book(CATALOG)))


def inodes(directory: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_ino for path in directory.glob("tombstone/*.parquet")}


def test_attack_invented_erasures_are_written_again_only_in_the_last_file(store: Store) -> None:
    export = Exporter(store.cursor(), directory_beside(store.path))
    export.export(store.tables, NOW)
    directory = directory_beside(store.path)
    first = inodes(directory)
    assert set(first) == {"empty", "0", "1", "2"}
    erase(store, 7, 8)
    export.export(store.tables, NOW, store.take_changed())
    second = inodes(directory)
    assert {name for name in second if second[name] != first.get(name)} == {"2"}
    erase(store, 8, 13)
    export.export(store.tables, NOW, store.take_changed())
    third = inodes(directory)
    assert {name for name in third if third[name] != second.get(name)} == {"2", "3", "4"}
    export.export(store.tables, NOW, store.take_changed())
    assert inodes(directory) == third
    listed = json.loads((directory / MANIFEST).read_text())["tombstones"]
    assert [one["count"] for one in listed.values()] == [3, 3, 3, 3, 1]
    with open_dataset(directory) as dataset:
        assert dataset.rows("SELECT n FROM tombstone ORDER BY n") == [(n,) for n in range(1, 14)]
        assert verify(dataset).ok
    with open_dataset(directory / "tombstone" / "0.parquet") as dataset:
        assert dataset.rows("SELECT count(*) FROM tombstone") == [(3,)]


def test_an_exporter_started_again_writes_only_parts_that_differ(store: Store) -> None:
    directory = directory_beside(store.path)
    Exporter(store.cursor(), directory).export(store.tables, NOW)
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["tombstones"]["1"]["digest"] = "00"
    manifest["tombstones"]["9"] = manifest["tombstones"]["0"]
    (directory / MANIFEST).write_text(json.dumps(manifest))
    shutil.copy(directory / "tombstone" / "0.parquet", directory / "tombstone" / "9.parquet")
    before = inodes(directory)
    Exporter(store.cursor(), directory).export(store.tables, NOW)
    after = inodes(directory)
    assert before.keys() - after.keys() == {"9"}
    assert {name for name in after if after[name] != before[name]} == {"empty", "1"}


@pytest.mark.parametrize("bad", [[], {"x": {}}, {"-1": {"count": 1, "digest": ""}}, {"0": 5}])
def test_a_manifest_with_other_parts_is_refused(store: Store, bad: object) -> None:
    directory = directory_beside(store.path)
    Exporter(store.cursor(), directory).export(store.tables, NOW)
    manifest = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps(manifest | {"tombstones": bad}))
    with pytest.raises(StoreError, match="cannot be read"):
        Exporter(store.cursor(), directory).export(store.tables, NOW)


@pytest.mark.parametrize("ids_only", [False, True])
def test_a_mirror_has_all_parts_and_notices_one_that_is_not_the_listed_one(
    store: Store, tmp_path: Path, ids_only: bool
) -> None:
    directory = directory_beside(store.path)
    Exporter(store.cursor(), directory).export(store.tables, NOW)
    server = FolderServer(tmp_path, lambda _: None)
    address = f"{server.address}/a.parquet/"
    try:
        copied = local_copy(address, tmp_path / "one", ids_only=ids_only)
        assert inodes(copied).keys() == inodes(directory).keys()
        shutil.copy(directory / "tombstone" / "0.parquet", directory / "tombstone" / "1.parquet")
        with pytest.raises(StoreError) as caught:
            local_copy(address, tmp_path / "two", ids_only=ids_only)
        assert caught.value.code == "store-broken"
    finally:
        server.close()

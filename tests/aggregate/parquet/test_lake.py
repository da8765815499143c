"""A lake: what several shards write into one directory is read as one data set."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.lake import join_lake, manifest_name, shards_in
from methrics.aggregate.parquet.manifest import MANIFEST, decode_manifest
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore.restore import restore
from methrics.aggregate.store.digest import DayDigest, digests
from methrics.aggregate.store.duck import attach_reader, memory
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.shard import WHOLE, Shard, shards_of

FIRST = making.catalog()
OTHER = making.catalog(extra=making.MORE_FIELDS, previous=FIRST)
NOW = making.NOW
BEATS = [making.beat((FIRST, OTHER)[i % 2], i, NOW - 600 * (i % 300)) for i in range(60)]
MORE = [
    *(making.clicks(FIRST, i) for i in range(12)),
    *(making.walk(OTHER, i) for i in range(12)),
    making.announcement(NOW - 600),
]
GONE = [
    making.erasure((FIRST, OTHER)[i % 2], BEATS[i], "beat", i, NOW - 600 * (i % 300))
    for i in range(6)
]
REPORTS = len(BEATS) - len(GONE) + len(MORE) - 1
TABLES = ("catalog", "type", "declaration", "field", "code", "tombstone")


def fill(store: Store, catalogs: Iterable[bytes]) -> None:
    """Store everything; whatever the order of the catalogs, their numbers follow from it."""
    book = CatalogBook()
    for raw in catalogs:
        store.commit(making.batch([raw], book))
    for raws in (BEATS, MORE, GONE):
        store.commit(making.batch(raws, book))


def export(store: Store, now: int = NOW) -> None:
    exporter = Exporter(store, grace=0)
    exporter.export(now)
    exporter.close()


@contextmanager
def shard_at(folder: Path, shard: Shard) -> Iterator[Store]:
    """The store of a shard, in the lake `folder / "lake"`."""
    file = folder / f"{shard.folder}.duckdb"
    with Store(file, shard) as store:
        join_lake(file, folder / "lake", shard)
        yield store


def make_lake(folder: Path, count: int = 2) -> Path:
    for shard in shards_of(count):
        with shard_at(folder, shard) as store:
            fill(store, [FIRST.raw, OTHER.raw] if shard.number % 2 else [OTHER.raw, FIRST.raw])
            export(store)
    return folder / "lake"


def days(dataset: Dataset) -> list[tuple[bytes, int, int, bytes]]:
    dataset.bring("item", "catalog")
    found: list[DayDigest] = digests(dataset.connection)
    return sorted((one.key, one.day, one.count, one.digest) for one in found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with Store(folder / "whole.duckdb") as store:
        fill(store, [FIRST.raw, OTHER.raw])
        export(store)
    return folder / "whole.parquet"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake"))


COUNTS = (
    "SELECT os, version, count(*) FROM test.beat GROUP BY ALL ORDER BY ALL",
    "SELECT country, count(*) FROM test.beat GROUP BY ALL ORDER BY ALL",
    "SELECT sum(count)::BIGINT FROM test.clicks",
    "SELECT step, first, count(*) FROM test.walk_step GROUP BY ALL ORDER BY ALL",
    "SELECT c.number, t.name, count(*) FROM item i JOIN catalog c ON c.n = i.catalog "
    "JOIN type t ON t.n = i.type GROUP BY ALL ORDER BY ALL",
    "SELECT c.text, count(*) FROM test.beat b JOIN type t ON t.schema = 'test' AND "
    "t.name = 'beat' JOIN code c ON c.type = t.n AND c.catalog = b.catalog AND c.field = 'os' "
    "AND c.text = b.os GROUP BY ALL ORDER BY ALL",
    "SELECT count(*) FROM item WHERE kind <> 1",
    "SELECT count(*) = count(DISTINCT id) FROM record",
    "SELECT count(*) = count(DISTINCT (record, catalog)) FROM listing SEMI JOIN record r "
    "ON r.n = record",
    *(f"SELECT count(*) FROM {table}" for table in TABLES),
)


def test_a_lake_is_read_as_the_data_of_one_aggregator(whole: Path, lake: Path) -> None:
    with open_dataset(whole, floor=1) as one, open_dataset(lake, floor=1) as all_:
        for query in COUNTS:
            assert all_.rows(query) == one.rows(query), query
        assert days(all_) == days(one)
        assert all_.tables() == one.tables()
        assert all_.views().keys() == one.views().keys()
        for view in ("reports_per_day", "test.beat_dau", "test.walk_funnel", "refusals"):
            name = one.find_view(view)
            if name is not None:
                assert all_.rows(f"FROM {name} ORDER BY ALL") == one.rows(
                    f"FROM {name} ORDER BY ALL"
                )
        assert all_.count("item") == REPORTS + 1
        assert all_.count("catalog") == 2


def test_each_shard_writes_its_own_files_in_folders_of_its_own(lake: Path) -> None:
    assert shards_in(lake) == 2
    files = [path.relative_to(lake) for path in lake.rglob("*.parquet")]
    assert files
    for shard in shards_of(2):
        own = {path for path in files if path.parent.name == shard.folder}
        listed = (lake / manifest_name(shard)).read_text()
        assert own
        assert all(path.as_posix() in listed for path in own)
        assert any(path.parts[:3] == ("types", "test", "beat") for path in own)
    assert {path.parent.name for path in files} == {one.folder for one in shards_of(2)}


def test_views_show_the_rows_of_all_shards(lake: Path, whole: Path) -> None:
    found = []
    for directory in (lake, whole):
        con = memory()
        attach_reader(con, directory / "views.duckdb")
        found.append(con.execute("SELECT count(*) FROM methrics.test.beat").fetchall())
        types = con.execute("SELECT count(*) FROM methrics.type").fetchall()
        con.close()
    assert found[0] == found[1] == [(len(BEATS) - len(GONE),)]
    assert types == [(3,)]


def test_a_lake_is_verified_shard_by_shard(lake: Path, tmp_path: Path) -> None:
    with open_dataset(lake) as dataset:
        found = verify(dataset)
    assert (found.mismatches, found.reports, found.erasures) == ([], REPORTS, len(GONE))
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    text = (copy / manifest_name(Shard(2, 2))).read_text()
    (copy / manifest_name(Shard(1, 2))).write_text(text.replace('"shard":[2,2]', '"shard":[1,2]'))
    with open_dataset(copy) as dataset:
        wrong = {one.what for one in verify(dataset).mismatches}
    assert "it is not of shard 1/2" in wrong


def test_a_missing_shard_is_named(lake: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    (copy / manifest_name(Shard(2, 2))).unlink()
    with pytest.raises(StoreError) as caught:
        open_dataset(copy)
    assert caught.value.code == "store-shards"
    assert "2/2 missing" in caught.value.message
    with open_dataset(copy, partial=True) as dataset:
        assert 0 < dataset.count("item") < REPORTS
        (wrong,) = verify(dataset).mismatches
        assert wrong.what == "shard 2/2 is missing"


def test_a_lost_shard_takes_its_part_of_the_lake_in(tmp_path: Path) -> None:
    lake = make_lake(tmp_path)
    lost = Shard(2, 2)
    with open_dataset(lake) as dataset:
        before = days(dataset)
    (tmp_path / f"{lost.folder}.duckdb").unlink()
    with shard_at(tmp_path, lost) as store:
        with pytest.raises(StoreError) as caught:
            export(store)
        assert caught.value.code == "store-foreign"  # it has nothing yet
        with open_dataset(lake, partial=True) as dataset:
            taken = restore(dataset, store, lambda: NOW)
        assert 0 < taken.reports < REPORTS
        export(store)
    with open_dataset(lake) as dataset:
        assert days(dataset) == before
        assert verify(dataset).ok


def test_settled_months_of_shards_stay_theirs(tmp_path: Path) -> None:
    lake, later = make_lake(tmp_path), NOW + 120 * making.DAY
    for shard in shards_of(2):
        with shard_at(tmp_path, shard) as store:
            for _ in range(2):
                export(store, later)
            assert store.cursor().execute(
                "SELECT count(*) FROM item WHERE type > 0"
            ).fetchall() == [(0,)]
        with open_dataset(tmp_path / f"{shard.folder}.duckdb") as dataset:
            assert verify(dataset).ok
    with open_dataset(lake) as dataset:
        assert dataset.rows("SELECT count(*) FROM item WHERE kind = 1") == [(REPORTS,)]
        assert verify(dataset).ok


def test_a_directory_is_a_lake_of_one_number_of_shards(tmp_path: Path, whole: Path) -> None:
    with shard_at(tmp_path, Shard(1, 2)):
        pass
    other = tmp_path / "other"
    other.mkdir()
    for file, lake, shard in (
        (tmp_path / "x.duckdb", tmp_path / "lake", Shard(1, 4)),
        (tmp_path / "x.duckdb", whole, Shard(1, 2)),
        (tmp_path / "1-of-2.duckdb", other, Shard(1, 2)),
    ):
        with pytest.raises(StoreError) as caught:
            join_lake(file, lake, shard)
        assert caught.value.code == "store-foreign"
    assert directory_beside(tmp_path / "1-of-2.duckdb").resolve() == (tmp_path / "lake").resolve()


def test_a_shard_takes_only_its_part_of_a_whole(tmp_path: Path, whole: Path) -> None:
    with ExitStack() as stack:
        dataset = stack.enter_context(open_dataset(whole))
        total = 0
        for shard in (WHOLE, *shards_of(2)):
            store = stack.enter_context(Store(tmp_path / f"{shard.folder}.duckdb", shard))
            taken = restore(dataset, store, lambda: NOW)
            assert taken.reports == store.total
            total += 0 if shard.is_whole else taken.reports
        assert total == REPORTS


def test_a_lake_has_to_be_read_as_a_directory(lake: Path) -> None:
    with pytest.raises(StoreError) as caught:
        decode_manifest((lake / MANIFEST).read_bytes(), "there")
    assert caught.value.code == "store-lake"

"""A lake: what several shards write into one directory is read as one data set."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import aggregate_making as making
import duckdb
import pytest
from lake_making import (
    BEATS,
    COUNTS,
    FIRST,
    GONE,
    NOW,
    REPORTS,
    days,
    export,
    make_lake,
    make_whole,
    shard_at,
)

from methrics.aggregate.parquet.lake import join_lake, manifest_name, shards_in
from methrics.aggregate.parquet.lake_views import write_lake_views
from methrics.aggregate.parquet.manifest import MANIFEST, decode_manifest
from methrics.aggregate.parquet.views_file import ViewsFile
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore.restore import restore
from methrics.aggregate.store.duck import attach_reader, literal, memory
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import WHOLE, Shard, shards_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake"))


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
    for file in lake.rglob("2-of-2/*.parquet"):
        name = file.relative_to(lake).as_posix().replace("/2-of-2/", "/1-of-2/")
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy / name)
    text = (copy / manifest_name(Shard(2, 2))).read_text().replace("/2-of-2/", "/1-of-2/")
    (copy / manifest_name(Shard(1, 2))).write_text(text.replace('"shard":[2,2]', '"shard":[1,2]'))
    with open_dataset(copy) as dataset:
        wrong = {one.what for one in verify(dataset).mismatches}
    assert "it is not of shard 1/2" in wrong


def test_attack_two_shards_list_the_same_files(lake: Path, tmp_path: Path) -> None:
    """Their rows would count twice."""
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    text = (copy / manifest_name(Shard(2, 2))).read_text()
    (copy / manifest_name(Shard(1, 2))).write_text(text.replace('"shard":[2,2]', '"shard":[1,2]'))
    with pytest.raises(StoreError, match="list the same file") as caught:
        open_dataset(copy)
    assert caught.value.code == "store-foreign"


@pytest.mark.parametrize("number", [1, 2])
def test_a_type_of_which_one_shard_has_reports_is_read(tmp_path: Path, number: int) -> None:
    for shard in shards_of(2):
        with shard_at(tmp_path, shard) as store:
            book = making.book(FIRST)
            store.commit(making.batch([FIRST.raw, *BEATS[::2]], book))
            if shard.number == number:
                store.commit(making.batch([making.clicks(FIRST, i) for i in range(12)], book))
            export(store)
    with open_dataset(tmp_path / "lake") as dataset:
        assert 0 < dataset.count("test.clicks") < 12
        assert verify(dataset).ok
    con = memory()
    attach_reader(con, tmp_path / "lake" / "views.duckdb")
    assert con.execute("SELECT count(*) > 0 FROM methrics.test.clicks").fetchall() == [(True,)]
    con.close()


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


def test_views_of_a_lake_fail_while_a_shard_is_missing(tmp_path: Path) -> None:
    lake, (first, lost) = make_lake(tmp_path), shards_of(2)
    (lake / manifest_name(lost)).unlink()
    with shard_at(tmp_path, first) as store:
        store.commit(
            making.batch([making.beat(FIRST, 900 + i) for i in range(9)], making.book(FIRST))
        )
        export(store, NOW + 60)
    con = memory()
    attach_reader(con, lake / "views.duckdb")
    for query in ("count(*) FROM methrics.item", "os FROM methrics.test.beat WHERE n < 0"):
        with pytest.raises(duckdb.Error, match="has 1 of 2 shards: 2/2 missing"):
            con.execute(f"SELECT {query}").fetchall()
    con.close()


def test_a_file_restored_from_a_part_of_a_lake_is_told_so(lake: Path, tmp_path: Path) -> None:
    copy, (first, lost) = tmp_path / "lake", shards_of(2)
    shutil.copytree(lake, copy)
    (copy / manifest_name(lost)).unlink()
    said = ["shard 2/2: its part of the lake is missing"]
    for shard, unreadable in ((WHOLE, said), (lost, said), (first, []), (Shard(1, 4), [])):
        with (
            Store(tmp_path / f"{shard.folder}.duckdb", shard) as store,
            open_dataset(copy, partial=True) as dataset,
        ):
            assert restore(dataset, store, lambda: NOW).unreadable == unreadable


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_of_a_lake_with_a_damaged_file_the_others_are_taken(
    lake: Path, tmp_path: Path, damage: str
) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    broken = next(copy.glob("raw/test/walk/*/2-of-2/*.parquet"))
    if damage == "gone":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:100])
    with Store(tmp_path / "new.duckdb") as store, open_dataset(copy) as dataset:
        found = restore(dataset, store, lambda: NOW)
    assert 0 < REPORTS - found.reports < 12
    assert found.refused.total() == 0
    assert found.unreadable == [f"{broken.relative_to(copy)}: it is not the listed file"]


def test_what_can_be_read_of_a_damaged_file_of_a_lake_is_taken(lake: Path, tmp_path: Path) -> None:
    """Its rows have the numbers of its own shard."""
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    broken = next(copy.glob("raw/test/walk/*/2-of-2/*.parquet"))
    with memory() as con:
        con.execute(f"COPY (FROM '{broken}') TO '{broken}.new' (FORMAT parquet)")
    Path(f"{broken}.new").rename(broken)
    with Store(tmp_path / "new.duckdb") as store, open_dataset(copy) as dataset:
        found = restore(dataset, store, lambda: NOW)
    assert (found.reports, len(found.unreadable), found.refused.total()) == (REPORTS, 1, 0)


@pytest.mark.parametrize("table", ["catalog", "type"])
def test_attack_a_number_of_a_shard_that_is_sql(lake: Path, tmp_path: Path, table: str) -> None:
    """Numbers are written into the views of a lake, which another shard's aggregator makes."""
    copied = shutil.copytree(lake, tmp_path / "lake")
    [file] = (copied / "dictionary" / "2-of-2").glob(f"{table}.*.parquet")
    written = tmp_path / "written"
    sql = f"0]::INTEGER[])[1]); COPY (SELECT 1) TO '{written}'; --"
    other = file.with_suffix(".other")
    with memory() as con:
        rows = f"SELECT * REPLACE ({literal(sql)} AS n) FROM '{file}'"
        con.execute(f"COPY ({rows}) TO '{other}' (FORMAT parquet)")
    other.replace(file)
    with pytest.raises(StoreError, match=f"the table {table} has other values"):
        open_dataset(copied)
    views = ViewsFile(copied)
    with pytest.raises(StoreError, match="has other values"):
        write_lake_views(views, copied, Shard(1, 2))
    views.close()
    assert not written.exists()


@pytest.mark.parametrize("name", [MANIFEST, "manifest.2-of-2.json"])
def test_attack_a_pipe_in_the_place_of_a_manifest(lake: Path, tmp_path: Path, name: str) -> None:
    """Nobody would ever write to it."""
    copied = shutil.copytree(lake, tmp_path / "lake")
    (copied / name).unlink()
    os.mkfifo(copied / name)
    with pytest.raises(StoreError, match="not a regular file"):
        open_dataset(copied)
    (copied / name).unlink()
    with (copied / name).open("wb") as file:
        file.truncate(1 << 42)  # takes no space on the disk
    with pytest.raises(StoreError, match="cannot be read"):
        open_dataset(copied)


def test_shards_that_call_two_apps_alike_are_not_read_as_one(tmp_path: Path) -> None:
    """Otherwise the reports of both would be in one table."""
    other = making.catalog(key=making.seed("another"))
    for shard, catalog in zip(shards_of(2), (FIRST, other), strict=True):
        with shard_at(tmp_path, shard) as store:
            raws = [making.beat(catalog, i) for i in range(20)]
            store.commit(making.batch([catalog.raw, *raws], making.book(catalog)))
            if shard.number == 1:
                export(store)
                continue
            with pytest.raises(StoreError) as caught:
                export(store)
            assert caught.value.code == "lake-names"
    with pytest.raises(StoreError) as caught:
        open_dataset(tmp_path / "lake")
    assert caught.value.code == "lake-names"

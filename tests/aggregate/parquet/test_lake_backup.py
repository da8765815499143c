"""Backups of a lake: of all shards together, or of each by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import aggregate_making as making
import pytest
from lake_making import (
    BEATS,
    FIRST,
    NOW,
    REPORTS,
    days,
    export,
    make_lake,
    make_whole,
    shard_at,
)

from methrics.aggregate.cli.main import main
from methrics.aggregate.parquet import backup
from methrics.aggregate.parquet.backup import back_up
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.lake import manifest_name, read_shards
from methrics.aggregate.parquet.manifest import MANIFEST, File
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore.restore import restore
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import WHOLE, Shard, shards_of

ONE, TWO = shards_of(2)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake"))


def reports(folder: Path) -> int:
    with open_dataset(folder) as dataset:
        found = verify(dataset)
    assert found.ok
    return found.reports


def listed(lake: Path) -> set[str]:
    return {one.name for one in read_shards(lake, 2).merged(lake).files}


def there(folder: Path) -> set[str]:
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*.parquet*")}


def test_a_backup_of_a_lake_is_a_lake_and_the_next_copies_only_what_is_new(tmp_path: Path) -> None:
    lake, target = make_lake(tmp_path), tmp_path / "backup"
    first = back_up(lake, target)
    assert first.new == first.files
    assert reports(target) == REPORTS
    with open_dataset(target) as copy, open_dataset(lake) as dataset:
        assert days(copy) == days(dataset)
    again = back_up(lake, target)
    assert (again.new, again.removed) == (0, 0)
    gone = making.erasure(FIRST, BEATS[8], "beat", 8, NOW - 600 * 8)
    for shard in (ONE, TWO):
        with shard_at(tmp_path, shard) as store:
            store.commit(making.batch([gone], making.book(FIRST)))
            export(store, NOW + 60)
    done = back_up(lake, target)
    assert 0 < done.new < done.files
    assert done.removed > 0
    assert reports(target) == REPORTS - 1
    assert there(target) == listed(lake), "what was erased has left the backup"


@pytest.mark.parametrize("shard", [WHOLE, ONE, TWO])
def test_a_file_is_restored_from_the_backup_of_a_lake(
    lake: Path, tmp_path: Path, shard: Shard
) -> None:
    back_up(lake, tmp_path / "backup")
    with (
        Store(tmp_path / "new.duckdb", shard) as store,
        open_dataset(tmp_path / "backup") as dataset,
    ):
        found = restore(dataset, store, lambda: NOW)
        assert found.unreadable == []
        assert found.reports == store.total
        assert store.total == REPORTS if shard.is_whole else 0 < store.total < REPORTS


def test_shards_back_up_their_parts_by_themselves(lake: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    back_up(lake, target, only=ONE)
    with pytest.raises(StoreError, match="has 1 of 2 shards: 2/2 missing"):
        open_dataset(target)
    of_one = there(target)
    back_up(lake, target, only=TWO)
    assert of_one < there(target) == listed(lake)
    assert reports(target) == REPORTS
    again = back_up(lake, target, only=ONE)
    assert (again.new, again.removed) == (0, 0)
    assert reports(target) == REPORTS


def test_a_lake_without_a_shard_is_not_backed_up_and_the_last_backup_stays(
    lake: Path, tmp_path: Path
) -> None:
    copy, target = tmp_path / "lake", tmp_path / "backup"
    shutil.copytree(lake, copy)
    back_up(copy, target)
    before = there(target)
    (copy / manifest_name(TWO)).unlink()
    for only in (None, TWO):
        with pytest.raises(StoreError, match="2/2") as caught:
            back_up(copy, target, only=only)
        assert caught.value.code == "store-shards"
    back_up(copy, target, only=ONE)
    assert there(target) == before
    assert reports(target) == REPORTS
    with pytest.raises(StoreError):
        back_up(copy, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_of_another_kind_is_refused_and_untouched(lake: Path, tmp_path: Path) -> None:
    whole = make_whole(tmp_path)
    (tmp_path / "four").mkdir()
    four = make_lake(tmp_path / "four", 4)
    made = {one: tmp_path / f"backup of {one.name}" for one in (whole, four)}
    for source, target in made.items():
        back_up(source, target)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    before = {target: there(target) for target in made.values()}
    for source, target in (
        (lake, made[whole]),
        (lake, made[four]),
        (whole, made[four]),
        (lake, mine),
        (lake, lake / "raw"),
    ):
        with pytest.raises(StoreError) as caught:
            back_up(source, target)
        assert caught.value.code == "store-foreign"
    for only in (Shard(1, 4), Shard(2, 4)):
        for source in (lake, whole):
            with pytest.raises(StoreError) as caught:
                back_up(source, tmp_path / "new", only=only)
            assert caught.value.code == "store-foreign"
    assert {target: there(target) for target in made.values()} == before
    assert [one.name for one in mine.iterdir()] == ["notes.txt"]


def test_files_that_a_shard_deletes_meanwhile_begin_the_copy_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, target, real = make_lake(tmp_path), tmp_path / "backup", backup._bring
    calls = 0

    def slow(one: File, *more: object, **named: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            for shard in (ONE, TWO):
                for path in lake.rglob(f"{shard.folder}/*.parquet"):
                    path.unlink()
                with shard_at(tmp_path, shard) as store:
                    store.cursor().execute("DELETE FROM part")
                    export(store, NOW + 60)
        real(one, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_bring", slow)
    done = back_up(lake, target)
    assert calls > done.files, "it began anew"
    assert reports(target) == REPORTS


def test_what_an_interrupted_backup_has_left_goes_with_the_next(lake: Path, tmp_path: Path) -> None:
    """Such as files of reports that were erased since."""
    target = tmp_path / "backup"
    back_up(lake, target)
    one = next(target.rglob("raw/**/1-of-2/*.parquet"))
    for name in ("0123456789ab.parquet", f"{one.name}.tmp"):
        shutil.copy(one, one.with_name(name))
    assert back_up(lake, target, only=TWO).removed == 0
    assert back_up(lake, target, only=ONE).removed == 2
    assert there(target) == listed(lake)


def test_a_shard_with_parquet_of_its_own_is_backed_up_and_restored(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    with Store(tmp_path / "two.duckdb", TWO) as store:
        raws = [FIRST.raw, *(making.beat(FIRST, i) for i in range(20))]
        store.commit(making.batch(raws, making.book(FIRST)))
        exporter = Exporter(store)
        exporter.export(NOW)
        exporter.close()
        total = store.total
    for only in (None, TWO):
        back_up(directory_beside(tmp_path / "two.duckdb"), target, only=only)
    with pytest.raises(StoreError, match="not of shard 1/2"):
        back_up(directory_beside(tmp_path / "two.duckdb"), target, only=ONE)
    with Store(tmp_path / "new.duckdb", TWO) as store, open_dataset(target) as dataset:
        assert restore(dataset, store, lambda: NOW).reports == total > 0


def test_the_command_takes_a_file_of_a_shard_or_the_lake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = make_lake(tmp_path)
    assert main(["backup", str(tmp_path / "1-of-2.duckdb"), str(tmp_path / "all")]) == 0
    assert reports(tmp_path / "all") == REPORTS
    each = str(tmp_path / "each")
    for number in (1, 2):
        assert main(["backup", str(lake), each, "--shard", f"{number}/2", "--json"]) == 0
    new = [json.loads(line)["new"] for line in capsys.readouterr().out.splitlines()[1:]]
    assert sum(new) == len(listed(lake))
    assert reports(tmp_path / "each") == REPORTS
    (lake / manifest_name(TWO)).unlink()
    assert main(["backup", str(lake), each]) == 3
    assert "has 1 of 2 shards: 2/2 missing" in capsys.readouterr().err
    assert (tmp_path / "each" / MANIFEST).exists()

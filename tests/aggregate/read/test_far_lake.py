"""A lake at an address: what is fetched of it, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import pytest
from click.testing import CliRunner
from lake_making import (
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
from serving import FolderServer

from methrics.aggregate.cli.root import root
from methrics.aggregate.mine.find import FOUND, Wanted, check
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.parquet.lake import manifest_name
from methrics.aggregate.parquet.manifest import MANIFEST, File, decode_manifest
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore.restore import restore
from methrics.aggregate.store.store import Store
from methrics.schema.errors import MethricsError, StoreError
from methrics.schema.wire.shard import Shard, shards_of

pytestmark = pytest.mark.wire

PARTS = [manifest_name(one) for one in shards_of(2)]
LOST = Shard(2, 2)
BEAT = "SELECT count(*) FROM test.beat"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_lake(folder)
    return folder


class Site(FolderServer):
    """A lake that is served, and the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = folder / "lake"
        self.made = 500
        self.asked: list[str] = []
        super().__init__(
            folder, lambda request: self.asked.append(request.path.removeprefix("/lake/"))
        )
        self.url = f"{self.address}/lake/"

    def files(self, *tables: str) -> list[str]:
        """The names of the files of these tables, of all shards."""
        return [one.name for one in self.listed() if one.table in tables]

    def listed(self) -> list[File]:
        """All files of all shards."""
        texts = [(self.lake / name).read_bytes() for name in PARTS]
        return [one for text in texts for one in decode_manifest(text, "").files]

    def edit(self, name: str, **changes: object) -> None:
        """Change fields of the first listed file of `test.beat`."""
        text = json.loads((self.lake / name).read_bytes())
        next(one for one in text["files"] if one["table"] == "test.beat").update(changes)
        (self.lake / name).write_text(json.dumps(text))

    def more(self) -> None:
        """Each shard has a newer state with one report more, in files of other names."""
        for shard in shards_of(2):
            beside = self.folder / f"{shard.folder}.parquet"
            if beside.resolve() != self.lake.resolve():
                beside.unlink()  # it leads to the original
            with shard_at(self.folder, shard) as store:
                self.made += 100
                raw = next(
                    one
                    for one in (making.beat(FIRST, self.made + i) for i in range(100))
                    if shard.has(making.batch([one], making.book(FIRST)).accepted[0].item.id)
                )
                store.commit(making.batch([raw], making.book(FIRST)))
                export(store, NOW + 60)
        for path in self.lake.rglob("*.parquet"):
            path.rename(path.with_name(f"new{path.name}"))
        for name in PARTS:
            text = (self.lake / name).read_text()
            (self.lake / name).write_text(re.sub(r'([^/"]+\.parquet")', r"new\1", text))


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Iterator[Site]:
    found = Site(shutil.copytree(made, tmp_path / "public", symlinks=True))
    yield found
    found.close()


def test_a_lake_at_an_address_is_read_as_the_data_of_one_aggregator(
    site: Site, whole: Path, tmp_path: Path
) -> None:
    with (
        open_dataset(whole, floor=1) as one,
        open_dataset(site.url, floor=1, cache=tmp_path / "cache") as all_,
    ):
        for query in COUNTS:
            assert all_.rows(query) == one.rows(query), query
        assert days(all_) == days(one)
        assert all_.tables() == one.tables()
        assert all_.views().keys() == one.views().keys()
        for table in ("item", "catalog", "tombstone", "test.beat"):
            assert all_.count(table) == one.count(table)


def test_opening_costs_a_manifest_and_three_small_files_for_each_shard(
    site: Site, tmp_path: Path
) -> None:
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        opening = [MANIFEST, *PARTS, *site.files("type", "catalog", "field")]
        assert sorted(site.asked) == sorted(opening)
        assert data.rows(BEAT)
        assert sorted(site.asked[len(opening) :]) == sorted(site.files("test.beat"))
        asked = list(site.asked)
        assert data.count("item") == REPORTS + 1
        assert data.rows("SELECT count(*) FROM type") == [(3,)]
        assert site.asked == asked
        assert len(site.connections) <= 5, "connections are kept"
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as again:
        assert again.rows(BEAT)
    assert sorted(site.asked[len(asked) :]) == [*sorted(PARTS), MANIFEST], "the files were kept"


def test_a_missing_shard_of_an_address_is_named(site: Site, tmp_path: Path) -> None:
    (site.lake / manifest_name(LOST)).unlink()
    for read in (lambda: open_dataset(site.url), lambda: local_copy(site.url, tmp_path / "copy")):
        with pytest.raises(StoreError, match="has 1 of 2 shards: 2/2 missing") as caught:
            read()
        assert caught.value.code == "store-shards"
    for arguments in (["query", site.url, BEAT], ["verify", site.url], ["compare", site.url, "x"]):
        result = CliRunner().invoke(root, arguments)
        assert isinstance(result.exception, StoreError)
        assert result.exception.code == "store-shards"
    cache = tmp_path / "cache"
    with open_dataset(site.url, floor=1, cache=cache, partial=True) as data:
        assert 0 < data.count("item") < REPORTS
        (wrong,) = verify(data).mismatches
        assert wrong.what == "shard 2/2 is missing"


def test_a_shard_that_goes_missing_while_an_address_is_read_is_named(
    site: Site, tmp_path: Path
) -> None:
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        (site.lake / manifest_name(LOST)).unlink()
        for path in site.lake.rglob(f"{LOST.folder}/*.parquet"):
            path.unlink()
        for _ in range(2):
            with pytest.raises(StoreError, match="2/2 missing"):
                data.rows(BEAT)


def test_files_that_are_gone_meanwhile_are_those_of_the_new_manifests(
    site: Site, tmp_path: Path
) -> None:
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        assert data.rows(BEAT) == [(54,)]
        site.more()
        assert data.rows(BEAT) == [(54,)], "the state that was opened"
        assert data.rows("SELECT count(*) FROM item WHERE kind = 1") == [(REPORTS + 2,)]
        assert data.rows(BEAT) == [(56,)]
        assert not data.refresh()
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        assert verify(data).ok


def test_a_lake_at_an_address_is_verified_shard_by_shard(site: Site, tmp_path: Path) -> None:
    with open_dataset(site.url, cache=tmp_path / "cache") as data:
        found = verify(data)
    assert (found.mismatches, found.reports, found.erasures) == ([], REPORTS, len(GONE))
    asked = Counter(site.asked)
    assert set(asked) == {MANIFEST, *PARTS, *(one for one in asked if one.endswith(".parquet"))}
    assert max(asked.values()) == 1


@pytest.mark.parametrize("changes", [{"sha256": "00" * 32}, {"bytes": 100}])
def test_attack_a_file_of_a_lake_that_is_not_the_listed_one(
    site: Site, tmp_path: Path, changes: dict[str, object]
) -> None:
    site.edit(PARTS[1], **changes)
    with open_dataset(site.url, cache=tmp_path / "cache") as data:
        with pytest.raises(StoreError, match=r"manifest\.2-of-2\.json lists") as caught:
            data.rows(BEAT)
        assert caught.value.code == "store-broken"
        assert data.rows("SELECT count(*) FROM type") == [(3,)]


def test_attack_a_manifest_of_another_shard(site: Site, tmp_path: Path) -> None:
    shutil.copy(site.lake / PARTS[0], site.lake / PARTS[1])
    with pytest.raises(StoreError, match="is not the manifest of shard 2/2") as caught:
        open_dataset(site.url, cache=tmp_path / "cache")
    assert caught.value.code == "store-foreign"


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 20, "2", True])
def test_attack_a_lake_of_another_number_of_shards(
    site: Site, tmp_path: Path, count: object
) -> None:
    text = json.loads((site.lake / MANIFEST).read_bytes())
    (site.lake / MANIFEST).write_text(json.dumps(text | {"shards": count}))
    with pytest.raises(StoreError):
        open_dataset(site.url, cache=tmp_path / "cache")
    assert site.asked == [MANIFEST]


def test_attack_a_lake_becomes_the_directory_of_one_aggregator(
    site: Site, whole: Path, tmp_path: Path
) -> None:
    with open_dataset(site.url, cache=tmp_path / "cache") as data:
        shutil.copy(whole / MANIFEST, site.lake / MANIFEST)
        with pytest.raises(StoreError, match="another data set now"):
            data.refresh()


def test_attack_manifests_that_are_too_large_together(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = max((site.lake / name).stat().st_size for name in PARTS)
    monkeypatch.setattr("methrics.aggregate.parquet.remote.MANIFEST_MAX", size + 1)
    with pytest.raises(MethricsError) as caught:
        open_dataset(site.url, cache=tmp_path / "cache")
    assert caught.value.code == "download-too-large"


def test_a_file_is_restored_from_a_lake_at_an_address(site: Site, tmp_path: Path) -> None:
    with (
        Store(tmp_path / "new.duckdb") as store,
        open_dataset(site.url, cache=tmp_path / "cache", partial=True) as data,
    ):
        found = restore(data, store, lambda: NOW)
        assert (found.reports, found.unreadable) == (REPORTS, [])


def test_the_commands_take_the_address_of_a_lake(site: Site, whole: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(root, ["query", site.url])
    assert "test.walk" in listed.output
    for arguments in (
        ["query", site.url, "test.beat_dau", "--floor", "1", "--csv"],
        ["verify", site.url],
        ["compare", site.url, str(whole)],
        ["rebuild", site.url, str(tmp_path / "new.duckdb")],
    ):
        result = run(root, arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        assert "manifest.json" not in result.output


def test_a_copy_of_a_lake_is_a_lake(site: Site, whole: Path, tmp_path: Path) -> None:
    copy = local_copy(site.url, tmp_path / "copy")
    with open_dataset(copy) as data, open_dataset(whole) as one:
        assert days(data) == days(one)
        assert verify(data).ok


def test_reports_are_found_in_a_lake_at_an_address(site: Site) -> None:
    with open_dataset(site.lake) as data:
        rows = data.rows("SELECT id, epoch(time)::BIGINT FROM item WHERE kind = 1")
    wanted = [Wanted(bytes(one), time) for one, time in rows]
    site.asked.clear()
    found = check(site.url, wanted)
    assert set(found.of.values()) == {FOUND}
    assert found.total == len(wanted) == REPORTS
    assert sorted(site.asked) == sorted([MANIFEST, *PARTS, *site.files("item", "tombstone")])

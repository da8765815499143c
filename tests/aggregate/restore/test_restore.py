"""Taking a data set into a file: all that is valid and allowed, once, whatever else is in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset, open_files
from methrics.aggregate.read.verify import verify
from methrics.aggregate.restore import restore as restore_module
from methrics.aggregate.restore.restore import Restored, restore
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.shard import WHOLE, Shard

DAY = making.DAY
NOW = making.NOW
CATALOG = making.catalog()
OTHER = making.catalog(label="other", key=making.seed("another"))
BEATS = [making.beat(CATALOG, i, NOW - 7200 - i % 3 * DAY) for i in range(30)]
RAWS = [
    CATALOG.raw,
    OTHER.raw,
    *BEATS,
    *(making.clicks(OTHER, i) for i in range(5)),
    *(making.walk(CATALOG, i) for i in range(4)),
    making.announcement(NOW - 1200),
    making.erasure(CATALOG, BEATS[0], "beat", 0),
]
REPORTS = 38


@pytest.fixture
def source(tmp_path: Path) -> Path:
    making.store_all(tmp_path / "old.duckdb", RAWS)
    return tmp_path / "old.duckdb"


def take(source: Path, file: Path, now: int = NOW) -> Restored:
    with Store(file) as store, open_files(source, salvage=True) as dataset:
        return restore(dataset, store, lambda: now)


def edit(path: Path, *statements: str) -> None:
    with memory() as con:
        con.execute(f"ATTACH '{path}' AS m")
        con.execute("USE m")
        for statement in statements:
            con.execute(statement)


@pytest.mark.shows("NEW-1")
def test_a_file_is_derived_anew_with_the_same_digests(source: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.duckdb"
    found = take(source, new)
    assert (found.reports, found.erasures, found.announcements) == (REPORTS, 1, 1)
    assert (found.catalogs, found.records, found.known) == (2, 2, 0)
    assert (found.refused, found.unreadable) == (Counter(), [])
    with Store(source) as one, Store(new) as other:
        assert one.day_digests() == other.day_digests()
    with open_dataset(new) as dataset:
        assert verify(dataset).mismatches == []


@pytest.mark.parametrize("shard", [WHOLE, Shard(1, 2), Shard(2, 2)], ids=str)
def test_the_progress_ends_when_all_of_the_shard_is_taken(
    source: Path, tmp_path: Path, shard: Shard
) -> None:
    told: list[tuple[int, int]] = []
    with Store(tmp_path / "new.duckdb", shard) as store, open_dataset(source) as dataset:
        restore(dataset, store, lambda: NOW, lambda *counts: told.append(counts))
    assert told[-1][0] == told[-1][1] == max(told)[0] > 4


def test_what_is_there_already_is_not_judged_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new.duckdb"
    take(source, new)
    judged: list[int] = []
    begin = restore_module.begin

    def counting(raws: list[bytes], *rest: object) -> object:
        judged.append(len(raws))
        return begin(raws, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(restore_module, "begin", counting)
    found = take(source, new)
    assert (found.reports, found.known) == (0, REPORTS + 1 + 5)
    assert sum(judged) == 5  # records, catalogs and the erasure


def test_a_day_with_as_many_other_reports_is_not_skipped(tmp_path: Path) -> None:
    """Only an equal digest says that the file has the reports of a day already."""
    time = NOW - 2 * DAY
    beats = [making.beat(CATALOG, i, time) for i in range(3)]
    making.store_all(tmp_path / "old.duckdb", [CATALOG.raw, *beats[:2]])
    making.store_all(tmp_path / "new.duckdb", [CATALOG.raw, *beats[1:]])
    found = take(tmp_path / "old.duckdb", tmp_path / "new.duckdb")
    assert (found.reports, found.known) == (1, 3)
    with Store(tmp_path / "new.duckdb") as store:
        assert store.total == 3


def test_of_a_day_that_is_equal_for_one_app_all_else_is_taken(tmp_path: Path) -> None:
    own = [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(3))]
    more = [OTHER.raw, *(making.clicks(OTHER, i) for i in range(5))]
    making.store_all(tmp_path / "old.duckdb", [*own, *more, making.announcement(NOW - 1200)])
    making.store_all(tmp_path / "new.duckdb", own)
    found = take(tmp_path / "old.duckdb", tmp_path / "new.duckdb")
    assert (found.reports, found.announcements) == (5, 1)


def test_it_goes_on_after_it_was_broken_off(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "CHUNK", 7)
    new = tmp_path / "new.duckdb"

    def broken(done: int, total: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    with Store(new) as store, open_dataset(source) as dataset, pytest.raises(KeyboardInterrupt):
        restore(dataset, store, lambda: NOW, broken)
    with Store(new) as store:
        assert 0 < store.total < REPORTS
        before = store.total
    found = take(source, new)
    assert found.reports == REPORTS - before
    with Store(source) as one, Store(new) as other:
        assert one.day_digests() == other.day_digests()


def test_bad_rows_are_refused_one_by_one(source: Path, tmp_path: Path) -> None:
    forged = "set_bit(raw::BIT, 20 * 8, 1 - get_bit(raw::BIT, 20 * 8))::BLOB"
    edit(
        source,
        f"UPDATE item SET raw = {forged} WHERE n = 2",
        "UPDATE item SET raw = 'nonsense'::BLOB WHERE n = 3",
        "UPDATE item SET raw = NULL WHERE n = 4",
        "UPDATE item SET id = NULL, catalog = 77, type = 5, kind = 9 WHERE n = 5",
        "UPDATE item SET raw = (SELECT raw FROM item WHERE n = 7) WHERE n = 6",
        "UPDATE tombstone SET raw = ''::BLOB",
        "INSERT INTO catalog SELECT n + 9, id, key, label, number, schema, received, 'x'::BLOB "
        "FROM catalog",
    )
    found = take(source, tmp_path / "new.duckdb")
    assert found.reports == REPORTS - 4
    assert found.refused.total() == 3 + 1 + 2
    assert found.refused["malformed"] >= 4
    assert found.erasures == 0
    with open_dataset(tmp_path / "new.duckdb") as dataset:
        assert verify(dataset).mismatches == []


@pytest.mark.parametrize(
    "time",
    [
        "TIMESTAMP '290000-01-01'",
        "TIMESTAMP '0044-01-01 (BC)'",
        "'infinity'",
        "'-infinity'",
        "NULL",
    ],
)
def test_attack_a_time_that_no_report_can_have(source: Path, tmp_path: Path, time: str) -> None:
    """The columns are not believed: the signed bytes say the time."""
    edit(source, f"UPDATE item SET time = {time} WHERE n % 2 = 0")
    found = take(source, tmp_path / "new.duckdb")
    assert (found.reports, found.announcements, found.unreadable) == (REPORTS, 1, [])


def test_attack_a_day_of_its_own_for_each_row(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each day costs a query, so there are no more than those that reports may have."""
    edit(source, "UPDATE item SET time = make_timestamp((n * 86400 + 3e11::BIGINT) * 1000000)")
    asked: list[str] = []
    chunks = restore_module._Restore._chunks

    def counting(self: restore_module._Restore, what: str, *rest: object) -> object:
        asked.append(what)
        return chunks(self, what, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(restore_module._Restore, "_chunks", counting)
    assert take(source, tmp_path / "new.duckdb").reports == REPORTS
    assert asked == ["records", "catalogs", "erasures", "other days"]


def test_attack_values_that_are_larger_than_any_item(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet file of some KB can hold them: they must not come into memory."""
    edit(
        source,
        *(
            f"INSERT INTO {table} SELECT * REPLACE (n + 500 AS n, repeat('x', 70000)::BLOB AS raw) "
            f"FROM {table}"
            for table in ("item", "tombstone", "record", "catalog")
        ),
    )
    longest: list[int] = []
    begin = restore_module.begin

    def measuring(raws: list[bytes], *rest: object) -> object:
        longest.append(max(map(len, raws)))
        return begin(raws, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(restore_module, "begin", measuring)
    found = take(source, tmp_path / "new.duckdb")
    assert max(longest) == max(len(CATALOG.raw), len(OTHER.raw))
    assert found.reports == REPORTS
    assert found.refused["malformed"] == REPORTS + 1 + 1 + 2 + 2


def test_attack_a_backup_brings_back_what_was_erased_or_revoked(
    source: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.duckdb"
    book = CatalogBook()
    with Store(new) as store:
        gone = making.erasure(CATALOG, BEATS[1], "beat", 1, NOW - 7200 - DAY)
        revoking = making.record(CATALOG, revoked={"walk": 0}, time=NOW)
        store.commit(making.batch([CATALOG.raw, gone], book))
        store.commit(making.batch([revoking], book))
    found = take(source, new)
    assert (found.erased, found.refused["revoked"]) == (1, 4)
    assert found.reports == REPORTS - 1 - 4


def test_attack_a_backup_brings_back_what_is_over(source: Path, tmp_path: Path) -> None:
    found = take(source, tmp_path / "new.duckdb", NOW + 400 * DAY)
    assert (found.reports, found.erasures) == (0, 0)
    assert found.refused == Counter(retention=REPORTS + 1)


def test_attack_invented_reports_of_the_future(tmp_path: Path) -> None:
    source, later = tmp_path / "old.duckdb", NOW + 2 * DAY
    invented = [making.beat(CATALOG, i, later) for i in range(40, 45)]
    making.store_all(source, [CATALOG.raw, *BEATS, *invented], later)
    found = take(source, tmp_path / "new.duckdb")
    assert (found.reports, found.refused) == (len(BEATS), Counter(early=5))


def test_reports_of_a_catalog_that_no_record_lists_are_refused(
    source: Path, tmp_path: Path
) -> None:
    edit(source, "DELETE FROM record")
    found = take(source, tmp_path / "new.duckdb")
    assert (found.reports, found.catalogs) == (0, 0)
    assert found.refused["unlisted"] == 2
    assert found.refused["unknown-catalog"] == REPORTS + 1


def test_few_catalogs_are_in_memory_at_a_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "CATALOGS", 1)
    assert take(source, tmp_path / "new.duckdb").reports == REPORTS


def test_a_file_that_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.duckdb").write_bytes(b"x" * 5000)
    with pytest.raises(StoreError):
        take(tmp_path / "a.duckdb", tmp_path / "new.duckdb")


@pytest.fixture
def directory(source: Path) -> Path:
    with Store(source) as store:
        Exporter(store).export(NOW)
    return source.with_suffix(".parquet")


@pytest.mark.parametrize("damage", ["cut", "footer", "page", "gone"])
def test_of_a_directory_with_a_damaged_file_the_others_are_taken(
    directory: Path, tmp_path: Path, damage: str
) -> None:
    (broken,) = directory.glob("raw/test/walk/*/*.parquet")
    data = broken.read_bytes()
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if damage == "gone":
        broken.unlink()
    elif damage == "cut":
        broken.write_bytes(data[: len(data) // 2])
    else:
        at, size = (4, end - 4) if damage == "page" else (end, len(data) - end)
        broken.write_bytes(data[:at] + b"\xa5" * size + data[at + size :])
    found = take(directory, tmp_path / "new.duckdb")
    assert found.reports == REPORTS - 4
    assert (found.erasures, found.catalogs) == (1, 2)
    name = broken.relative_to(directory).as_posix()
    assert found.unreadable == [f"{name}: it is not the listed file"]
    with open_dataset(tmp_path / "new.duckdb") as dataset:
        assert verify(dataset).mismatches == []


def test_what_can_be_read_of_a_damaged_file_is_taken(directory: Path, tmp_path: Path) -> None:
    (broken,) = directory.glob("raw/test/walk/*/*.parquet")
    edited = tmp_path / "edited.parquet"
    with memory() as con:
        other = "CASE n % 2 WHEN 0 THEN raw ELSE 'x'::BLOB END AS raw"
        rows = f"SELECT * REPLACE ({other}) FROM '{broken}'"
        con.execute(f"COPY ({rows}) TO '{edited}' (FORMAT parquet)")
    edited.rename(broken)
    found = take(directory, tmp_path / "new.duckdb")
    assert found.reports == REPORTS - 2
    assert len(found.unreadable) == 1


@pytest.mark.parametrize("how", ["cut", "gone"])
@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("dictionary/code", "; it is not needed"),
        ("dictionary/type", "; it is not needed"),
        ("dictionary/field", "; it is not needed"),
        ("dictionary/manifest", "; it has no rows"),
        ("raw/empty", "; it has no rows"),
        ("tombstone/empty", "; it has no rows"),
    ],
)
def test_a_damaged_file_that_is_not_needed_costs_nothing(
    directory: Path, tmp_path: Path, table: str, told: str, how: str
) -> None:
    (broken,) = directory.glob(f"{table}.*")
    damage(broken, how)
    found = take(directory, tmp_path / "new.duckdb")
    assert (found.reports, found.erasures, found.catalogs) == (REPORTS, 1, 2)
    name = broken.relative_to(directory).as_posix()
    assert found.unreadable == [f"{name}: it is not the listed file{told}"]


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("how", ["cut", "gone"])
@pytest.mark.parametrize("table", ["catalog", "record"])
def test_without_catalogs_or_records_nothing_is_taken_until_the_file_has_them(
    directory: Path, tmp_path: Path, table: str, how: str
) -> None:
    """The signed bytes name the catalog, whatever the lost table said."""
    (broken,) = directory.glob(f"dictionary/{table}.*")
    damage(broken, how)
    new, name = tmp_path / "new.duckdb", broken.relative_to(directory).as_posix()
    found = take(directory, new)
    assert (found.reports, found.erasures) == (0, 0)
    assert found.unreadable == [f"{name}: it is not the listed file", restore_module.WITHOUT]
    with Store(new) as store:
        store.commit(making.batch([CATALOG.raw, OTHER.raw], CatalogBook()))
    again = take(directory, new)
    assert (again.reports, again.erasures, again.refused) == (REPORTS, 1, Counter())
    assert again.unreadable == [f"{name}: it is not the listed file"]
    with open_dataset(new) as dataset:
        assert verify(dataset).mismatches == []


def test_of_a_damaged_table_of_catalogs_those_that_can_be_read_are_taken(
    directory: Path, tmp_path: Path
) -> None:
    (broken,) = directory.glob("dictionary/catalog.*")
    edited = tmp_path / "edited.parquet"
    with memory() as con:
        rows = (
            f"SELECT * REPLACE (CASE n WHEN 1 THEN raw ELSE 'x'::BLOB END AS raw) FROM '{broken}'"
        )
        con.execute(f"COPY ({rows}) TO '{edited}' (FORMAT parquet)")
    edited.rename(broken)
    found = take(directory, tmp_path / "new.duckdb")
    assert found.catalogs == 1
    assert 0 < found.reports < REPORTS
    assert found.refused["unknown-catalog"] > 0
    assert found.unreadable[-1] == restore_module.WITHOUT


def test_a_file_without_signed_bytes_is_no_source(directory: Path, tmp_path: Path) -> None:
    (lone,) = directory.glob("types/test/walk/*/*.parquet")
    with pytest.raises(StoreError, match="has no signed items"):
        take(lone, tmp_path / "new.duckdb")

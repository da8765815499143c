"""The writer: what a commit stores, counts, refuses and survives."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store import hot_days, records, tables
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.digest import day_digests_of, digests
from methrics.aggregate.store.duck import Connection, memory
from methrics.aggregate.store.refusals import SAMPLE_MAX
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import split
from methrics.schema.wire.verdict import Reason

NOW = making.NOW


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.duckdb"


@pytest.fixture
def book() -> CatalogBook:
    return making.book(making.catalog())


CATALOG = making.catalog()
BEATS = [making.beat(CATALOG, i) for i in range(6)]


def ask(store: Store, sql: str) -> list[tuple[object, ...]]:
    return store.cursor().execute(sql).fetchall()


@pytest.mark.shows("NEW-1")
def test_reports_of_every_kind_are_stored_with_their_exact_bytes(file: Path) -> None:
    raws = [*BEATS, *(making.clicks(CATALOG, i) for i in range(3)), making.walk(CATALOG, 2)]
    done = making.store_all(file, [CATALOG.raw, *raws])
    assert (done.reports, done.total, done.duplicates) == (10, 10, 0)
    with Store(file) as store:
        assert [raw for (raw,) in ask(store, "SELECT raw FROM item ORDER BY n")] == raws
        assert ask(store, "SELECT count FROM test.clicks ORDER BY n") == [(1,), (2,), (3,)]
        steps = ask(store, "SELECT i, step, offset_bucket FROM test.walk_step ORDER BY i")
        assert steps == [(0, "start", 0), (1, "middle", 1), (2, "end", 2)]
        assert ask(store, "SELECT version, os, daily, age FROM test.beat ORDER BY n LIMIT 2") == [
            (None, "linux", True, None),
            ("1.1", "macos", False, 1),
        ]
        assert store.total == 10


def test_the_file_is_readable_by_older_duckdb(file: Path) -> None:
    Store(file).close()
    con = memory()
    con.execute(f"ATTACH '{file}' AS m (READ_ONLY)")
    tags = con.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'm'").fetchone()
    assert tags is not None
    assert tags[0]["storage_version"].startswith("v1.5.0")


def test_big_tables_have_no_index(file: Path) -> None:
    making.store_all(file, [CATALOG.raw, *BEATS])
    with Store(file) as store:
        assert ask(store, "SELECT * FROM duckdb_indexes()") == []
        assert (
            ask(store, "SELECT * FROM duckdb_constraints() WHERE database_name = 'methrics'") == []
        )


def test_the_same_items_again_change_nothing(file: Path, book: CatalogBook) -> None:
    making.store_all(file, [CATALOG.raw, *BEATS, BEATS[0]])
    with Store(file) as store:
        done = store.commit(making.batch([CATALOG.raw, *BEATS], book))
        assert (done.reports, done.duplicates, done.total) == (0, 8, 6)
        assert (
            ask(store, "SELECT count(*) FROM item")
            == ask(store, "SELECT count(*) FROM test.beat")
            == [(6,)]
        )


@pytest.mark.shows("MARS-16")
def test_time_of_receipt_is_kept_by_the_hour(file: Path) -> None:
    making.store_all(file, [CATALOG.raw, *BEATS], NOW)
    with Store(file) as store:
        (received,) = ask(store, "SELECT DISTINCT epoch(received)::BIGINT FROM item")
        assert received == (NOW // 3600 * 3600,)
        assert NOW % 3600 != 0


def test_a_later_catalog_adds_columns_to_the_same_table(file: Path) -> None:
    later = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
    making.store_all(file, [CATALOG.raw, BEATS[0]])
    making.store_all(file, [later.raw, making.beat(later, 9)])
    with Store(file) as store:
        found = ask(store, "SELECT catalog, os, country FROM test.beat ORDER BY n")
        assert found == [(1, "linux", None), (2, "linux", None)]


@pytest.mark.parametrize("first", ["report", "erasure", "together"])
def test_an_erasure_takes_the_report_away_and_keeps_it_out(
    file: Path, book: CatalogBook, first: str
) -> None:
    walk = making.walk(CATALOG, 2)
    gone = making.erasure(CATALOG, walk, "walk", 2)
    orders = {"report": [[walk], [gone]], "erasure": [[gone], [walk]], "together": [[gone, walk]]}
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, *BEATS], book))
        done = [store.commit(making.batch(raws, book)) for raws in orders[first]]
        assert sum(one.erased for one in done) == 1
        assert store.commit(making.batch([walk], book)).erased == 1
        assert store.commit(making.batch([gone], book)).duplicates == 1
        assert store.total == 6
        for table in ("test.walk", "test.walk_step"):
            assert ask(store, f"SELECT * FROM {table}") == []
        assert ask(store, "SELECT raw FROM tombstone") == [(gone,)]


@pytest.mark.parametrize("order", [1, -1])
def test_attack_erase_the_report_of_another(file: Path, book: CatalogBook, order: int) -> None:
    wrong = making.erasure(CATALOG, BEATS[0], "someone else", 0)
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw], book))
        done = [store.commit(making.batch([raw], book)) for raw in [BEATS[0], wrong][::order]]
        assert store.total == 1
        assert sum(one.erased for one in done) == 0
        assert ask(store, "SELECT raw FROM tombstone") == [(wrong,)]


@pytest.mark.parametrize("order", [1, -1])
def test_an_erasure_that_is_wrong_about_its_report_does_nothing(
    file: Path, book: CatalogBook, order: int
) -> None:
    wrong = making.erasure(CATALOG, BEATS[0], "beat", 0, time=NOW - 2 * making.DAY)
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw], book))
        for raw in [BEATS[0], wrong][::order]:
            store.commit(making.batch([raw], book))
        assert store.total == 1


def test_attack_erasures_of_reports_that_do_not_exist_displace_no_other(
    file: Path, book: CatalogBook
) -> None:
    late = making.beat(CATALOG, 9)
    early = making.erasure(CATALOG, late, "beat", 9)
    false = [making.erasure(CATALOG, making.beat(CATALOG, i), "x", i) for i in range(50, 58)]
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, BEATS[0], early], book))
        for raw in false:
            store.commit(making.batch([raw], book))
    with Store(file) as store:
        assert store.commit(making.batch([late], book)).erased == 1
        assert ask(store, "SELECT count(*) FROM tombstone") == [(9,)]


@pytest.mark.shows("METH-15")
def test_a_revocation_takes_away_the_reports_from_its_time_on(
    file: Path, book: CatalogBook
) -> None:
    old = making.beat(CATALOG, 7, NOW - 86_400)
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, *BEATS, old, making.clicks(CATALOG, 1)], book))
        revoking = making.record(CATALOG, revoked={"beat": NOW - 7200})
        done = store.commit(making.batch([revoking], book))
        assert (done.revoked, len(done.records), store.total) == (6, 1, 2)
        assert ask(store, "SELECT count(*) FROM test.beat") == [(1,)]
        again = store.commit(making.batch([revoking], book))
        assert (again.records, again.duplicates) == ([], 1)
    with Store(file) as store:
        found = ask(store, "SELECT type, epoch(time)::BIGINT, reason FROM revoked")
        assert found == [("beat", NOW - 7200, "testing")]
        done = store.commit(making.batch(BEATS, making.book(CATALOG)))
        assert (done.reports, done.revoked) == (0, 6)


def test_an_older_record_revokes_nothing(file: Path, book: CatalogBook) -> None:
    newest = making.record(CATALOG, time=NOW - 500)
    older = making.record(CATALOG, time=NOW - 900, revoked={"beat": 0})
    with Store(file) as store:
        store.commit(making.batch([newest, CATALOG.raw, *BEATS], book))
        done = store.commit(making.batch([older], book))
        assert (done.revoked, len(done.records), store.total) == (0, 1, 6)


def test_every_record_is_kept_with_what_it_lists(file: Path, book: CatalogBook) -> None:
    later = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
    first = making.record(CATALOG, time=NOW - 900)
    second = making.record(
        CATALOG, later, time=NOW - 800, previous=[split(first).id], delisted={CATALOG.id: NOW}
    )
    with Store(file) as store:
        store.commit(making.batch([second], book))
        store.commit(making.batch([first, second], book))
        assert [one.item.raw for one in store.records()] == [first, second]
        found = ask(
            store,
            "SELECT r.raw, l.catalog, epoch(l.delisted)::BIGINT FROM listing l "
            "JOIN record r ON r.n = l.record ORDER BY r.time, l.delisted",
        )
        assert found == [
            (first, CATALOG.id, None),
            (second, CATALOG.id, NOW),
            (second, later.id, None),
        ]
        assert ask(store, "SELECT previous FROM record ORDER BY time") == [
            ([],),
            ([split(first).id],),
        ]


def test_attack_a_namespace_signs_records_without_end(
    file: Path, book: CatalogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "HISTORY_MAX", 16)
    gone = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG)
    only = making.record(gone, time=NOW - 999)
    many = [making.record(CATALOG, time=NOW - 900 + i) for i in range(40)]
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, BEATS[0], only], book))
        for raw in many:
            store.commit(making.batch([raw], book))
        kept = [one.item.raw for one in store.records()]
        assert len(kept) <= 16
        assert only in kept  # no other record lists that catalog
        assert many[-1] in kept
        assert ask(store, "SELECT count(DISTINCT record) FROM listing") == [(len(kept),)]
    with open_dataset(file) as dataset:
        assert verify(dataset).ok


def test_attack_more_tables_than_a_namespace_may_have(
    file: Path, book: CatalogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "TABLES_MAX", 2)
    raws = [BEATS[0], making.clicks(CATALOG, 1), making.walk(CATALOG, 2), making.walk(CATALOG, 3)]
    with Store(file) as store:
        done = store.commit(making.batch([CATALOG.raw, *raws], book))
        assert done.reports + done.refused == 4
        assert len(store.tables()) == 2
        assert ask(store, "SELECT reason, count FROM refusal") == [("quota", done.refused)]
    with open_dataset(file) as dataset:
        assert verify(dataset).ok


def test_refusals_are_counted_by_day_and_reason_with_one_short_sample(file: Path) -> None:
    with Store(file) as store:
        refused = {Reason.FORGED: (3, b"x" * 1000), Reason.LATE: (1, b"late")}
        assert store.commit(Batch(NOW, refused=refused)).refused == 4
        store.commit(Batch(NOW, refused={Reason.FORGED: (2, b"y")}))
        again = store.commit(Batch(NOW, refused={Reason.DUPLICATE: (3, b"z")}))
        assert (again.refused, again.known) == (3, 3)
        store.commit(Batch(NOW + 86_400, refused={Reason.FORGED: (1, b"z")}))
        found = ask(
            store, "SELECT reason, count, octet_length(sample) FROM refusal ORDER BY day, reason"
        )
        assert found == [
            ("duplicate", 3, 0),
            ("forged", 5, SAMPLE_MAX),
            ("late", 1, 0),
            ("forged", 1, 1),
        ]


def test_only_days_that_changed_are_computed_again(
    file: Path, book: CatalogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def counted(con: Connection, items: str, wanted: Iterable[tuple[bytes, str, int]]) -> object:
        wanted = list(wanted)
        computed.extend(day for _, _, day in wanted)
        return day_digests_of(con, items, wanted)

    monkeypatch.setattr(hot_days, "day_digests_of", counted)
    day = (NOW - 7200) // 86_400
    with Store(file) as store:
        earlier = making.beat(CATALOG, 9, NOW - 2 * making.DAY)
        store.commit(making.batch([CATALOG.raw, *BEATS, earlier], book))
        first = store.day_digests()
        assert [one.count for one in first] == [1, 6]
        assert computed == [day - 2, day]
        store.commit(making.batch(BEATS, book))
        assert (store.day_digests(), computed) == (first, [day - 2, day])
        assert store.day_digests({day}) == first[1:]
    with Store(file) as store:
        assert (store.day_digests(), computed) == (first, [day - 2, day]), "kept in the file"
        with store.reading() as old:
            store.commit(making.batch([making.erasure(CATALOG, BEATS[0], "beat", 0)], book))
            assert store.day_digests(con=old) == first, "as of the snapshot"
            assert computed == [day - 2, day]
        found = store.day_digests()
        assert computed == [day - 2, day, day]
        assert [one.count for one in found] == [1, 5]
        assert found == digests(store.cursor())
        gone = making.erasure(CATALOG, earlier, "beat", 9, NOW - 2 * making.DAY)
        store.commit(making.batch([gone], book))
        assert store.day_digests() == found[1:]


def test_a_digest_computed_from_an_older_snapshot_is_not_kept(
    file: Path, book: CatalogBook
) -> None:
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, *BEATS], book))
        with store.reading() as old:
            store.commit(making.batch([making.erasure(CATALOG, BEATS[0], "beat", 0)], book))
            assert [one.count for one in store.day_digests(con=old)] == [6]
        assert store.day_digests() == digests(store.cursor())


def test_a_snapshot_sees_one_commit_and_no_later_one(file: Path, book: CatalogBook) -> None:
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, *BEATS[:2]], book))
        with store.reading() as con:
            store.commit(making.batch(BEATS[2:], book))
            items = store.items_sql(con=con)
            assert con.execute(f"SELECT count(*) FROM {items}").fetchall() == [(2,)]
        with store.reading() as con:
            day = (NOW - 7200) // 86_400
            for days, rows in (((day, day), 6), ((None, day - 1), 0), ((day + 1, None), 0)):
                items = store.items_sql(*days, con=con)
                assert con.execute(f"SELECT count(*) FROM {items}").fetchall() == [(rows,)]


def test_a_second_writer_is_told_that_the_file_is_in_use(file: Path) -> None:
    with Store(file), pytest.raises(StoreError, match="is in use") as caught:
        Store(file)
    assert caught.value.code == "store-busy"


def test_a_file_of_something_else_is_left_alone(file: Path) -> None:
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="is not a DuckDB file"):
        Store(file)
    assert file.read_bytes() == b"not a database" * 1000


def test_a_duckdb_file_of_something_else_is_left_alone(file: Path) -> None:
    con = memory()
    con.execute(f"ATTACH '{file}' AS other")
    con.execute("CREATE TABLE other.theirs (a INTEGER)")
    con.close()
    with pytest.raises(StoreError, match="DuckDB file of"):
        Store(file)


def test_a_file_of_another_layout_is_refused(file: Path) -> None:
    with Store(file) as store:
        store.cursor().execute("UPDATE meta SET layout = 99")
    with pytest.raises(StoreError, match="layout 99"):
        Store(file)


def test_a_missing_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        Store(tmp_path / "no" / "where.duckdb")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_directory_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        Store(tmp_path / "a.duckdb")
    assert "\n" not in str(caught.value)


def test_after_a_failed_commit_nothing_of_it_is_there_and_no_more_is_taken(
    file: Path, book: CatalogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(file)
    store.commit(making.batch([CATALOG.raw, *BEATS], book))
    with monkeypatch.context() as patch:
        patch.setattr(
            store._writer, "insert_typed", lambda derived: store._con.execute("SELECT nonsense")
        )
        with pytest.raises(StoreError):
            store.commit(making.batch([making.beat(CATALOG, 20)], book))
    with pytest.raises(StoreError, match="closed after an error"):
        store.commit(making.batch([making.beat(CATALOG, 21)], book))
    store.close()
    with open_dataset(file) as dataset:
        assert dataset.rows("SELECT count(*) FROM item") == [(6,)]


def test_a_commit_that_fails_while_an_export_reads_is_one_clear_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, book: CatalogBook
) -> None:
    store = Store(file)
    store.commit(making.batch([CATALOG.raw, *BEATS[:2]], book))
    cursor, begun = store.cursor(), threading.Event()

    def read() -> None:
        begun.set()
        with pytest.raises(Exception, match=r"[Ii]nterrupt"):
            cursor.execute("SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b").fetchall()

    reader = threading.Thread(target=read)
    reader.start()
    begun.wait()
    monkeypatch.setattr(
        store._writer, "insert_typed", lambda derived: store._con.execute("nonsense")
    )
    with pytest.raises(StoreError, match="nonsense"):
        store.commit(making.batch(BEATS[2:], book))
    while reader.is_alive():
        cursor.interrupt()
        reader.join(0.05)
    store.close()
    with open_dataset(file) as dataset:
        assert dataset.rows("SELECT count(*) FROM item") == [(2,)]


def test_reports_judged_before_a_revocation_do_not_outlive_it(
    file: Path, book: CatalogBook
) -> None:
    overtaken = making.batch([*BEATS, making.clicks(CATALOG, 1)], book)
    revoking = making.record(CATALOG, revoked={"beat": NOW - 7200})
    revocation = making.batch([CATALOG.raw, revoking], book)
    for reopened in (False, True):
        with Store(file) as store:
            if not reopened:
                store.commit(revocation)
            done = store.commit(overtaken)
            assert (done.reports, done.revoked) == (0 if reopened else 1, len(BEATS))
            assert ask(store, "SELECT count(*) FROM test.beat") == [(0,)]

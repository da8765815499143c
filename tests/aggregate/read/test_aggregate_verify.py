"""`verify` finds and names every change that the writer did not make."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError

CATALOG = making.catalog()
RAWS = [
    CATALOG.raw,
    *(making.beat(CATALOG, i, making.NOW - 86_400 * (i % 2)) for i in range(6)),
    *(making.walk(CATALOG, i) for i in range(3)),
    *(making.clicks(CATALOG, i) for i in range(2)),
    making.erasure(CATALOG, making.beat(CATALOG, 0, making.NOW), "beat", 0, making.NOW),
    making.record(CATALOG, revoked={"clicks": making.NOW - 600}),
    making.announcement(making.NOW - 1200),
]


def tampered(tmp_path: Path, *statements: str) -> Verification:
    """The verification of a good file after `statements`; FLIP flips a bit of the signature."""
    file = tmp_path / "a.duckdb"
    making.store_all(file, RAWS)
    with Store(file) as store:
        for statement in statements:
            if statement.startswith("FLIP "):
                _flip(store, statement.removeprefix("FLIP "))
            else:
                store.cursor().execute(statement)
    with open_dataset(file) as dataset:
        return verify(dataset)


def _flip(store: Store, rows: str) -> None:
    cursor = store.cursor()
    ((raw,),) = cursor.execute(f"SELECT raw FROM {rows}").fetchall()
    table, _, where = rows.partition(" ")
    cursor.execute(f"UPDATE {table} SET raw = ? {where}", [raw[:-1] + bytes([raw[-1] ^ 1])])


@pytest.mark.shows("NEW-1")
def test_what_the_writer_wrote_is_right_and_all_of_it_is_checked(tmp_path: Path) -> None:
    found = tampered(tmp_path)
    assert found.mismatches == []
    assert (found.ok, found.catalogs, found.reports) == (True, 1, 10)
    assert (found.erasures, found.announcements, found.records) == (1, 1, 2)


def test_progress_is_told_up_to_the_last_row(tmp_path: Path) -> None:
    making.store_all(tmp_path / "a.duckdb", RAWS)
    told: list[tuple[int, int]] = []
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        verify(dataset, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 10)
    assert told[-1] == (10, 10)


@pytest.mark.shows("NEW-1")
@pytest.mark.parametrize(
    ("statement", "table", "what"),
    [
        (
            "UPDATE test.beat SET os = 'windows' WHERE n = 3",
            "test.beat",
            "not what the bytes say: os",
        ),
        ("UPDATE test.beat SET daily = NOT daily WHERE n = 3", "test.beat", "daily"),
        ("UPDATE test.beat SET age = NULL WHERE n = 4", "test.beat", "age"),
        ("UPDATE test.beat SET one_in = 5 WHERE n = 3", "test.beat", "one_in"),
        ("UPDATE test.beat SET time = time + INTERVAL 1 HOUR WHERE n = 3", "test.beat", "time"),
        ("UPDATE test.beat SET day = day + 1 WHERE n = 3", "test.beat", "say: day"),
        ("UPDATE test.beat SET day = NULL WHERE n = 3", "test.beat", "say: day"),
        ("UPDATE test.beat SET catalog = 2 WHERE n = 3", "test.beat", "catalog"),
        ("UPDATE test.clicks SET count = 99", "test.clicks", "count"),
        ("DELETE FROM test.beat WHERE n = 3", "test.beat", "the row is missing"),
        ("INSERT INTO test.beat SELECT * FROM test.beat WHERE n = 3", "test.beat", "2 rows"),
        (
            "INSERT INTO test.beat SELECT * REPLACE (99 AS n) FROM test.beat WHERE n = 3",
            "test.beat",
            "no item",
        ),
        ("UPDATE test.walk SET reached = 7 WHERE n = 8", "test.walk", "reached"),
        ("UPDATE test.walk_step SET first = NOT first WHERE n = 8", "test.walk_step", "first"),
        ("UPDATE test.walk_step SET step = 'end' WHERE n = 8", "test.walk_step", "step"),
        (
            "UPDATE test.walk_step SET offset_bucket = 2 WHERE n = 8",
            "test.walk_step",
            "offset_bucket",
        ),
        ("DELETE FROM test.walk_step WHERE n = 8 AND i = 1", "test.walk_step", "1 rows where 2"),
        (
            "INSERT INTO test.walk_step VALUES (77, 1, 1, 0, 'start', true, 0)",
            "test.walk_step",
            "no item has this content",
        ),
        ("DROP TABLE test.walk_step", "test.walk_step", "the table is missing"),
        ("UPDATE item SET time = time + INTERVAL 1 DAY WHERE n = 3", "item", "time"),
        ("UPDATE item SET id = unhex(repeat('00', 32)) WHERE n = 3", "item", "id"),
        ("UPDATE item SET type = 2 WHERE n = 3", "item", "type"),
        ("UPDATE item SET catalog = 7 WHERE n = 3", "item", "catalog"),
        ("UPDATE item SET kind = 4 WHERE n = 3", "item", "kind"),
        ("UPDATE item SET n = 4 WHERE n = 3", "item", "twice"),
        (
            "INSERT INTO item SELECT * REPLACE (50 AS n) FROM item WHERE n = 3",
            "item",
            "more than once",
        ),
        ("UPDATE item SET raw = unhex('00') WHERE n = 3", "item", "refused: malformed"),
        ("UPDATE item SET raw = NULL WHERE n = 3", "item", "refused: malformed"),
        ("UPDATE catalog SET raw = NULL", "catalog", "refused: malformed"),
        ("UPDATE item SET time = TIMESTAMP '290000-01-01' WHERE n = 3", "item", "say: time"),
        ("UPDATE item SET time = 'infinity' WHERE n = 3", "item", "say: time"),
        ("FLIP item WHERE n = 3", "item", "refused: forged"),
        ("FLIP item WHERE kind = 5", "item", "refused: forged"),
        ("FLIP catalog", "catalog", "refused: forged"),
        ("UPDATE catalog SET label = 'other'", "catalog", "the columns are not"),
        ("UPDATE type SET question = 'Who are you?'", "type", "not those of the catalogs"),
        ("FLIP tombstone", "tombstone", "refused: forged"),
        ("FLIP record WHERE n = 2", "record", "refused: forged"),
        ("UPDATE record SET expires = expires + INTERVAL 1 DAY WHERE n = 2", "record", "not what"),
        ("UPDATE listing SET delisted = TIMESTAMP '2027-01-01'", "listing", "not what"),
        ("DELETE FROM revoked", "revoked", "not what"),
        ("INSERT INTO listing VALUES (9, unhex('00'), NULL, NULL)", "listing", "no record has"),
        ("DELETE FROM record; DELETE FROM listing; DELETE FROM revoked", "item", "unlisted"),
        ("DELETE FROM declaration WHERE n = 1", "type", "not those of the catalogs"),
        ("UPDATE declaration SET catalog = 7 WHERE n = 1", "declaration", "no catalog declares"),
        ("UPDATE declaration SET steps = ['x'] WHERE n = 1", "declaration", "not what the catalog"),
        ("UPDATE tombstone SET n = -5, raw = unhex('00')", "tombstone", "a number of its own"),
        ("UPDATE tombstone SET n = NULL, raw = unhex('00')", "tombstone", "a number of its own"),
        ("INSERT INTO tombstone FROM tombstone", "tombstone", "a number of its own"),
        ("UPDATE field SET epsilon = 1 WHERE name = 'os'", "field", "not what catalog 1 says"),
        ("DELETE FROM field WHERE name = 'os'", "field", "not what catalog 1 says"),
        ("UPDATE field SET catalog = NULL WHERE name = 'os'", "field", "belong to no catalog"),
        ("UPDATE code SET label = 'windows' WHERE label = 'linux'", "code", "not what catalog 1"),
        ("INSERT INTO code FROM code LIMIT 1", "code", "not what catalog 1 says"),
        (
            "INSERT INTO manifest SELECT ''::BLOB, key, DATE '2026-09-01', TIMESTAMP '2026-10-01', "
            "true, 5, ''::BLOB, ''::BLOB, raw FROM catalog",
            "manifest",
            "the bytes are refused",
        ),
        ("UPDATE tombstone SET day = day + 1", "tombstone", "not what"),
        ("UPDATE tombstone SET catalog = 7", "tombstone", "unknown-catalog"),
        (
            "UPDATE tombstone SET report = (SELECT id FROM item WHERE n = 3)",
            "tombstone",
            "not what",
        ),
        (
            "UPDATE tombstone SET report = (SELECT id FROM item WHERE n = 3), "
            "day = (SELECT time::DATE FROM item WHERE n = 3)",
            "item",
            "has been erased",
        ),
    ],
)
def test_attack_change_the_file(tmp_path: Path, statement: str, table: str, what: str) -> None:
    found = tampered(tmp_path, statement)
    assert not found.ok
    assert any(one.table == table and what in one.what for one in found.mismatches), (
        found.mismatches
    )


def test_a_mismatch_names_its_row_and_only_that(tmp_path: Path) -> None:
    found = tampered(tmp_path, "UPDATE test.beat SET os = 'windows' WHERE n = 3")
    assert [str(one) for one in found.mismatches] == ["test.beat 3: not what the bytes say: os"]
    assert found.wrong == 1


@pytest.mark.shows("NEW-1")
def test_attack_change_the_parquet(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    making.store_all(file, RAWS)
    with Store(file) as store:
        Exporter(store).export(making.NOW)
    (day,) = directory_beside(file).glob("types/test/beat/2026-09/*.parquet")
    from methrics.aggregate.store.duck import memory

    con = memory()
    con.execute(f"CREATE TABLE t AS SELECT * REPLACE ('windows' AS os) FROM read_parquet('{day}')")
    con.execute(f"COPY t TO '{day}' (FORMAT parquet)")
    with open_dataset(directory_beside(file)) as dataset:
        found = verify(dataset)
    (name,) = {one.what.split()[0] for one in found.mismatches if "listed file" in one.what}
    assert {one.what for one in found.mismatches} == {
        "not what the bytes say: os",
        f"{name} is not the listed file",
    }
    assert {one.table for one in found.mismatches} == {"test.beat"}


def test_attack_cut_the_file_short(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    making.store_all(file, RAWS)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StoreError) as caught, open_dataset(file) as dataset:
        verify(dataset)
    assert str(caught.value).startswith(
        f"{file} is damaged or cut short (`methrics aggregate` sets it"
    )

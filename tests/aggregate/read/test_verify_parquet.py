"""`verify` of Parquet: its files, the digests that are published, and how the work is divided."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import aggregate_making as making
import pytest
from catalog_text import TYPE
from layout_making import Writer, settle

from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.parquet.manifest import MANIFEST
from methrics.aggregate.read import verify_plan
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report

CATALOG = making.catalog()
NOW, DAY = making.NOW, making.DAY
RAWS = [
    CATALOG.raw,
    *(making.beat(CATALOG, i, NOW - DAY * (i % 2)) for i in range(8)),
    *(making.walk(CATALOG, i) for i in range(3)),
    making.erasure(CATALOG, making.beat(CATALOG, 0, NOW), "beat", 0, NOW),
    making.announcement(NOW - 1200),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    making.store_all(tmp_path / "a.duckdb", RAWS)
    return tmp_path / "a.duckdb"


@pytest.fixture
def directory(file: Path) -> Path:
    with Store(file) as store:
        Writer(directory_beside(file)).write(store, NOW)
    return directory_beside(file)


def checked(path: Path) -> Verification:
    with open_dataset(path) as dataset:
        return verify(dataset)


def said(path: Path) -> str:
    return "\n".join(str(one) for one in checked(path).mismatches)


def rewritten(directory: Path, prefix: str, sql: str) -> None:
    """The owner writes other rows into a file, and lists it as it is then."""
    manifest = json.loads((directory / MANIFEST).read_bytes())
    (one,) = [one for one in manifest["files"] if one["name"].startswith(prefix)]
    path = directory / one["name"]
    con = memory()
    rows = sql.format(file=f"read_parquet('{path}')")
    con.execute(f"CREATE TABLE t AS {rows}")
    con.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    ((one["rows"],),) = con.execute("SELECT count(*) FROM t").fetchall()
    con.close()
    data = path.read_bytes()
    one |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (directory / MANIFEST).write_text(json.dumps(manifest))


def test_all_of_a_directory_is_checked(directory: Path) -> None:
    found = checked(directory)
    assert found.mismatches == []
    assert (found.reports, found.erasures, found.announcements) == (10, 1, 1)
    assert found.files == len(read_directory(directory).files) > 10


def test_attack_a_manifest_says_another_number_of_rows(directory: Path) -> None:
    manifest = json.loads((directory / MANIFEST).read_bytes())
    (one,) = [one for one in manifest["files"] if one["name"].startswith("types/test/walk/2026")]
    one["rows"] += 1
    (directory / MANIFEST).write_text(json.dumps(manifest))
    assert f"{one['name']} has not the listed number of rows" in said(directory)


def test_settled_files_belong_to_the_file_and_dead_rows_do_not(file: Path) -> None:
    with Store(file) as store:
        settle(store, NOW)
        con = store.cursor()
        ((dead, day),) = con.sql(
            f"SELECT n, time::DATE FROM {store.items_sql()} WHERE kind = 1 ORDER BY n LIMIT 1"
        ).fetchall()
        con.execute("INSERT INTO dead VALUES (?, 1, date_trunc('month', ?::DATE))", [dead, day])
    with open_dataset(file, floor=1) as dataset:
        assert dataset.rows("SELECT count(*) FROM item WHERE kind = 1") == [(9,)]
        assert dataset.rows("SELECT count(*) FROM test.beat") == [(6,)]
        found = verify(dataset)
    assert [one for one in found.mismatches if one.table != "item"] == []
    assert found.reports == 9
    assert found.files == 5


def test_a_settled_file_that_is_missing_or_another(file: Path) -> None:
    with Store(file) as store:
        settle(store, NOW)
    (raw,) = directory_beside(file).glob("raw/test/beat/*/*.parquet")
    data = raw.read_bytes()
    raw.write_bytes(data[:-1] + b"?")
    with pytest.raises(StoreError):
        checked(file)
    raw.unlink()
    with pytest.raises(StoreError, match="months that are settled") as caught:
        open_dataset(file)
    assert caught.value.code == "store-missing"


@pytest.mark.shows("NEW-1")
@pytest.mark.parametrize(
    ("prefix", "sql", "what"),
    [
        ("types/test/beat/", "SELECT * REPLACE ('x' AS os) FROM {file}", "say: os"),
        ("types/test/beat/", "FROM {file} UNION ALL FROM {file}", "2 rows where 1"),
        ("types/test/beat/", "FROM {file} LIMIT 3", "the row is missing"),
        ("types/test/beat/", "SELECT * REPLACE (n + 90 AS n) FROM {file}", "no item has"),
        ("types/test/walk_step/", "FROM {file} LIMIT 1", "the row is missing"),
        ("raw/test/beat/", "FROM {file} LIMIT 3", "not the digest that is published"),
        ("raw/test/beat/", "FROM {file} LIMIT 3", "no item has this content"),
        ("raw/test/beat/", "FROM {file} LIMIT 0", "the reports are missing"),
        ("raw/test/beat/", "SELECT * REPLACE (n + 90 AS n) FROM {file}", "the row is missing"),
        ("tombstone/", "FROM {file} LIMIT 0", "not as many rows as the manifest says"),
        ("dictionary/declaration", "SELECT * REPLACE (1 AS retention) FROM {file}", "not what"),
    ],
)
def test_attack_an_owner_who_publishes_other_rows(
    directory: Path, prefix: str, sql: str, what: str
) -> None:
    rewritten(directory, prefix, sql)
    assert what in said(directory)


def edit(directory: Path, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> str:
    manifest = json.loads((directory / MANIFEST).read_bytes())
    change(manifest)
    (directory / MANIFEST).write_text(json.dumps(manifest))
    return said(directory)


@pytest.mark.shows("NEW-1")
def test_attack_an_owner_who_lists_other_files(directory: Path) -> None:
    def without(manifest: dict[str, list[dict[str, object]]]) -> None:
        manifest["files"] = [
            one for one in manifest["files"] if not str(one["name"]).startswith("types/test/walk/")
        ]

    assert "test.walk" in edit(directory, without)


def test_attack_an_owner_who_publishes_another_digest(directory: Path) -> None:
    def other(manifest: dict[str, object]) -> None:
        manifest["days"]["test"]["2026-09-21"]["digest"] = "00" * 32  # type: ignore[index]

    assert "2026-09-21: not the digest that is published" in edit(directory, other)


def test_what_is_kept_for_too_long_is_told(directory: Path) -> None:
    written = "2036-01-01T00:00:00+00:00"
    text = edit(directory, lambda manifest: manifest.update(written=written))  # type: ignore[arg-type]
    assert text.count("its time to be kept is over") == 10


MANY = "\n".join(
    f"""
[types.t{i}]
kind = "state"
chart = "line:os"
{TYPE}
[types.t{i}.release]
delay = 300
every = [86400, 172800]
jitter = 600
[types.t{i}.fields.os]
type = "enum"
values = ["linux", "macos"]
says = "System."
"""
    for i in range(40)
)


def test_many_event_types_with_a_report_each_are_one_task(tmp_path: Path) -> None:
    catalog = making.catalog(extra=MANY)
    raws = [
        seal(
            Kind.REPORT,
            encode_report(Report(catalog.id, f"t{i}", NOW - 7200, {"os": "linux"})),
            making.seed("many", i),
        )
        for i in range(40)
    ]
    making.store_all(tmp_path / "a.duckdb", [catalog.raw, *raws])
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert len(verify_plan.plan(dataset.origin, dataset.connection).tasks) == 1
        found = verify(dataset)
    assert (found.mismatches, found.reports) == ([], 40)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(verify_plan, "TASK_ROWS", 2)
    monkeypatch.setattr("methrics.aggregate.read.verify.TASK_ROWS", 2)
    return iter(())


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("form", ["file", "directory"])
def test_small_tasks_find_what_one_finds(file: Path, directory: Path, form: str) -> None:
    path = file if form == "file" else directory
    told: list[tuple[int, int]] = []
    with open_dataset(path) as dataset:
        assert len(verify_plan.plan(dataset.origin, dataset.connection).tasks) > 3
        found = verify(dataset, lambda done, total: told.append((done, total)))
    assert (found.mismatches, found.reports) == ([], 10)
    assert (told[0], told[-1]) == ((0, 10), (10, 10))
    rewritten(directory, "types/test/beat/", "SELECT * REPLACE ('x' AS os) FROM {file}")
    assert said(directory).count("say: os") == 7


@pytest.mark.wire
@pytest.mark.usefixtures("few")
def test_processes_find_what_one_finds(directory: Path) -> None:
    rewritten(directory, "types/test/beat/", "SELECT * REPLACE ('x' AS os) FROM {file}")
    with open_dataset(directory) as dataset:
        found = verify(dataset, processes=2)
    assert sum("say: os" in one.what for one in found.mismatches) == 7
    assert found.reports == 10

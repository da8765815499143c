"""`open_dataset` reads a data set in any of its forms."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import aggregate_making as making
import pytest
from layout_making import Writer, settle

from methrics.aggregate.parquet.export import FIRST, Exporter
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.store import scratch
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import LocalError, StoreError

CATALOG = making.catalog()
RAWS = [
    *(making.beat(CATALOG, i) for i in range(8)),
    *(making.walk(CATALOG, i) for i in range(6)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    making.store_all(tmp_path / "a.duckdb", [CATALOG.raw, *RAWS])
    return tmp_path / "a.duckdb"


@pytest.fixture(params=["file", "parquet", "settled"])
def dataset(request: pytest.FixtureRequest, file: Path) -> Iterator[Dataset]:
    """The data in each form: in the file alone, in a directory, and in a file with settled months
    beside it."""
    if request.param != "file":
        with Store(file) as store:
            write = settle if request.param == "settled" else Writer(directory_beside(file)).write
            write(store, making.NOW)
    path = directory_beside(file) if request.param == "parquet" else file
    with open_dataset(path, floor=1) as found:
        yield found


def test_tables_and_views_have_the_same_names_in_both_forms(dataset: Dataset) -> None:
    tables = {"item", "catalog", "record", "listing", "revoked", "type", "declaration", "field"}
    tables |= {"code", "tombstone", "refusal", "manifest"}
    assert tables | {"test.beat", "test.walk", "test.walk_step"} <= set(dataset.tables())
    assert "test.clicks" not in dataset.tables(), "no report of this type came"
    assert {
        "refusals",
        "reports_per_day",
        "test.beat_dau",
        "test.beat_withheld",
        "test.walk_funnel",
    } <= set(dataset.views())
    assert not set(dataset.views()) & set(dataset.tables())
    assert all("not" in says for says in dataset.views().values())


def test_everything_says_what_it_holds_and_can_be_asked(dataset: Dataset) -> None:
    for _, name, says in dataset.contents():
        assert says, name
        dataset.rows(f"FROM {name}")


def test_a_file_of_a_directory_names_the_directory(file: Path) -> None:
    with Store(file) as store:
        exporter = Exporter(store)
        exporter.export(making.NOW)
        exporter.close()
    directory = directory_beside(file)
    for name in ("manifest.json", "views.duckdb"):
        said = f"{name} is a part of a directory .name the directory {directory}"
        with pytest.raises(StoreError, match=said):
            open_dataset(directory / name)
    with pytest.raises(StoreError, match=r"no manifest\.json \(name the directory that an aggr"):
        open_dataset(directory / "types")


def test_manifests_of_closed_days_are_read_from_a_file_and_from_its_parquet(file: Path) -> None:
    with Store(file) as store:
        with store.writing() as con:
            for closed in (True, False):
                con.execute(
                    "INSERT INTO manifest VALUES ('s', 'k', DATE '2026-09-01', "
                    "TIMESTAMP '2026-09-20', ?, 3, 'd', ?, 'r')",
                    [closed, b"1" if closed else b"0"],
                )
        Writer(directory_beside(file)).write(store, making.NOW)
    for path in (file, directory_beside(file)):
        with open_dataset(path) as dataset:
            assert dataset.rows("SELECT id, closed FROM manifest") == [(b"1", True)]


def test_the_first_views_count_what_they_say(dataset: Dataset) -> None:
    day = dataset.rows("SELECT DISTINCT day FROM test.beat")[0][0]
    assert dataset.rows("FROM reports_per_day") == [
        (day, "test", "beat", 8),
        (day, "test", "walk", 6),
    ]
    assert dataset.rows("FROM test.beat_dau") == [(day, 4)]
    assert dataset.rows(
        "SELECT * EXCLUDE (month, field) FROM test.beat_report_shares WHERE field = 'os'"
    ) == [("linux", 3, 8, 38), ("macos", 3, 8, 38), ("other", 2, 8, 25)]
    # Reports 0, 2, 4 stand for one attempt each; 1, 3, 5 for ten; each has i % 3 + 1 steps.
    assert dataset.rows("FROM test.walk_funnel WHERE field = ''") == [
        ("", "", "start", 33, 33, 100),
        ("", "", "middle", 22, 33, 67),
        ("", "", "end", 11, 33, 33),
    ]


def test_rows_come_as_tuples_arrow_and_relations(dataset: Dataset) -> None:
    query = "SELECT count(*) AS reports FROM item WHERE n > ?"
    assert dataset.rows(query, [0]) == [(14,)]
    assert dataset.arrow(query, [0]).to_pydict() == {"reports": [14]}
    assert dataset.sql(query, [0]).fetchall() == [(14,)]


def test_pandas_or_a_hint_how_to_get_it(dataset: Dataset) -> None:
    if find_spec("pandas") is None:
        with pytest.raises(LocalError, match="pandas is not installed"):
            dataset.pandas("SELECT n FROM item")
    else:
        assert len(dataset.pandas("SELECT n FROM item")) == 14


def test_a_view_is_found_by_the_end_of_its_name(dataset: Dataset) -> None:
    assert dataset.find_view("test.walk_funnel") == "test.walk_funnel"
    assert dataset.find_view("walk_funnel") == "test.walk_funnel"
    assert dataset.find_view("funnel") == "test.walk_funnel"
    assert dataset.find_view("refusals") == "refusals"
    assert dataset.find_view("SELECT 1") is None


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW item",
        "INSERT INTO item SELECT * FROM item",
        "COPY item TO '/tmp/methrics-leak.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "ATTACH '/tmp/methrics-other.duckdb'",
        "SELECT 1; SELECT 2",
        "WITH gone AS (DELETE FROM item RETURNING *) FROM gone",
        "nonsense",
        "SELECT * FROM sys",
    ],
)
def test_attack_sql_that_wants_more_than_to_read(dataset: Dataset, sql: str) -> None:
    with pytest.raises(StoreError) as caught:
        dataset.rows(sql)
    assert caught.value.code == "query"
    assert "\n" not in str(caught.value)
    assert dataset.rows("SELECT count(*) FROM item") == [(14,)]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH x AS (COPY (SELECT 'mine') TO '{}') SELECT 1",
        "FROM (WITH x AS (COPY (SELECT 'mine') TO '{}') SELECT 1)",
        "EXPLAIN ANALYZE COPY (SELECT 'mine') TO '{}'",
        "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 'mine') TO '{}') SELECT 1",
    ],
)
def test_attack_a_question_that_writes_over_what_it_reads(file: Path, sql: str) -> None:
    with Store(file) as store:
        Writer(store.directory).write(store, making.NOW)
    manifest = directory_beside(file) / "manifest.json"
    before = manifest.read_bytes()
    with open_dataset(directory_beside(file)) as dataset:
        with pytest.raises(StoreError) as caught:
            dataset.rows(sql.format(manifest))
        assert dataset.rows("EXPLAIN ANALYZE FROM item")
    assert caught.value.code == "query"
    assert manifest.read_bytes() == before


def test_attack_a_pipe_in_the_place_of_a_listed_file(file: Path) -> None:
    """Nobody would ever write to it."""
    with Store(file) as store:
        Writer(store.directory).write(store, making.NOW)
    directory = directory_beside(file)
    (part,) = directory.glob("raw/test/beat/*/*.parquet")
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(StoreError, match="not a regular file"), open_dataset(directory) as dataset:
        dataset.rows("SELECT count(*) FROM item")


def test_a_live_file_is_read_from_the_parquet_beside_it(file: Path) -> None:
    with Store(file) as store:
        with pytest.raises(StoreError, match="no Parquet beside it yet"):
            open_dataset(file)
        store.directory.mkdir()
        (store.directory / FIRST).touch()
        with pytest.raises(StoreError, match="no Parquet beside it yet"):
            open_dataset(file)
        Writer(directory_beside(file)).write(store, making.NOW)
        with open_dataset(file) as dataset:
            assert dataset.source == "parquet"
            assert dataset.written == "2026-09-21T14:20:00+00:00"
            assert dataset.rows("SELECT count(*) FROM item") == [(14,)]


@pytest.mark.wire
def test_a_live_file_of_another_process_is_read_from_the_parquet_beside_it(file: Path) -> None:
    hold = (
        "import sys; from methrics.aggregate.store.store import Store\n"
        "with Store(sys.argv[1]): print('open', flush=True); sys.stdin.read()"
    )
    with Store(file) as store:
        Writer(directory_beside(file)).write(store, making.NOW)
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with open_dataset(file) as dataset:
            assert (dataset.source, dataset.rows("SELECT count(*) FROM item")) == (
                "parquet",
                [(14,)],
            )
        holder.communicate()


def test_a_directory_is_read_as_of_its_manifest_until_it_is_refreshed(file: Path) -> None:
    book = making.book(CATALOG)
    with Store(file) as store:
        writer = Writer(directory_beside(file))
        writer.write(store, making.NOW)
        with open_dataset(directory_beside(file)) as dataset:
            assert not dataset.refresh()
            other_day = making.beat(CATALOG, 40, making.NOW - 86_400 * 2)
            store.commit(making.batch([other_day, making.beat(CATALOG, 41)], book))
            writer.write(store, making.NOW + 60)
            assert dataset.rows("SELECT count(*) FROM test.beat") == [(8,)]
            assert dataset.rows("FROM test.beat_dau") == []
            assert dataset.refresh()
            assert dataset.rows("SELECT count(*) FROM test.beat") == [(10,)]
            assert dataset.written == "2026-09-21T14:21:00+00:00"


@pytest.mark.parametrize("name", ["missing", "text", "folder", "empty"])
def test_a_path_that_is_no_data_set_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with pytest.raises(StoreError) as caught:
        open_dataset(tmp_path / name)
    assert caught.value.code in {"store-missing", "store-foreign"}
    assert "\n" not in str(caught.value)


@pytest.fixture
def directory(file: Path) -> Path:
    with Store(file) as store:
        Writer(directory_beside(file)).write(store, making.NOW)
    return directory_beside(file)


@pytest.mark.parametrize(
    ("glob", "table", "rows"),
    [
        ("types/test/beat/2026-09/*.parquet", "test.beat", 8),
        ("types/test/walk_step/2026-09/*.parquet", "test.walk_step", 12),
        ("raw/test/beat/2026-09/*.parquet", "item", 8),
        ("dictionary/catalog.*.parquet", "catalog", 1),
        ("tombstone/*.parquet", "tombstone", 0),
    ],
)
def test_one_parquet_file_is_one_table(directory: Path, glob: str, table: str, rows: int) -> None:
    (file,) = directory.glob(glob)
    with open_dataset(file) as dataset:
        assert (dataset.tables(), dict(dataset.views())) == ([table], {})
        assert dataset.rows(f"SELECT count(*) FROM {table}") == [(rows,)]
        for other in set(directory.rglob("*.parquet")) - {file}:
            with pytest.raises(StoreError, match="Permission"):
                dataset.rows(f"FROM '{other}'")


def test_a_parquet_file_elsewhere_goes_by_its_own_name(directory: Path, tmp_path: Path) -> None:
    (file,) = directory.glob("types/test/beat/2026-09/*.parquet")
    (tmp_path / "some day's.parquet").write_bytes(file.read_bytes())
    with open_dataset(tmp_path / "some day's.parquet") as dataset:
        assert dataset.tables() == ["some day's"]
        assert dataset.rows('SELECT count(*) FROM "some day\'s"') == [(8,)]


def test_what_does_not_fit_into_memory_leaves_nothing_where_one_stands(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    monkeypatch.setattr(scratch, "_own", [])  # this process makes its folder anew
    with open_dataset(dataset.path, memory_limit="60MB") as small:
        small.connection.execute("SELECT hash(range) AS h, range FROM range(6000000) ORDER BY h")
        assert [*elsewhere.glob("methrics-run-*/methrics-*/*")]
        assert not [*here.iterdir()]
    assert not [*elsewhere.glob("methrics-run-*/methrics-*")]


@pytest.mark.parametrize("floor", [0, -1, 1.5])
def test_a_floor_is_a_whole_number(dataset: Dataset, floor: float) -> None:
    with pytest.raises(LocalError, match="whole number"):
        open_dataset(dataset.path, floor=floor)  # type: ignore[arg-type]

"""A file of an older layout is brought to this one, whole or not at all; no other is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.migrations.run import MIGRATIONS
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.tables import LAYOUT_VERSION
from methrics.schema.errors import StoreError

HERE = Path(__file__).parent
COLUMNS = (
    "SELECT table_name, column_name, data_type FROM duckdb_columns() "
    "WHERE database_name = 'm' AND schema_name = 'main' ORDER BY table_name, column_index"
)


@pytest.fixture(params=sorted(MIGRATIONS))
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file as the program of that layout wrote it."""
    path = tmp_path / "a.duckdb"
    script = (HERE / f"layout_{request.param}.sql").read_text("utf-8")
    edit(path, script)
    return path


def edit(path: Path, *statements: str) -> None:
    with memory() as con:
        con.execute(f"ATTACH '{path}' AS m (STORAGE_VERSION 'v1.5.0')")
        con.execute("USE m")
        for statement in statements:
            con.execute(statement)


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with memory() as con:
        con.execute(f"ATTACH '{path}' AS m (READ_ONLY)")
        con.execute("USE m")
        return con.execute(query).fetchall()


def test_an_old_file_gets_the_layout_of_a_new_one_and_keeps_every_row(
    old: Path, tmp_path: Path
) -> None:
    rows = ask(old, "SELECT * FROM item ORDER BY n"), ask(old, "SELECT * FROM tombstone")
    Store(tmp_path / "new.duckdb").close()
    with Store(old) as store:
        assert store.total == 8
        assert sum(one.count for one in store.day_digests()) == 8
    assert ask(old, COLUMNS) == ask(tmp_path / "new.duckdb", COLUMNS)
    assert ask(old, "FROM meta") == [(LAYOUT_VERSION,)]
    assert rows == (ask(old, "SELECT * FROM item ORDER BY n"), ask(old, "SELECT * FROM tombstone"))
    with open_dataset(old) as dataset:
        assert verify(dataset).mismatches == []


@pytest.mark.wire
@pytest.mark.parametrize("statements", [1, 9, 15, 16])
def test_attack_kill_a_migration_at_any_statement(old: Path, statements: int) -> None:
    rows = ask(old, "SELECT * FROM item ORDER BY n")
    program = [sys.executable, str(HERE / "migrating.py"), str(old), str(statements)]
    done = subprocess.run(program, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    with Store(old) as store:
        assert store.total == 8
    assert ask(old, "SELECT * FROM item ORDER BY n") == rows
    assert ask(old, "FROM meta") == [(LAYOUT_VERSION,)]


def test_a_reader_is_told_how_the_file_gets_the_layout(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(StoreError, match="brings it to this layout") as caught:
        open_dataset(old)
    assert caught.value.code == "store-version"
    assert old.read_bytes() == before


@pytest.mark.parametrize(
    ("layout", "hint"), [(LAYOUT_VERSION + 1, "it is newer"), (1, "it is too old"), (0, "too old")]
)
def test_a_file_of_no_known_layout_is_refused_and_left_as_it_is(
    tmp_path: Path, layout: int, hint: str
) -> None:
    path = tmp_path / "a.duckdb"
    Store(path).close()
    edit(path, f"UPDATE meta SET layout = {layout}")
    with pytest.raises(StoreError, match=hint) as caught:
        Store(path)
    assert caught.value.code == "store-version"
    assert ask(path, "FROM meta") == [(layout,)]


def test_a_file_whose_catalog_contradicts_it_keeps_its_layout(old: Path) -> None:
    edit(old, "UPDATE type SET name = 'invented' WHERE n = 1")
    with pytest.raises(StoreError, match="its catalog lacks") as caught:
        Store(old)
    assert caught.value.code == "store-broken"
    assert ask(old, "FROM meta") == [(3,)]


def test_every_migration_but_the_first_follows_another() -> None:
    assert sorted(MIGRATIONS) == list(range(min(MIGRATIONS), LAYOUT_VERSION))


def test_the_parquet_of_an_older_layout_is_replaced(tmp_path: Path) -> None:
    path, directory = tmp_path / "a.duckdb", tmp_path / "a.parquet"
    edit(path, (HERE / "layout_3.sql").read_text("utf-8"))
    for name in ("item/2026-09-21", "item/empty", "types/test/beat/2026-09-21", "code"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.parquet").write_bytes(b"PAR1 of layout 3")
    old = {"layout": 3, "written": "2026-09-21T00:00:00+00:00", "days": {}, "tombstones": {}}
    (directory / "manifest.json").write_text(json.dumps(old))
    with Store(path) as store:
        Exporter(store).export(1_790_000_400)
        digests = store.day_digests()
    assert not (directory / "item").exists()
    assert not list(directory.rglob("2026-09-21.parquet"))
    with open_dataset(directory) as dataset:
        assert verify(dataset).mismatches == []
        assert dataset.rows("SELECT count(*) FROM item WHERE kind = 1") == [(8,)]
    assert sum(one.count for one in digests) == 8

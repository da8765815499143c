"""`views.duckdb`, opened as people do: by plain DuckDB, while an aggregator writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import duckdb
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.views_file import VIEWS
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.ready import make_ready_views
from methrics.aggregate.store.store import Store

CATALOG = making.catalog()
NOW, DAY = making.NOW, making.DAY
BOOK = making.book(CATALOG)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], BOOK))
        commit(store, *(making.beat(CATALOG, i, NOW - DAY) for i in range(40)))
        yield store


def commit(store: Store, *raws: bytes) -> None:
    store.commit(making.batch(raws, BOOK))


def asked(path: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return con.sql(sql).fetchall()


def test_plain_duckdb_shows_what_open_dataset_shows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Exporter(store, ready=make_ready_views).export(NOW)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    path = store.directory / VIEWS
    with open_dataset(store.directory) as data:
        for view in data.views():
            own = asked(path, f"FROM {view} ORDER BY ALL")
            assert own == data.rows(f"FROM {view} ORDER BY ALL"), view
        assert asked(path, "FROM test.beat_dau") == [(data.rows("FROM test.beat_dau")[0][0], 20)]
        listed = asked(path, "SELECT view_name FROM duckdb_views() WHERE NOT internal")
        tables = {one.rpartition(".")[2] for one in (*data.tables(), *data.views())}
        assert {name for (name,) in listed} == tables | {"known"}
    assert not [*elsewhere.iterdir()]


def test_no_small_group_is_shown(store: Store) -> None:
    commit(store, *(making.beat(CATALOG, i, NOW - 2 * DAY) for i in range(100, 106)))
    Exporter(store, ready=make_ready_views).export(NOW)
    path = store.directory / VIEWS
    assert len(asked(path, "FROM test.beat_dau")) == 1
    assert asked(path, "SELECT count(DISTINCT day) FROM test.beat") == [(2,)]


def test_it_is_right_after_every_export_and_new_types_get_their_views(store: Store) -> None:
    exporter = Exporter(store, ready=make_ready_views)
    path = store.directory / VIEWS
    exporter.export(NOW)
    for count in (50, 60):
        commit(store, *(making.beat(CATALOG, i, NOW - DAY) for i in range(count - 10, count)))
        exporter.export(NOW + count)
        ((_, shown),) = asked(path, "FROM test.beat_dau")
        assert shown == count // 2 - count // 2 % 10
        assert asked(path, "SELECT count(*) FROM test.beat") == [(count,)]
    commit(store, *(making.walk(CATALOG, i, NOW - DAY) for i in range(30)))
    exporter.export(NOW + 100)
    assert asked(path, "SELECT count(*) > 0 FROM test.walk_funnel") == [(True,)]
    assert asked(path, "SELECT count(*) FROM test.beat") == [(60,)]
    exporter.close()


def test_a_reader_and_the_writer_do_not_disturb_each_other(store: Store) -> None:
    exporter = Exporter(store, ready=make_ready_views)
    exporter.export(NOW)
    ended = threading.Event()

    def write() -> None:
        for i in range(6):
            commit(store, making.beat(CATALOG, 200 + i, NOW - DAY))
            exporter.export(NOW + i)
        ended.set()

    thread = threading.Thread(target=write)
    path = store.directory / VIEWS
    with duckdb.connect(str(path), read_only=True) as long:
        thread.start()
        counts = []
        while not ended.is_set():
            counts += asked(path, "SELECT count(*) FROM test.beat")
            assert long.sql("SELECT count(*) FROM test.beat").fetchall() == [(40,)]
        thread.join()
    assert counts == sorted(counts)
    assert asked(path, "SELECT count(*) FROM test.beat") == [(46,)]
    exporter.close()


def test_a_view_that_cannot_be_made_keeps_no_table_back(store: Store) -> None:
    def taken(con: duckdb.DuckDBPyConnection) -> None:
        con.execute("CREATE MACRO shown(n) AS n")
        make_ready_views(con)

    Exporter(store, ready=taken).export(NOW)
    path = store.directory / VIEWS
    assert asked(path, "SELECT count(*) FROM test.beat") == [(40,)]
    with pytest.raises(duckdb.CatalogException):
        asked(path, "FROM test.beat_dau")

"""Marks find every duplicate, and no mark alone makes an item one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import aggregate_making as making
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import split

CATALOG = making.catalog()
BEATS = [making.beat(CATALOG, i) for i in range(8)]


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(BEATS), min_size=1), st.booleans()),
        min_size=1,
        max_size=5,
    )
)
def test_each_report_is_stored_once_over_batches_and_restarts(
    batches: list[tuple[list[bytes], bool]],
) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder, "a.duckdb"))
        for raws, restart in batches:
            store.commit(making.batch([CATALOG.raw, *raws], CatalogBook()))
            if restart:
                store.close()
                store = Store(store.path)
        stored = store.cursor().execute("SELECT raw FROM item").fetchall()
        store.close()
    assert sorted(raw for (raw,) in stored) == sorted({raw for raws, _ in batches for raw in raws})


def test_a_report_is_new_though_another_has_its_mark(tmp_path: Path) -> None:
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw, BEATS[0]], CatalogBook()))
        store._con.execute(
            "INSERT INTO temp.mark SELECT time, hash(?::BLOB) FROM item", [split(BEATS[1]).id]
        )
        done = store.commit(making.batch([CATALOG.raw, *BEATS[:3]], CatalogBook()))
    assert done.reports == 2


def test_a_report_that_was_deleted_is_stored_again_if_it_may_be(tmp_path: Path) -> None:
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw, *BEATS], CatalogBook()))
        with store.writing() as con:
            con.execute("DELETE FROM item WHERE id = ?", [split(BEATS[3]).id])
        done = store.commit(making.batch([CATALOG.raw, *BEATS], CatalogBook()))
    assert done.reports == 1

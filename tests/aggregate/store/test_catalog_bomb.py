"""The owner of one namespace cannot weigh an aggregator down, however much they sign."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import catalog_bomb as bomb
import pytest

from methrics.aggregate.collect.ingest import to_batch
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store import shelf, tables
from methrics.aggregate.store.store import Store
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import NAMESPACE_MAX, CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.records import RecordBook
from methrics.schema.judging.seen import Seen

CATALOGS, TYPES, REPORTED = 250, 60, 5


@pytest.mark.slow
def test_attack_a_namespace_owner_signs_250_catalogs(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    signed = list(bomb.catalogs(CATALOGS, TYPES))
    book, seen = CatalogBook(), Seen(10_000)
    refused = 0

    def hear(store: Store, bundle: bytes) -> None:
        nonlocal refused
        verdict = judge_bundle(bundle, book, making.NOW, seen)
        refused += store.commit(to_batch([verdict], making.NOW)).refused

    with Store(file) as store:
        waiting = {one.id: bomb.reports(one, REPORTED) for one in signed}
        for notice in bomb.notices(signed):
            hear(store, notice)
            assert store.tables() == []
        assert len(store.catalogs()) == CATALOGS
        assert (len(book), len(store._writer.shelf._kept)) == (NAMESPACE_MAX, shelf.KEPT)
        for catalog in signed:  # the reports of each, while some record listed it
            book.add(catalog, given=True)
            book.records = _listing(catalog)
            hear(store, waiting[catalog.id])
        made = store.tables()
        assert len(made) == tables.TABLES_MAX < CATALOGS * REPORTED
        assert store.total == tables.TABLES_MAX
        assert refused == CATALOGS * REPORTED - tables.TABLES_MAX
        assert sum(len(table.columns) for table in made) <= tables.COLUMNS_MAX
        assert (len(book), len(store._writer.shelf._kept)) == (NAMESPACE_MAX, shelf.KEPT)
        other = store.commit(
            making.batch([making.catalog().raw, making.beat(making.catalog(), 1)], CatalogBook())
        )
        assert (other.reports, other.refused) == (1, 0)
    with open_dataset(file) as dataset:
        rows = {
            table: dataset.rows(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("catalog", "record", "type", "declaration", "field", "code")
        }
        assert rows["catalog"] == CATALOGS + 1
        assert rows["record"] == -(-CATALOGS // 32) + 1
        assert rows["type"] == rows["declaration"] == tables.TABLES_MAX + 1
        assert rows["field"] <= tables.COLUMNS_MAX
        assert rows["code"] <= tables.CODES_MAX
        assert len(dataset.views()) < 6 * tables.TABLES_MAX
        assert len(dataset._unused) > tables.TABLES_MAX, "no table is opened before it is used"


def _listing(catalog: Catalog) -> RecordBook:
    """Records of which the newest lists `catalog`."""
    book = CatalogBook()
    (record, _) = bomb.notices([catalog])
    judge_bundle(record, book, making.NOW, Seen(10))
    return book.records

"""Makes a lake of shards whose catalogs have other numbers, and the same data in one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aggregate_making as making

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.lake import join_lake
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.store.digest import DayDigest, digests
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.shard import Shard, shards_of

FIRST = making.catalog()
OTHER = making.catalog(extra=making.MORE_FIELDS, previous=FIRST)
NOW = making.NOW
BEATS = [making.beat((FIRST, OTHER)[i % 2], i, NOW - 600 * (i % 300)) for i in range(60)]
MORE = [
    *(making.clicks(FIRST, i) for i in range(12)),
    *(making.walk(OTHER, i) for i in range(12)),
    making.announcement(NOW - 600),
]
GONE = [
    making.erasure((FIRST, OTHER)[i % 2], BEATS[i], "beat", i, NOW - 600 * (i % 300))
    for i in range(6)
]
REPORTS = len(BEATS) - len(GONE) + len(MORE) - 1

TABLES = ("catalog", "type", "declaration", "field", "code", "tombstone")

COUNTS = (
    "SELECT os, version, count(*) FROM test.beat GROUP BY ALL ORDER BY ALL",
    "SELECT country, count(*) FROM test.beat GROUP BY ALL ORDER BY ALL",
    "SELECT sum(count)::BIGINT FROM test.clicks",
    "SELECT step, first, count(*) FROM test.walk_step GROUP BY ALL ORDER BY ALL",
    "SELECT c.number, t.name, count(*) FROM item i JOIN catalog c ON c.n = i.catalog "
    "JOIN type t ON t.n = i.type GROUP BY ALL ORDER BY ALL",
    "SELECT c.text, count(*) FROM test.beat b JOIN type t ON t.schema = 'test' AND "
    "t.name = 'beat' JOIN code c ON c.type = t.n AND c.catalog = b.catalog AND c.field = 'os' "
    "AND c.text = b.os GROUP BY ALL ORDER BY ALL",
    "SELECT count(*) FROM item WHERE kind <> 1",
    "SELECT count(*) = count(DISTINCT id) FROM record",
    "SELECT count(*) = count(DISTINCT (record, catalog)) FROM listing SEMI JOIN record r "
    "ON r.n = record",
    *(f"SELECT count(*) FROM {table}" for table in TABLES),
)


def fill(store: Store, catalogs: Iterable[bytes]) -> None:
    """Store everything; whatever the order of the catalogs, their numbers follow from it."""
    book = CatalogBook()
    for raw in catalogs:
        store.commit(making.batch([raw], book))
    for raws in (BEATS, MORE, GONE):
        store.commit(making.batch(raws, book))


def export(store: Store, now: int = NOW) -> None:
    exporter = Exporter(store, grace=0)
    exporter.export(now)
    exporter.close()


@contextmanager
def shard_at(folder: Path, shard: Shard) -> Iterator[Store]:
    """The store of a shard, in the lake `folder / "lake"`."""
    file = folder / f"{shard.folder}.duckdb"
    with Store(file, shard) as store:
        join_lake(file, folder / "lake", shard)
        yield store


def make_lake(folder: Path, count: int = 2) -> Path:
    for shard in shards_of(count):
        with shard_at(folder, shard) as store:
            fill(store, [FIRST.raw, OTHER.raw] if shard.number % 2 else [OTHER.raw, FIRST.raw])
            export(store)
    return folder / "lake"


def make_whole(folder: Path) -> Path:
    with Store(folder / "whole.duckdb") as store:
        fill(store, [FIRST.raw, OTHER.raw])
        export(store)
    return folder / "whole.parquet"


def days(dataset: Dataset) -> list[tuple[bytes, int, int, bytes]]:
    dataset.bring("item", "catalog")
    found: list[DayDigest] = digests(dataset.connection)
    return sorted((one.key, one.day, one.count, one.digest) for one in found)

"""Any order of the same items gives the same digest and the same tables (NEW-2)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import aggregate_making as making
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.collect.ingest import to_batch
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack

FIRST = making.catalog()
SECOND = making.catalog(extra=making.MORE_FIELDS, previous=FIRST)
TIMES = (making.NOW - 7200, making.NOW - 90_000)
REPORTS = [
    *(making.beat(FIRST, i, TIMES[i % 2]) for i in range(4)),
    *(making.walk(SECOND, i) for i in range(3)),
    *(making.clicks(FIRST, i) for i in range(2)),
]
ITEMS = [
    *REPORTS,
    making.erasure(FIRST, REPORTS[0], "beat", 0, TIMES[0]),
    making.erasure(SECOND, REPORTS[6], "walk", 2),
    making.erasure(FIRST, REPORTS[1], "someone else", 1, TIMES[1]),
    making.revocation("clicks", making.NOW - 7200),
]
TABLES = {
    "item": "kind, time, id, raw",
    "test.beat": "day, time, one_in, version, os, daily, age, country",
    "test.clicks": "day, time, one_in, count, button",
    "test.walk": "day, time, one_in, variant",
    "test.walk_step": "i, step, offset_bucket",
    "tombstone": "report, confirmed, time, id, raw",
}


def contents(bundles: list[list[bytes]]) -> dict[str, Any]:
    """Digests and tables of a new file after these bundles, in order, each in one commit."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.duckdb")
        book, seen = CatalogBook(), Seen(1000)
        with Store(file) as store:
            for raws in bundles:
                verdict = judge_bundle(pack(raws), book, making.NOW, seen)
                assert verdict.decision != 2, verdict
                store.commit(to_batch([verdict], making.NOW))
        with open_dataset(file) as dataset:
            assert verify(dataset).ok
            found: dict[str, Any] = {
                table: dataset.rows(f"SELECT {columns} FROM {table} ORDER BY ALL")
                for table, columns in TABLES.items()
            }
            found["digest"] = combine(digests(dataset.connection))
        # A stranger's erasure is dropped or waits, depending on which item came first.
        found["tombstone"] = [row for row in found["tombstone"] if row[1]]
        return found


EXPECTED = contents([[FIRST.raw, SECOND.raw], ITEMS])


def test_the_expected_end_is_the_right_one() -> None:
    assert EXPECTED["digest"][0].count == 5
    assert len(EXPECTED["item"]) == 6
    assert len(EXPECTED["tombstone"]) == 2
    assert EXPECTED["test.clicks"] == []


@pytest.mark.shows("NEW-2")
@settings(max_examples=8)
@given(st.permutations([*ITEMS, *ITEMS[:5]]), st.lists(st.integers(1, 6), min_size=20, max_size=20))
def test_every_order_and_every_cut_into_batches_ends_the_same(
    items: list[bytes], sizes: list[int]
) -> None:
    bundles = [[FIRST.raw, SECOND.raw]]
    for size in sizes:
        part, items = items[:size], items[size:]
        if part:
            bundles.append(part)
    assert contents(bundles) == EXPECTED

"""The digest that two aggregators compare."""

from __future__ import annotations

import hashlib
from pathlib import Path

import aggregate_making as making
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.digest import DayDigest, combine, day_digest, digests
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import split

KEY = bytes(range(32))


def test_the_digest_is_what_its_description_says() -> None:
    one, two = b"\1" * 32, b"\2" * 32
    data = b"methrics/1 digest" + KEY + (20_000).to_bytes(8, "big") + one + two
    data += (2).to_bytes(8, "big")
    assert day_digest(KEY, 20_000, [one, two]) == (2, hashlib.sha256(data).digest())


@given(st.lists(st.binary(min_size=32, max_size=32)), st.data())
def test_how_the_ids_are_cut_into_pieces_does_not_matter(
    ids: list[bytes], data: st.DataObject
) -> None:
    joined = b"".join(ids)
    cut = 32 * data.draw(st.integers(0, len(ids)))
    whole = day_digest(KEY, 1, [joined])
    assert (
        day_digest(KEY, 1, [joined[:cut], memoryview(joined)[cut:]])
        == whole
        == day_digest(KEY, 1, ids)
    )


def test_key_day_and_set_each_change_the_digest() -> None:
    ids = [b"\1" * 32]
    variants = [
        day_digest(KEY, 1, ids),
        day_digest(KEY, 2, ids),
        day_digest(bytes(32), 1, ids),
        day_digest(KEY, 1, []),
        day_digest(KEY, 1, [*ids, b"\2" * 32]),
    ]
    assert len({digest for _, digest in variants}) == len(variants)


def test_days_combine_in_any_order_and_apart_by_namespace() -> None:
    days = [
        DayDigest(bytes([k]) * 32, f"s{k}", d, d, bytes([d]) * 32) for k in (1, 2) for d in (3, 4)
    ]
    assert combine(days) == combine(reversed(days))
    assert [(one.schema, one.count) for one in combine(days)] == [("s1", 7), ("s2", 7)]


def test_a_file_has_the_digest_of_its_ids_sorted_by_id(tmp_path: Path) -> None:
    catalog = making.catalog()
    time = making.NOW - 7200
    raws = [making.beat(catalog, i, time - 600 * (i % 3)) for i in range(9)]
    making.store_all(tmp_path / "a.duckdb", [catalog.raw, *raws])
    ordered = sorted(split(raw).id for raw in raws)
    count, digest = day_digest(catalog.key, time // 86_400, ordered)
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        found = digests(dataset.connection)
    assert found == [DayDigest(catalog.key, "test", time // 86_400, count, digest)]


def test_an_id_of_the_wrong_size_is_told(tmp_path: Path) -> None:
    from methrics.aggregate.store.store import Store

    catalog = making.catalog()
    making.store_all(tmp_path / "a.duckdb", [catalog.raw, making.beat(catalog, 1)])
    with Store(tmp_path / "a.duckdb") as store:
        cursor = store.cursor()
        cursor.execute("UPDATE item SET id = 'short'::BLOB")
        with pytest.raises(StoreError, match="32 bytes"):
            digests(cursor)

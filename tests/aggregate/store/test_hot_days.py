"""The digest of a day whose ids are kept is that of all its ids, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import aggregate_making as making
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.aggregate.store import hot_days
from methrics.aggregate.store.digest import DayDigest, day_digests_of
from methrics.aggregate.store.sorted_ids import merged, sorted_rows
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
RAWS = [making.beat(CATALOG, i) for i in range(12)]
NEAR = [bytes(8) + sha256(b"%d" % i).digest()[:24] for i in range(4)]
"""Ids that begin alike, as somebody may have made them."""
IDS = st.lists(st.binary(min_size=32, max_size=32) | st.sampled_from(NEAR), unique=True)


@settings(max_examples=60, deadline=None)
@given(IDS, st.data())
def test_ids_that_are_added_are_in_their_places(ids: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(ids)))
    rows = merged(sorted_rows(b"".join(ids[:cut])), b"".join(ids[cut:]))
    assert rows.tobytes() == b"".join(sorted(ids))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(hot_days, "IDS_LEAST", 1)
    with Store(tmp_path / "a.duckdb") as made:
        made.commit(making.batch([CATALOG.raw, *RAWS[:4]], CatalogBook()))
        yield made


def put(store: Store, *raws: bytes) -> None:
    store.commit(making.batch(raws, making.book(CATALOG)))


def computed(store: Store) -> list[DayDigest]:
    """The digests by one query of all rows."""
    with store.reading() as con:
        items = store.items_sql(con=con)
        schema = next(iter(store.catalogs())).schema
        day = (making.NOW - 7200) // making.DAY
        return day_digests_of(con, items, [(CATALOG.key, schema, day)])


def test_new_and_deleted_reports_of_a_day_change_its_digest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    plain = hot_days.id_bytes

    def counted(ids: pa.Array) -> memoryview:
        read.append(len(ids))
        return plain(ids)

    monkeypatch.setattr(hot_days, "id_bytes", counted)
    assert store.day_digests() == computed(store)
    put(store, *RAWS[4:7])
    assert store.day_digests() == computed(store)
    assert read == [4, 3]
    put(store, making.erasure(CATALOG, RAWS[1], "beat", 1))
    assert store.day_digests() == computed(store)
    assert read == [4, 3, 6]
    put(store, *RAWS[7:9])
    assert store.day_digests() == computed(store)
    assert read == [4, 3, 6, 2]


def test_an_older_snapshot_does_not_see_what_came_later(store: Store) -> None:
    before = computed(store)
    with store.reading() as con:
        put(store, RAWS[4])
        assert store.day_digests() == computed(store) != before
        put(store, RAWS[5])
        assert store.day_digests(con=con) == before
        put(store, RAWS[6])
    assert store.day_digests() == computed(store)


def test_days_that_are_too_large_are_not_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_days, "IDS_MAX", 6)
    for raw in RAWS[4:]:
        put(store, raw)
        assert store.day_digests() == computed(store)


def test_after_a_failed_commit_a_digest_of_before_is_not_kept(store: Store) -> None:
    put(store, RAWS[4])
    turn = store._writer.digests.turn  # as of a snapshot that a slow reader has
    stale = computed(store)
    put(store, RAWS[5])
    store.reopen()
    store._writer.digests.keep(stale, turn)
    assert store.day_digests() == computed(store) != stale

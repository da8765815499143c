"""The sets of a real file are those of the items that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aggregate_making as making
import pytest
from reconcile_making import (
    CATALOG,
    KEY,
    TODAY,
    MemorySet,
    ask_of,
    erasures,
    pull,
    reports,
)

from methrics.aggregate.reconcile import duck_set
from methrics.aggregate.reconcile.answer import OpenedSet
from methrics.aggregate.reconcile.duck_set import open_duck_set
from methrics.aggregate.reconcile.wire import Node, Which
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import split

POOL = reports(120, days=4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "a.duckdb") as made:
        made.commit(making.batch([CATALOG.raw], CatalogBook()))
        yield made


@contextmanager
def opened(store: Store, as_of: int = TODAY) -> Iterator[OpenedSet]:
    found = open_duck_set(store, KEY, as_of, lambda _: b"")
    try:
        yield found
    finally:
        found.close()


def put(store: Store, raws: list[bytes]) -> None:
    store.commit(making.batch(raws, making.book(CATALOG)))


def test_days_ids_and_items_are_those_of_the_same_set_in_memory(store: Store) -> None:
    gone = erasures(POOL[:10])
    put(store, POOL)
    put(store, gone)
    same = MemorySet([*POOL[10:], *gone])
    with opened(store) as found:
        for which in Which:
            assert found.items.days(which) == same.days(which)
            for one in same.days(which):
                ids = same.index(which, one.day).ids()
                assert found.items.index(which, one.day).ids() == ids
                wanted = {one.day: ids[::2], one.day + 1: ids[1::2]}
                stored = found.items.items(which, wanted)
                assert sorted(stored) == sorted(same.items(which, wanted))
                assert {split(raw).id for _, raw in stored} == set(ids[::2])
        assert found.items.scanned > 0


@pytest.mark.parametrize(("size", "window"), [(1, 7), (1000, 16_384), (10**6, 7)])
def test_pages_have_each_item_once(
    store: Store, size: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck_set, "WINDOW", window)
    put(store, POOL)
    day = TODAY - 2
    for prefix in ("", "a"):
        with opened(store) as found:
            own = [
                raw
                for _, raw in MemorySet(POOL).page(Which.REPORTS, Node(day, prefix), 0, 10**7)[0]
            ]
            got, cursor, pages = [], 0, 0
            while pages == 0 or cursor:
                page, cursor = found.items.page(Which.REPORTS, Node(day, prefix), cursor, size)
                got += [raw for _, raw in page]
                pages += 1
            assert sorted(got) == sorted(own)
            assert pages == (len(own) if size == 1 else pages)


def test_a_session_sees_nothing_that_came_later(store: Store) -> None:
    put(store, POOL[:50])
    with opened(store) as found:
        before = found.items.days(Which.REPORTS)
        put(store, POOL[50:])
        put(store, erasures(POOL[:5]))
        assert sum(one.count for one in before) == 50
        for one in before:
            assert len(found.items.index(Which.REPORTS, one.day)) == one.count
        assert found.items.days(Which.ERASURES) == []


def test_what_is_over_is_not_compared(store: Store) -> None:
    """Two files are equal as of a day, though one has not deleted yet what is over."""
    retention = CATALOG.types["beat"].retention_days
    put(store, POOL + erasures(POOL[:3], first=0))
    days = sorted({(TODAY - 2) - i for i in range(4)})
    as_of = days[1] + retention + 1
    with opened(store, as_of) as found:
        kept = [one.day for one in found.items.days(Which.REPORTS)]
        assert kept == days[2:]
        assert [one.day for one in found.items.days(Which.ERASURES)] == days[2:]
        assert len(found.items.index(Which.REPORTS, days[0])) == 0
        assert found.items.page(Which.REPORTS, Node(days[0], ""), 0, 10**6) == ([], 0)


def test_a_file_and_a_set_in_memory_find_their_difference(store: Store) -> None:
    put(store, POOL[:100])
    theirs = MemorySet(POOL[3:])
    with opened(store) as found:
        got = pull(found.items, ask_of(theirs)).taken  # type: ignore[arg-type]
        assert set(got) == set(POOL[100:])
        assert set(pull(theirs, ask_of(found.items)).taken) == set(POOL[:3])  # type: ignore[arg-type]


def test_another_namespace_is_not_seen(store: Store) -> None:
    put(store, POOL)
    found = open_duck_set(store, bytes(32), TODAY, lambda _: b"")
    try:
        assert found.items.days(Which.REPORTS) == []
        assert found.items.days(Which.ERASURES) == []
        assert found.items.page(Which.REPORTS, Node(TODAY - 2, ""), 0, 10**6) == ([], 0)
        assert len(found.items.index(Which.REPORTS, TODAY - 2)) == 0
    finally:
        found.close()

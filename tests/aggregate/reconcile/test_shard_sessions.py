"""Sessions about a shard: both sides compare its items and nothing else."""

from __future__ import annotations

from pathlib import Path
from random import Random

import aggregate_making as making
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reconcile_making import CATALOG, KEY, TODAY, MemorySet, erasures, reports

from methrics.aggregate.reconcile.answer import Answerer, Asker, OpenedSet
from methrics.aggregate.reconcile.duck_set import open_duck_set
from methrics.aggregate.reconcile.item_set import set_digest
from methrics.aggregate.reconcile.part_digests import PartDigests
from methrics.aggregate.reconcile.tree import Ask, Pull
from methrics.aggregate.reconcile.wire import (
    Open,
    OtherShard,
    PeerFault,
    Which,
    decode_request,
    encode_request,
    encode_shard,
    read_opened,
)
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.shard_sql import within
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import place_of
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.shard import WHOLE, Shard, shards_of

POOL = reports(90, days=3)
GONE = erasures(POOL[:12])
ITEMS = [*POOL[12:], *GONE]


def part(raws: list[bytes], shard: Shard) -> list[bytes]:
    return [raw for raw in raws if shard.has(place_of(raw))]


def answering(raws: list[bytes], own: Shard) -> Answerer:
    def opened(key: bytes, _: int, shard: Shard) -> OpenedSet:
        assert key == KEY
        return OpenedSet(MemorySet(part(raws, shard)), b"", lambda: None)

    return Answerer(opened, lambda: TODAY, Random(1).randbytes, own)


def pulled(mine: list[bytes], answerer: Answerer, shard: Shard) -> list[bytes]:
    """Run a session about a shard; return the items that came."""
    own = MemorySet(part(mine, shard))

    def ask(body: bytes) -> bytes:
        return answerer.answer(Asker("peer"), decode_request(body), 0.0)[0]

    sums = [set_digest(KEY, which, own.days(which)) for which in Which]
    opened = read_opened(ask(encode_request(Open(KEY, TODAY, b"", *sums, shard=shard))))
    found: list[bytes] = []
    if opened is None:
        return found
    steps, reply = Pull(own, opened, bytes(16), shard=shard).steps(), None
    while True:
        try:
            step = next(steps) if reply is None else steps.send(reply)
        except StopIteration:
            return found
        reply = None
        if isinstance(step, Ask):
            reply = ask(encode_request(step.request))
        else:
            found += [raw for bundle in step.bundles for raw in unpack(bundle).items]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([one for count in (2, 4, 8) for one in shards_of(count)]),
    st.sets(st.sampled_from(range(len(ITEMS)))),
)
@pytest.mark.shows("NEW-2")
def test_a_shard_gets_from_a_whole_what_it_lacks_of_its_own(shard: Shard, have: set[int]) -> None:
    mine = [raw for i, raw in enumerate(ITEMS) if i in have]
    found = pulled(mine, answering(ITEMS, WHOLE), shard)
    assert len(found) == len(set(found))
    assert set(found) <= set(part(ITEMS, shard))  # a day of which little is known comes whole
    assert set(found) - set(mine) == set(part(ITEMS, shard)) - set(mine)


def test_an_answerer_names_its_shard_if_it_has_not_all() -> None:
    own = Shard(3, 4)
    for asked in (WHOLE, Shard(2, 2), Shard(1, 4), Shard(1, 2)):
        with pytest.raises(OtherShard) as caught:
            pulled([], answering(ITEMS, own), asked)
        assert caught.value.shard == own
    for asked in (own, Shard(5, 8), Shard(12, 16)):
        assert sorted(pulled([], answering(ITEMS, own), asked)) == sorted(part(ITEMS, asked))


def test_equal_parts_are_the_same_whatever_else_differs() -> None:
    shard, others = Shard(1, 2), Shard(2, 2)
    assert pulled(part(ITEMS, shard), answering(part(ITEMS, shard), WHOLE), shard) == []
    assert part(ITEMS, others)


@pytest.mark.parametrize("which", list(Which))
def test_items_of_another_shard_end_the_session(which: Which) -> None:
    lying = ITEMS if which is Which.REPORTS else GONE

    def opened(*_: object) -> OpenedSet:
        return OpenedSet(MemorySet(lying), b"", lambda: None)

    answerer = Answerer(opened, lambda: TODAY, Random(1).randbytes, WHOLE)
    with pytest.raises(PeerFault) as caught:
        pulled([], answerer, Shard(1, 2))
    assert caught.value.reason == "not-in-range"


def test_a_reply_that_names_no_shard_is_a_fault() -> None:
    with pytest.raises(PeerFault):
        read_opened(encode_shard(WHOLE))


@pytest.mark.parametrize("count", [4])
def test_a_file_opens_each_of_its_parts(tmp_path: Path, count: int) -> None:
    parts = PartDigests()
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        for raws in (POOL, GONE):
            store.commit(making.batch(raws, making.book(CATALOG)))
        for shard in (*shards_of(count), *shards_of(count)[:2]):
            same = MemorySet(part(ITEMS, shard))
            opened = open_duck_set(store, KEY, TODAY, lambda _: b"", shard, parts)
            for which in Which:
                days = same.days(which)
                assert opened.items.days(which) == days
                for day in (one.day for one in days):
                    index = opened.items.index(which, day)
                    assert index.data == same.index(which, day).data
                    wanted = {day: index.ids()}
                    assert sorted(opened.items.items(which, wanted)) == sorted(
                        same.items(which, wanted)
                    )
            opened.close()


def test_a_digest_of_a_part_is_computed_once_for_each_state_of_its_day(tmp_path: Path) -> None:
    parts, shard, rows = PartDigests(), Shard(1, 2), []
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw, *POOL[12:40]], CatalogBook()))
        for i in range(3):
            if i == 2:
                store.commit(making.batch(POOL[40:41], making.book(CATALOG)))
            opened = open_duck_set(store, KEY, TODAY, lambda _: b"", shard, parts)
            opened.items.days(Which.REPORTS)
            rows.append(opened.items.scanned)
            opened.close()
    assert rows[1] == 0 < rows[2] < rows[0]


@pytest.mark.parametrize("shard", [WHOLE, *shards_of(2), Shard(3, 8), Shard(16, 16)], ids=str)
def test_sql_agrees_on_the_ids_of_a_shard(shard: Shard) -> None:
    con = memory()
    ids = [bytes([first]) + b"\xff" * (31 * (first % 2)) for first in range(256)]
    con.execute("CREATE TABLE x (id BLOB)")
    con.execute("INSERT INTO x SELECT unnest(?)", [ids])
    found = con.execute(f"SELECT id FROM x WHERE {within('x.id', shard)}").fetchall()
    assert {one for (one,) in found} == {one for one in ids if shard.has(one)}
    con.close()

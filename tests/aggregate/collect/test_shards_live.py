"""Shards that hear the same bundles: each stores its own, together they have all, once."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import pytest
import trio

from methrics.aggregate.collect.ingest import Ingest, IngestSettings
from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import place_of
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import split
from methrics.schema.wire.shard import WHOLE, Shard, shards_of
from methrics.schema.wire.verdict import Decision, Reason

CATALOG = making.catalog()
FAST = IngestSettings(threads=2, batch_seconds=0.02)
BEATS = [making.beat(CATALOG, i) for i in range(60)]
ERASED = BEATS[:8]
ERASURES = [making.erasure(CATALOG, raw, "beat", i) for i, raw in enumerate(ERASED)]
TOPIC = CATALOG.topic


def bundle(raws: list[bytes]) -> bytes:
    """A bundle of reports and erasures of CATALOG."""
    return pack(CATALOG.id, raws)


def forged(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


def make(path: Path, shard: Shard) -> Store:
    """A store of a shard that knows the catalog."""
    store = Store(path, shard)
    store.commit(making.batch([CATALOG.raw], CatalogBook()))
    return store


async def heard(store: Store, *messages: bytes) -> tuple[list[Decision], Committed]:
    """What a pipeline tells the swarm about messages, and all that it committed."""
    done: list[Committed] = []
    book = making.book(CATALOG)
    ingest = Ingest(store, book, ManualClock(making.NOW), done.append, FAST)
    decisions = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ingest.run)
        validate = ingest.validator(TOPIC)
        for message in messages:
            outcome = await validate("peer", message)
            assert isinstance(outcome, Decision)
            decisions.append(outcome)
        ingest.close()
    total = Committed()
    for one in done:
        total.reasons += one.reasons
        total.refused += one.refused
    return decisions, total


def ids(store: Store) -> set[bytes]:
    rows = store.cursor().execute("SELECT id FROM item WHERE kind = 1").fetchall()
    return {one for (one,) in rows}


@pytest.mark.shows("MARS-14")
@pytest.mark.parametrize("count", [4])
async def test_shards_have_together_what_a_whole_has(tmp_path: Path, count: int) -> None:
    messages = [bundle(BEATS[:30]), bundle(ERASURES), bundle(BEATS[30:])]
    found: dict[Shard, set[bytes]] = {}
    for shard in (WHOLE, *shards_of(count)):
        with make(tmp_path / f"{shard.folder}.duckdb", shard) as store:
            decisions, _ = await heard(store, *messages)
            if not shard.is_whole:
                assert set(decisions) == {Decision.IGNORE}  # nothing is forwarded
            found[shard] = ids(store)
            erased = store.cursor().execute("SELECT report FROM tombstone").fetchall()
            assert {one for (one,) in erased} == {
                split(raw).id for raw in ERASED if shard.has(split(raw).id)
            }
    whole = found.pop(WHOLE)
    assert whole == {split(raw).id for raw in BEATS[8:]}
    assert set().union(*found.values()) == whole
    assert sum(map(len, found.values())) == len(whole)
    assert all(shard.has(one) for shard, own in found.items() for one in own)


async def test_what_every_shard_refuses_is_counted_by_one(tmp_path: Path) -> None:
    late = [making.beat(CATALOG, 100 + i, making.NOW - 40 * making.DAY) for i in range(9)]
    messages = [b"junk", b"more junk", bundle(late), bundle([forged(BEATS[0])])]
    counts = {}
    for shard in (WHOLE, *shards_of(4)):
        with make(tmp_path / f"{shard.folder}.duckdb", shard) as store:
            decisions, total = await heard(store, *messages)
            counts[shard] = total.reasons
            assert decisions[:2] == [Decision.REJECT] * 2
            own = shard.has(place_of(forged(BEATS[0])))
            assert decisions[3] is (Decision.REJECT if own else Decision.IGNORE)
    whole = counts.pop(WHOLE)
    assert whole[Reason.LATE] == 9
    together = sum(counts.values(), start=type(whole)())
    # A bundle that cannot be read has no bytes to go by in the verdict: its shard is the same.
    assert together == whole


def test_a_store_keeps_only_its_shard_whatever_it_is_given(tmp_path: Path) -> None:
    shard = Shard(2, 4)
    with Store(tmp_path / "a.duckdb", shard) as store:
        batch = making.batch([CATALOG.raw, *BEATS, *ERASURES], CatalogBook())
        notice = making.announcement(making.NOW - 600)
        book = making.book(CATALOG)
        more = making.batch([notice], book).accepted
        store.commit(Batch(making.NOW, [*batch.accepted, *more]))
        assert ids(store) == {split(raw).id for raw in BEATS[8:] if shard.has(split(raw).id)}
        con = store.cursor()
        assert con.execute("SELECT count(*) FROM catalog").fetchall() == [(1,)]
        stored = con.execute("SELECT count(*) FROM item WHERE kind <> 1").fetchall()[0][0]
        assert stored == shard.has(split(notice).id)


def test_numbers_of_shards_never_meet(tmp_path: Path) -> None:
    seen: dict[str, set[int]] = {}
    for shard in shards_of(2):
        with make(tmp_path / f"{shard.folder}.duckdb", shard) as store:
            store.commit(making.batch([*BEATS, *ERASURES], making.book(CATALOG)))
            for table in ("item", "catalog", "type", "declaration", "record", "tombstone"):
                rows = store.cursor().execute(f"SELECT n FROM {table}").fetchall()
                own = {n for (n,) in rows}
                assert own, table
                assert not own & seen.get(table, set())
                seen.setdefault(table, set()).update(own)


def test_a_file_is_opened_with_its_own_shard_only(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.duckdb", tmp_path / "part.duckdb"
    Store(whole).close()
    Store(part, Shard(1, 2)).close()
    for path, wanted in ((whole, Shard(1, 2)), (part, Shard(2, 2)), (part, WHOLE)):
        with pytest.raises(StoreError) as caught:
            Store(path, wanted)
        assert caught.value.code == "store-shard"
    with Store(part) as store:
        assert store.shard == Shard(1, 2)
    with Store(part, Shard(1, 2)) as store, Store(whole, WHOLE) as other:
        assert (store.shard, other.shard) == (Shard(1, 2), WHOLE)


def test_a_file_stays_of_its_shard_when_it_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "part.duckdb"
    with make(path, Shard(2, 2)) as store:
        store.commit(making.batch(BEATS, making.book(CATALOG)))
        before = ids(store)
        assert store.compact()
        assert ids(store) == before
    with Store(path) as store:
        assert store.shard == Shard(2, 2)

"""A report of the past counts under a catalog that the newest record has dropped."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import pytest
import trio
from collect_running import aggregator, equal

from methrics.aggregate.collect.listings import PROTOCOL, Listings
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.node.network.memory import MemoryNetwork
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, learn
from methrics.schema.judging.judge import Accepted, accept
from methrics.schema.wire.envelope import split

NOW = making.NOW
FIRST = making.catalog()
SECOND = making.catalog(extra=making.MORE_FIELDS, previous=FIRST)
OLDER = making.record(FIRST, time=NOW - 9000)
NEWER = making.record(SECOND, time=NOW - 8000, previous=[split(OLDER).id])
FOREIGN = making.catalog(label="other", key=making.seed("another"))
RAWS = [
    *(making.beat(FIRST, i) for i in range(5)),
    *(making.beat(SECOND, i) for i in range(5, 9)),
]


def full(path: Path) -> Path:
    """A file with both records, both catalogs, and reports of both."""
    book, items = CatalogBook(), list[Accepted]()
    for raw in (OLDER, FIRST.raw, NEWER, SECOND.raw, *RAWS):
        verdict = accept(raw, book, NOW, live=False)
        learn(verdict, book, given=True)
        items.append(verdict)
    with Store(path) as store:
        store.commit(Batch(NOW, items))
    return path


@pytest.mark.shows("NEW-2")
async def test_the_record_that_listed_a_dropped_catalog_comes_from_a_peer(tmp_path: Path) -> None:
    network = MemoryNetwork()
    given = {"catalogs": [SECOND], "records": [NEWER]}
    async with (
        aggregator(network, full(tmp_path / "a.duckdb"), **given) as old,
        aggregator(network, tmp_path / "b.duckdb", **given) as late,
    ):
        await late.swarm.dial(old.swarm.addrs[0])
        await equal(old, late)
        assert await late.count() == len(RAWS)
        records = await trio.to_thread.run_sync(late.store.records)
        assert {one.item.raw for one in records} == {OLDER, NEWER}


async def _asked(tmp_path: Path, reply: bytes) -> tuple[bool, list[BundleVerdict]]:
    """Ask a peer that gives this reply for the record of the first catalog."""
    network, taken = MemoryNetwork(), list[BundleVerdict]()
    book = CatalogBook([SECOND.topic])
    learn(accept(NEWER, book, NOW, live=False), book)

    async def answer(_peer: str, _body: bytes) -> bytes:
        return reply

    async def take(verdict: BundleVerdict) -> None:
        taken.append(verdict)

    with Store(tmp_path / "a.duckdb") as store:
        async with network.open_swarm() as one, network.open_swarm() as other:
            other.serve(PROTOCOL, answer, request_max=32)
            peer = await one.dial(other.addrs[0])
            asking = Listings(one, store, book, ManualClock(NOW), take)
            return await asking.ask(SECOND.topic, peer, FIRST.id), taken


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense",
        NEWER,  # does not list it
        FIRST.raw,
        making.record(FOREIGN),
        making.record(FIRST, time=NOW + 400),
        OLDER[:-1] + bytes([OLDER[-1] ^ 1]),
    ],
    ids=["nothing", "nonsense", "another", "catalog", "foreign", "future", "forged"],
)
async def test_attack_a_peer_that_gives_no_record_of_the_catalog(
    tmp_path: Path, reply: bytes
) -> None:
    assert await _asked(tmp_path, reply) == (False, [])


async def test_a_record_that_lists_it_is_taken(tmp_path: Path) -> None:
    known, taken = await _asked(tmp_path, OLDER)
    assert known
    assert [one.accepted[0].item.raw for one in taken] == [OLDER]


@pytest.mark.parametrize(
    ("request_", "reply"),
    [(FIRST.id, OLDER), (SECOND.id, NEWER), (FOREIGN.id, b""), (b"short", b""), (b"", b"")],
)
async def test_a_request_is_answered_with_the_newest_record_that_lists_it(
    tmp_path: Path, request_: bytes, reply: bytes
) -> None:
    network = MemoryNetwork()

    async def take(_verdict: BundleVerdict) -> None:
        raise AssertionError("nothing is asked for")

    with Store(full(tmp_path / "a.duckdb")) as store:
        async with network.open_swarm() as one, network.open_swarm() as other:
            Listings(other, store, CatalogBook(), ManualClock(NOW), take).serve()
            peer = await one.dial(other.addrs[0])
            found = await one.request(peer, PROTOCOL, request_, reply_max=20_000, timeout=5)
            assert found == reply

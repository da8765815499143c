"""Attacks on sessions: a peer that keeps one busy for ever, or makes it work for nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import aggregate_making as making
import pytest
import trio
from reconcile_making import CATALOG, KEY, TODAY, MemorySet, answerer, erasures, reports

from methrics.aggregate.reconcile.answer import Answerer, Asker, OpenedSet, SetBusy
from methrics.aggregate.reconcile.asking import PATIENCE, TIME_MAX, Asking, Session
from methrics.aggregate.reconcile.duck_set import open_duck_set
from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.serving import nodes_of
from methrics.aggregate.reconcile.wire import (
    All,
    DaySum,
    Fetch,
    Ids,
    Items,
    Node,
    Open,
    SessionEnded,
    Split,
    Which,
    decode_request,
    encode_busy,
    encode_items,
    read_items,
    read_opened,
)
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import pack, unpack
from methrics.schema.wire.envelope import Kind, split

OPEN = Open(KEY, TODAY, b"", bytes(32), bytes(32))


class Liar:
    """A swarm with one peer, which replies what it likes after `seconds`."""

    def __init__(self, reply: Callable[[bytes], bytes], seconds: float = 0.0) -> None:
        self._reply = reply
        self._seconds = seconds
        self.asked = 0

    async def request(self, _peer: str, _protocol: str, body: bytes, **_: object) -> bytes:
        self.asked += 1
        await trio.sleep(self._seconds)
        return self._reply(body)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker threads run at once: the clock would jump while they work."""

    async def run_sync(work: Callable[..., object], *args: object, **_: object) -> object:
        await trio.lowlevel.checkpoint()
        return work(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


async def session_with(liar: Liar, closed: list[int], own: MemorySet | None = None) -> Session:
    """One session of a set, by default an empty one, with `liar`."""

    async def fetched(_peer: str, _bundle: bytes) -> int:
        return 0

    async def records(_peer: str) -> None:
        return None

    opened = OpenedSet(own or MemorySet(), b"", lambda: closed.append(1))
    asking = Asking(liar, lambda *_: opened, os.urandom, fetched, records)  # type: ignore[arg-type]
    return await asking.session("liar", KEY, TODAY)


async def test_a_peer_that_is_busy_for_ever_ends_the_session(
    inline: None, autojump_clock: object
) -> None:
    closed: list[int] = []
    liar = Liar(lambda _: encode_busy(45))
    found = await session_with(liar, closed)
    assert (found.ended, found.wait, closed) == ("busy", 45, [1])
    assert liar.asked == 4


def honest_but(answer: Callable[[All, bytes], bytes], count: int) -> Callable[[bytes], bytes]:
    """Replies over `count` reports, of which `answer` makes those to requests for whole nodes."""
    own = answerer(MemorySet(reports(count, days=1)))

    def reply(body: bytes) -> bytes:
        request = decode_request(body)
        honest, _ = own.answer(Asker("me"), request, 0)
        return answer(request, honest) if isinstance(request, All) else honest

    return reply


async def test_a_peer_that_sends_one_item_again_and_again_ends_the_session(
    inline: None, autojump_clock: object
) -> None:
    def repeats(_: All, honest: bytes) -> bytes:
        bundles = [pack(CATALOG.id, [reports(1, days=1)[0]])]
        assert read_items(honest).bundles
        return encode_items(Items(tuple(bundles), 7))

    closed: list[int] = []
    found = await session_with(Liar(honest_but(repeats, 60)), closed)
    assert (found.ended, found.fetched, closed) == ("repeated", 1, [1])


async def test_a_peer_that_brings_little_slowly_ends_the_session(
    inline: None, autojump_clock: object
) -> None:
    pool = reports(400, days=1)

    def dribbles(request: All, _: bytes) -> bytes:
        at = request.cursor
        return encode_items(Items((pack(CATALOG.id, [pool[at]]),), at + 1))

    closed: list[int] = []
    began = trio.current_time()
    found = await session_with(Liar(honest_but(dribbles, 400), seconds=5), closed)
    assert found.ended == "too-slow"
    assert closed == [1]
    assert PATIENCE <= trio.current_time() - began < PATIENCE + 60 < TIME_MAX


async def test_no_report_is_judged_before_the_erasures_are(
    inline: None, autojump_clock: object
) -> None:
    """Otherwise an erased report is stored first, and its bytes are in the file for a while."""
    pool = reports(40, days=2)
    own = answerer(MemorySet([*pool, *erasures(pool[:30])]))
    peer = Liar(lambda body: own.answer(Asker("me"), decode_request(body), 0)[0])
    judged: list[Kind] = []

    async def fetched(_peer: str, bundle: bytes) -> int:
        kinds = [split(raw).kind for raw in unpack(bundle).items]
        await trio.sleep(30 if Kind.ERASURE in kinds else 0)
        judged.extend(kinds)
        return len(kinds)

    async def records(_peer: str) -> None:
        return None

    opened = OpenedSet(MemorySet(), b"", lambda: None)
    asking = Asking(peer, lambda *_: opened, os.urandom, fetched, records)  # type: ignore[arg-type]
    found = await asking.session("peer", KEY, TODAY)
    assert (found.ended, found.taken) == ("", 70)
    assert judged == [Kind.ERASURE] * 30 + [Kind.REPORT] * 40


class Unreadable(MemorySet):
    """A set whose file cannot be read any more, once its days are known."""

    def index(self, which: Which, day: int) -> IdIndex:
        if self.read:
            raise StoreError("store-full", "the disk is full")
        return super().index(which, day)

    read = False

    def days(self, which: Which) -> list[DaySum]:
        self.read = False
        found = super().days(which)
        self.read = True
        return found


async def test_a_disk_that_is_full_in_a_session_ends_the_session_only(inline: None) -> None:
    closed: list[int] = []
    peer = Liar(lambda body: theirs.answer(Asker("me"), decode_request(body), 0)[0])
    theirs = answerer(MemorySet(reports(30, days=1)))
    with pytest.raises(StoreError):
        await session_with(peer, closed, Unreadable(reports(20, days=1)))
    assert closed == [1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A file with fifty reports, of which one is erased."""
    store = Store(tmp_path / "metrics.duckdb")
    book, raws = CatalogBook(), [making.beat(CATALOG, i) for i in range(50)]
    store.commit(making.batch([CATALOG.raw, *raws], book))
    store.commit(making.batch([making.erasure(CATALOG, raws[0], "beat", 0)], book))
    return store


def over(store: Store) -> Answerer:
    """The answering side over a file."""
    return Answerer(
        lambda key, as_of, _: open_duck_set(store, key, as_of, lambda _: b""),
        lambda: TODAY,
        os.urandom,
    )


def test_sessions_that_overlap_do_not_keep_erased_bytes_in_the_file(store: Store) -> None:
    answering = over(store)
    for who in ("one", "two"):
        answering.answer(Asker(who), OPEN, 0)
    assert not store.compact(patience=0)
    assert store.waits_for_readers
    refused, _ = answering.answer(Asker("three"), OPEN, 1)
    with pytest.raises(SessionEnded):
        read_opened(refused)
    assert len(answering) == 0
    with pytest.raises(SetBusy):
        open_duck_set(store, KEY, TODAY, lambda _: b"")
    assert store.compact(patience=0)
    answering.answer(Asker("three"), OPEN, 2)
    assert len(answering) == 1
    answering.close()
    store.close()


def test_days_that_a_peer_made_up_cost_no_query_and_no_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_duck_set(store, KEY, TODAY, lambda _: b"")
    items = opened.items
    items.days(Which.REPORTS)

    def query(*_: object) -> bytes:
        raise AssertionError("a query")

    for name in ("_ids", "_rows"):
        monkeypatch.setattr(items, name, query)
    for day in range(100_000, 100_100):
        assert len(items.index(Which.REPORTS, day)) == 0
        assert items.items(Which.REPORTS, {day: [bytes(32)]}) == []
        assert items.page(Which.REPORTS, Node(day, ""), 0, 1000) == ([], 0)
    assert items.scanned == 0
    opened.close()
    store.close()


def test_each_node_that_a_request_names_counts() -> None:
    session, nodes = bytes(16), tuple(Node(day, "") for day in range(5))
    assert nodes_of(OPEN) == 1
    assert nodes_of(Split(session, bytes(16), Which.REPORTS, nodes)) == 5
    assert nodes_of(Ids(session, Which.REPORTS, nodes)) == 5
    assert nodes_of(Fetch(session, Which.REPORTS, ((1, (b"a", b"b")), (2, (b"c",))))) == 3

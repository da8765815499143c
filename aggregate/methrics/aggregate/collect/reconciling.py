"""Keeps an aggregator's set equal to those of its peers: asks them in turn for what it lacks.

Sessions run by themselves: soon after a peer has connected, soon after a session that brought
something or after this node had to drop what it received, and every few minutes. What peers bring
is judged like anything from strangers, and goes through the door: reports of days that are over
need a quorum.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

import trio

from methrics.aggregate.closing.contested import Offer
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.trust import voter_of
from methrics.aggregate.collect.ingest import Ingest
from methrics.aggregate.collect.listings import Listings
from methrics.aggregate.reconcile.answer import OpenedSet
from methrics.aggregate.reconcile.asking import Asking, Session
from methrics.aggregate.reconcile.duck_set import open_duck_set
from methrics.aggregate.reconcile.pacing import PEERS_MAX, Pacing, PacingSettings
from methrics.aggregate.reconcile.part_digests import PartDigests
from methrics.aggregate.reconcile.serving import Serving
from methrics.aggregate.reconcile.wire import Open
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock, system_entropy, system_rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay import catalog_exchange, record_exchange
from methrics.node.relay.asking import Turns, network_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError, StoreError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.items import Report
from methrics.schema.wire.limits import CATALOG_MAX, DAY, EARLY_MAX
from methrics.schema.wire.shard import Shard
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Decision

PROGRESS_EVERY = 5.0
"""Seconds between two events while many items are fetched."""

PROGRESS_LEAST = 10_000
"""Items that a peer must have more before its progress is told."""

_UNREACHABLE = frozenset({"no-reply", "not-connected", "reply-oversize"})


class _NotStoredError(StoreError):
    """Raised if the file does not have the catalog of a report yet."""

    def __init__(self, catalog: bytes) -> None:
        super().__init__("no-catalog", f"the file does not have catalog {catalog.hex()}")
        self.catalog = catalog


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The event that a session with a peer has ended, or goes on if `of` is not 0.

    `fetched` items came, of which `taken` were new and accepted. `same`: both sets were equal.
    `ended` says why the session ended early, if it did. `of`: the items to fetch, about. `app` is
    the short form of the namespace key, as topics have it.
    """

    peer: PeerId
    fetched: int
    taken: int
    same: bool = False
    ended: str = ""
    of: int = 0
    app: str = ""

    def line(self) -> str:
        """Return a line for people, or nothing if there is nothing to tell."""
        name = f"…{self.peer[-8:]}"
        if self.of:
            part = min(99, 100 * self.fetched // self.of)
            return f"reconciling with {name}: {self.fetched} of about {self.of} items ({part} %)"
        if not self.taken and self.ended in ("", "busy"):
            return ""
        ended = f", ended early: {self.ended}" if self.ended else ""
        return f"reconciled with {name}: took {self.taken} of {self.fetched} items{ended}"


class Reconciling:
    """The reconciliation of one aggregator, on `topics`. Start `run` in a nursery."""

    def __init__(
        self,
        swarm: Swarm,
        store: Store,
        book: CatalogBook,
        topics: Collection[str],
        clock: Clock,
        door: Door,
        ingest: Ingest,
        learn: Callable[[str, bytes], Awaitable[object]],
        notify: Callable[[Reconciled], None],
        pacing: PacingSettings,
    ) -> None:
        self._swarm = swarm
        self._store = store
        self._book = book
        self._topics = topics
        self._clock = clock
        self._door = door
        self._ingest = ingest
        self._learn = learn
        self._listings = Listings(swarm, store, book, clock, ingest.take)
        self._notify = notify
        self._pacing = pacing
        self._rng = system_rng()
        self._one = trio.Semaphore(1)
        self._told = 0.0
        self._paces = {topic: Pacing(self._rng, pacing) for topic in topics}
        self._claims: OrderedDict[tuple[PeerId, bytes, Shard], bytes] = OrderedDict()
        """(peer, namespace key, shard) -> the digests that it named last"""
        self._parts = PartDigests()
        self._serving = Serving(swarm, topics, self._open, clock, self._heard, store.shard)

    async def run(self) -> None:
        """Answer peers and ask them until cancelled. When it returns, it uses the store no more."""
        self._serving.serve()
        self._listings.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serving.run)
            for topic in self._topics:
                nursery.start_soon(self._look_after, topic)

    def _open(self, key: bytes, as_of: int, shard: Shard) -> OpenedSet | None:
        if not self._book.allows_key(key):
            return None
        return open_duck_set(self._store, key, as_of, self._newest, shard, self._parts)

    def _heard(self, peer: PeerId, request: Open) -> None:
        """A peer asks for a session. If its set has changed, it may have what this one lacks."""
        claim = request.erasures + request.reports
        name = peer, request.key, request.shard
        changed = self._claims.get(name) != claim
        self._claims[name] = claim
        self._claims.move_to_end(name)
        if len(self._claims) > PEERS_MAX:
            self._claims.popitem(last=False)
        if changed:
            short = short_key(request.key)
            for topic, pacing in self._paces.items():
                if parse_topic(topic)[1] == short:
                    pacing.hurry(trio.current_time(), peer)

    def _newest(self, key: bytes) -> bytes:
        newest = self._book.records.newest(key)
        return b"" if newest is None else newest.item.id

    async def _look_after(self, topic: str) -> None:
        pacing, turns, missed = self._paces[topic], Turns(self._swarm, self._rng), 0
        asking = self._asking(topic)
        while True:
            await self._swarm.wait_for_peers(topic, 1)
            await trio.sleep(self._pacing.look)
            before, missed = missed, self._missed()
            now = trio.current_time()
            if missed > before:
                pacing.hurry(now)
            records = self._book.records.newest_of(parse_topic(topic)[1])
            own, peers = turns.own(topic), self._swarm.peers(topic)
            peer = pacing.next(own, turns.order(peers), now)
            if peer is None or not records or self._ingest.holds:
                continue
            async with self._one:
                for key in [one.item.key for one in records]:
                    session = await self._session(asking, peer, key)
                    if session.taken:
                        await self._ingest.settled()  # the next one compares what is stored
                    self._went(pacing, peer, key, session)

    def _missed(self) -> int:
        """Return a number that grows when something was dropped that may never come again."""
        return self._swarm.statistics().waiting_dropped + self._ingest.statistics().held

    async def _session(self, asking: Asking, peer: PeerId, key: bytes) -> Session:
        try:
            return await asking.session(peer, key, self._clock.now() // DAY)
        except StoreError as error:
            return Session(ended=error.code)

    def _went(self, pacing: Pacing, peer: PeerId, key: bytes, session: Session) -> None:
        now = trio.current_time()
        if session.wait:
            pacing.wait(peer, session.wait, now)
        elif session.ended and not session.taken:
            pacing.failed(peer, now)
        else:
            pacing.went(peer, now, brought=session.taken > 0)
        if session.ended not in _UNREACHABLE or session.taken:
            one, app = session, short_key(key)
            self._notify(Reconciled(peer, one.fetched, one.taken, one.same, one.ended, app=app))

    def _asking(self, topic: str) -> Asking:
        async def fetched(peer: PeerId, bundle: bytes) -> int | None:
            return await self._fetched(topic, peer, bundle)

        async def records(peer: PeerId) -> None:
            await self._ask_records(topic, peer)

        return Asking(
            self._swarm,
            self._open,
            system_entropy,
            fetched,
            records,
            self._progress,
            self._store.shard,
        )

    def _progress(self, peer: PeerId, session: Session) -> None:
        now = trio.current_time()
        if session.of >= PROGRESS_LEAST and now - self._told >= PROGRESS_EVERY:
            self._told = now
            self._notify(Reconciled(peer, session.fetched, session.taken, of=session.of))

    async def _fetched(self, topic: str, peer: PeerId, bundle: bytes) -> int | None:
        """Judge a bundle; return how many items are taken, -1 if the peer broke the rules, or None
        if the bundle cannot be judged now."""
        try:
            verdict = await self._offered(topic, peer, bundle)
        except _NotStoredError:
            return 0  # the file has no room for its catalog
        except (StoreError, trio.ClosedResourceError, trio.BrokenResourceError):
            return None
        return -1 if verdict.decision is Decision.REJECT else len(verdict.accepted)

    async def _offered(self, topic: str, peer: PeerId, bundle: bytes) -> BundleVerdict:
        """Judge a bundle, once the file has its catalogs or they cannot be had. The door judges by
        the catalogs in the file.

        Raises StoreError, and trio.ClosedResourceError or trio.BrokenResourceError once the
        pipeline is closed.
        """
        offer = Offer(voter_of(peer), network_of(self._swarm, peer))

        def admit(accepted: list[Accepted]) -> list[Accepted]:
            latest = self._clock.now() + EARLY_MAX
            timely = [
                one
                for one in accepted
                if not isinstance(one.body, Report) or one.body.time <= latest
            ]
            self._need_catalogs(timely)
            return self._door.admit(timely, offer).commit

        had: set[bytes] = set()
        while True:
            try:
                verdict = await self._ingest.offered(bundle, topic, admit)
                if verdict.waits_for is None or verdict.about in had:
                    return verdict
                lacks = verdict.about
                if not await self._ask_catalog(topic, peer, lacks):
                    return verdict
            except _NotStoredError as error:
                lacks = error.catalog
                if lacks in had or not await self._store_catalog(lacks, topic):
                    raise
            had.add(lacks)

    def _need_catalogs(self, accepted: Iterable[Accepted]) -> None:
        """Raise _NotStoredError for the catalog of a report that the book has, but not the file:
        it came a moment ago, and its commit is under way."""
        stored = self._store.layout.entries
        for one in accepted:
            if isinstance(one.body, Report) and one.body.catalog not in stored:
                raise _NotStoredError(one.body.catalog)

    async def _store_catalog(self, about: bytes, topic: str) -> bool:
        """Store a catalog of the book; tell whether the file has it now. Raises what `_offered`
        does."""
        known = self._book.get(about)
        if known is None:
            return False
        verdict = judge(known.raw, self._book, self._clock.now(), live=False, topic=topic)
        return isinstance(verdict, Accepted) and await self._ingest.take_catalog(verdict)

    async def _ask_catalog(self, topic: str, peer: PeerId, about: bytes) -> bool:
        """Ask a peer for the catalog of its own items; tell whether the file has it now. It must be
        one that a record of the namespace has ever listed, perhaps one that only the peer knows.

        Raises trio.ClosedResourceError or trio.BrokenResourceError once the pipeline is closed.
        """
        short = parse_topic(topic)[1]
        keys = [one.item.key for one in self._book.records.newest_of(short)]
        listed = any(self._book.records.ever_listed(key, about) for key in keys)
        if not listed and not await self._listings.ask(topic, peer, about):
            return False
        try:
            raw = await self._swarm.request(
                peer, catalog_exchange.PROTOCOL, about, reply_max=CATALOG_MAX, timeout=10
            )
        except UnreachableError:
            return False
        verdict = judge(raw, self._book, self._clock.now(), live=False, topic=topic)
        if not isinstance(verdict, Accepted) or not isinstance(verdict.body, Catalog):
            return False
        if verdict.item.id != about or not self._book.add(verdict.body, given=True):
            return False
        return await self._ingest.take_catalog(verdict)

    async def _ask_records(self, topic: str, peer: PeerId) -> None:
        try:
            reply = await self._swarm.request(
                peer,
                record_exchange.PROTOCOL,
                topic.encode(),
                reply_max=record_exchange.REPLY_MAX,
                timeout=record_exchange.REPLY_TIME,
            )
            for raw in record_exchange.decode_records(reply):
                await self._learn(topic, pack_notice(raw))
        except (UnreachableError, RefusedError, ValueError):
            pass  # the session goes on with what is known

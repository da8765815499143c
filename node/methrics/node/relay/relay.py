"""The relay service: accepts sealed items from submitters, mixes them and publishes bundles.

Theory of operation. Five parts share one `Relay` object and one trio thread:
- `doors` opens boxes as an exit, and brings them to exits as an entry (`door_service`). `intake`
  admits each item to the mix pool or to the notices, and says one reason code per box;
- `validate` (a gossip validator, one per topic) judges the bundles of other nodes by the same rules
  as every node. A bundle that cannot be judged yet waits, whole, in the swarm;
- `mix` publishes the items of each batch window when the window closes, and notices at once;
- `exchange` sends catalogs to peers that ask, and asks peers for listed catalogs;
- `records` does the same with the records of namespaces.

A relay forgets nothing that it has not passed on. A pooled item leaves the pool early only if a
bundle with it was accepted in time, and a peer that this relay has chosen itself (a direct or
dialled one), other than the forwarder, was there to pass it on to. Strangers do not count, however
many: they may all be the forwarder's. Until then the item is not "seen" either, so it is passed on
in whatever bundle it comes next, and is published when its rest ends: as a duplicate, which shows
that this relay had it.

A relay stores no data about its submitters (MARS-2, DEB-9): handlers get no address, the limiters
keep a keyed hash for about a minute, no log line is about a submitter, and what rests on disk has
neither an address nor a time or order of arrival (`rest_file`). The answer OK means that the item
is on disk. There it rests for a time drawn for this item alone, so that items which one machine
submits together are not published together. A relay that is stopped or killed publishes nothing
early: what rests is published after the next start. An item leaves the disk once a peer has it. A
relay that is killed in between publishes it twice. Without a state folder, as in tests, items rest
in memory, and a relay that is stopped publishes its pool.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import trio

from methrics.node.clock import Clock
from methrics.node.network.guards import too_late
from methrics.node.network.swarm import UNSEEN, Outcome, PeerId, Swarm, Wait
from methrics.node.process.worker import Threads, Worker
from methrics.node.relay import rest_file, spread_file
from methrics.node.relay.catalog_exchange import CatalogExchange
from methrics.node.relay.clock_watch import ClockWatch, gaps_of
from methrics.node.relay.door_service import DoorParts, DoorService
from methrics.node.relay.intake import Intake, Opened, late_from
from methrics.node.relay.mixer import Mixed, Mixer, rest_again
from methrics.node.relay.notices import Notice, Notices
from methrics.node.relay.own_doors import OwnDoors
from methrics.node.relay.pool_shares import Submitter
from methrics.node.relay.record_exchange import RecordExchange
from methrics.node.relay.rest_file import Changes, SqliteRest
from methrics.node.relay.rest_store import RestStore
from methrics.node.relay.seen_items import SeenItems
from methrics.node.relay.settings import RelaySettings, RelayStatistics
from methrics.node.relay.spread_file import SpreadFile
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, record_wait
from methrics.schema.judging.judge import Accepted
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Erasure
from methrics.schema.wire.record import Record
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Decision, Reason

__all__ = ["Relay", "RelaySettings", "RelayStatistics", "Started", "run_relay"]

_log = logging.getLogger(__name__)


class Relay:
    """One relay. Programs use `run_relay`; tests may call methods."""

    def __init__(
        self,
        swarm: Swarm,
        book: CatalogBook,
        settings: RelaySettings,
        *,
        clock: Clock,
        rng: random.Random,
        worker: Worker | None = None,
        store: RestStore | None = None,
        parts: DoorParts | None = None,
        spread: SpreadFile | None = None,
    ) -> None:
        self.statistics = RelayStatistics()
        self.mixer = Mixer(settings.mix)
        self._swarm = swarm
        self._book = book
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._worker = worker or Threads(settings.threads)
        self._seen = SeenItems(settings.seen)
        self._topics = frozenset(settings.topics)
        self._watch = ClockWatch()
        self.exchange = CatalogExchange(swarm, book, rng.random, self._fetched)
        self.records = RecordExchange(swarm, book, settings.topics, rng.random, self._fetched)
        self._store = store or RestStore(clock=clock)
        self._load()
        self._notices = Notices(book, settings.topics, every=settings.record_every, rng=rng.random)
        self._intake = Intake(
            settings,
            book=book,
            mixer=self.mixer,
            store=self._store,
            notices=self._notices,
            seen=self._seen.settled,
            clock=clock,
            rng=rng,
            learnt=self._learnt,
            answers=self.statistics.answers,
        )
        self.doors = DoorService(
            swarm,
            parts or DoorParts(),
            settings,
            intake=self._intake,
            book=book,
            clock=clock,
            rng=rng,
            worker=self._worker,
            noted=self._noted,
            spread=spread,
        )
        self._wake = trio.Event()
        self._flushing = trio.CancelScope()

    def _load(self) -> None:
        """Let what rested when the relay ended rest on."""
        now, period = self._clock.now(), self._settings.mix.rest
        for one in self._store.resting:
            rest = rest_again(one.leaves, now, period, self._rng)
            self.mixer.keep(one, trio.current_time(), rest=rest)

    @property
    def pooled(self) -> int:
        """Items in the mix pool."""
        return len(self.mixer)

    def submitter(self, name: str, origin: bytes) -> Submitter:
        """Return how a client is counted. `origin`: an opaque token of its network."""
        return self._intake.submitter(name, origin)

    def _noted(self, who: Submitter, opened: Sequence[Opened]) -> None:
        """Use what the items of a request tell, and what they bring."""
        self._watch_clock(who.name, [(one.reason, one.raw) for one in opened if one.raw])
        self._wake.set()

    def _learnt(self, topic: str, accepted: Accepted) -> None:
        """Use a catalog or record that came by whatever way: judge what waited for it again."""
        if isinstance(accepted.body, Catalog):
            self._swarm.judge_again(topic, accepted.item.id)
        elif isinstance(accepted.body, Record):
            self._notices.refresh()
            self._swarm.judge_again(topic, record_wait(short_key(accepted.item.key)))
            self._wake.set()

    async def _fetched(self, topic: str, bundle: bytes) -> None:
        """Judge a catalog or record that a peer sent on request. It was not passed on, so it is
        not seen."""
        for accepted in (await self._judge(topic, bundle)).accepted:
            self._seen.discard(accepted.item.id)
            self._learnt(topic, accepted)
            self._seen.decide([accepted.item.id])

    async def validate(self, topic: str, peer: PeerId, data: bytes) -> Outcome:
        """Judge a bundle of another node on `topic` by the same rules as every node."""
        known = self._newest(topic)
        verdict = await self._judge(topic, data)
        while self._has_come(topic, verdict, known):
            known = self._newest(topic)
            verdict = await self._judge(topic, data)
        self.statistics.gossip[str(verdict.reason)] += 1
        self._watch_clock(
            peer,
            [(one.reason, one.item.raw) for one in verdict.accepted]
            + [(refusal.reason, refusal.raw) for refusal in verdict.refused],
        )
        for accepted in verdict.accepted:
            self._learnt(topic, accepted)
        if verdict.decision is Decision.ACCEPT:
            self._heard(topic, peer, verdict.accepted)
        self._seen.decide([one.item.id for one in verdict.accepted])
        if verdict.waits_for is None:
            return verdict.decision
        return self._wait(topic, peer, data, verdict, verdict.waits_for)

    def _wait(
        self, topic: str, peer: PeerId, data: bytes, verdict: BundleVerdict, waits_for: bytes
    ) -> Outcome:
        if verdict.reason is Reason.UNKNOWN_CATALOG:
            self.exchange.want(verdict.about, topic, peer)
        elif not self.records.waits(topic, data, peer):
            return UNSEEN
        return Wait(waits_for)

    def _newest(self, topic: str) -> list[bytes]:
        """Return the ids of the newest records of a topic's namespace."""
        return [one.item.id for one in self._book.records.newest_of(parse_topic(topic)[1])]

    def _has_come(self, topic: str, verdict: BundleVerdict, known: list[bytes]) -> bool:
        """Whether what a bundle waits for has come since it was judged: then nobody would have it
        judged again. `known`: the newest records before that."""
        if verdict.waits_for is None:
            return False
        if verdict.reason is Reason.UNKNOWN_CATALOG:
            return self._book.get(verdict.about) is not None
        return self._newest(topic) != known

    async def _judge(self, topic: str, data: bytes) -> BundleVerdict:
        now = self._clock.now()
        return await self._worker(
            lambda: judge_bundle(data, self._book, now, self._seen, topic=topic)
        )

    def _heard(self, topic: str, peer: PeerId, accepted: Iterable[Accepted]) -> None:
        """Forget pooled items that the swarm now passes on. If that is not certain, keep them
        instead, and forget that they were heard."""
        self._erase(accepted)
        if too_late() or not self._passed_on(topic, peer):
            for one in accepted:
                self._seen.discard(one.item.id)
            return
        self.statistics.elsewhere += self._drop(one.item.id for one in accepted)
        for one in accepted:
            self._notices.sent(Notice(topic, one.item), trio.current_time())

    def _erase(self, accepted: Iterable[Accepted]) -> None:
        """Drop the resting reports that erasures of others name, and remember what they name."""
        for one in accepted:
            if isinstance(one.body, Erasure):
                erased = one.body.report_id(one.item.key)
                self._drop([erased])
                if self._store.room_for_erased(heard=True):
                    until = late_from(one.body, self._book)
                    self._store.later(Changes(erased={erased: until}))

    def _drop(self, ids: Iterable[bytes]) -> int:
        """Forget pooled items, on disk, too; return how many there were."""
        found = [item_id for item_id in ids if item_id in self.mixer]
        if found:
            self.mixer.discard(found)
            self._store.later(Changes(drops=set(found)))
        return len(found)

    def _passed_on(self, topic: str, forwarder: PeerId) -> bool:
        """Whether somebody besides the forwarder takes what is accepted now whom no stranger can
        have put there."""
        chosen = self._swarm.direct_peers(topic) | self._swarm.dialled_peers(topic)
        return bool(chosen - {forwarder})

    def _watch_clock(self, name: str | bytes, judged: list[tuple[Reason, bytes]]) -> None:
        """Notice whether most of what arrives is early or late, and say so once an hour."""
        gaps = gaps_of(judged, self._book, self._clock.now())
        good = sum(reason in (Reason.OK, Reason.DUPLICATE) for reason, _ in judged)
        now = trio.current_time()
        self._watch.note(name, good, gaps, now)
        self.statistics.skew = self._watch.skew
        skew = self._watch.tell(now)
        if skew is not None:
            _log.warning("%s; let NTP set it: good reports are refused", skew)

    async def mix(self) -> None:
        """Publish due items until `stop` is called; then publish the whole pool, if it would be
        lost."""
        with trio.CancelScope() as self._flushing:
            while not self._intake.stopping:
                now = trio.current_time()
                dues = [self.mixer.next_due(now), self._notices.next_due(now)]
                with trio.move_on_at(min((due for due in dues if due is not None), default=_NEVER)):
                    await self._wake.wait()
                self._wake = trio.Event()
                if not self._intake.stopping:
                    await self._publish_due()
            # `stop` may have been called while bundles were being published.
            await self._publish_due(everything=True)

    def stop(self) -> None:
        """Answer `quota` from now on, and give `mix` at most `flush_time` to publish the rest."""
        self._intake.stopping = True
        self._flushing.deadline = trio.current_time() + self._settings.flush_time
        self._wake.set()

    async def _publish_due(self, *, everything: bool = False) -> None:
        now = trio.current_time()
        for notice in self._notices.take(now, everything=everything):
            await self._publish_notice(notice)
        mixed = self.mixer.take(now, self._rng, everything=everything and not self._store.durable)
        # Note the items as seen before they are sent: they must not return to us as new.
        for one in mixed:
            for _, raw in one.items:
                self._seen.add_settled(split(raw))
        for one in mixed:
            await self._publish(one)

    async def _publish(self, mixed: Mixed) -> None:
        await self._swarm.wait_for_room(mixed.topic)
        if await self._handed(mixed.topic, mixed.bundle):
            self.statistics.bundles += 1
            self.statistics.published += len(mixed.items)
            self._store.left({item_id for item_id, _ in mixed.items})
            return
        _log.warning("no peer of %s took a bundle; keeping its items", mixed.topic)
        self.mixer.put_back(mixed, trio.current_time())
        self.statistics.put_back += len(mixed.items)
        for item_id, _ in mixed.items:
            self._seen.discard(item_id)

    async def _publish_notice(self, notice: Notice) -> None:
        new = self._seen.add_settled(notice.item)
        if await self._handed(notice.topic, pack_notice(notice.item.raw)):
            self._notices.sent(notice, trio.current_time())
            return
        self._notices.failed(notice, trio.current_time())
        if new:
            self._seen.discard(notice.item.id)

    async def _handed(self, topic: str, bundle: bytes) -> bool:
        """Publish a bundle; return whether at least one peer got it."""
        try:
            return await self._swarm.publish(topic, bundle) > 0
        except UnreachableError:
            return False


_NEVER = float("inf")


class Started(Protocol):
    """The task status of `nursery.start`, which gets the relay once it answers requests."""

    def started(self, relay: Relay, /) -> None: ...


async def run_relay(
    swarm: Swarm,
    book: CatalogBook,
    settings: RelaySettings,
    *,
    clock: Clock,
    rng: random.Random,
    worker: Worker | None = None,
    parts: DoorParts | None = None,
    stop: trio.Event | None = None,
    state: StateFolder | None = None,
    own: OwnDoors | None = None,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set or until cancelled.

    What the relay acknowledges rests in the folder `state`, whose lock the caller holds. Without
    one, it rests in memory, and a relay that is stopped publishes it early.

    `own` is what the relay says of itself; without it, it signs nothing, and needs `parts`.

    `book` contains the catalogs known at the start; the relay adds further ones. With
    `nursery.start` the caller gets the `Relay` once it answers requests. Raises ConfigError if
    `swarm` has joined a topic already, or serves a protocol; StoreError if a file cannot be read.
    """
    file = SqliteRest(state.file(rest_file.NAME)) if state else None
    store = RestStore(file, clock=clock, worker=worker)
    closing = [store.close]
    try:
        relay = Relay(
            *(swarm, book, settings),
            clock=clock,
            rng=rng,
            worker=worker,
            store=store,
            parts=own.parts if own else parts,
            spread=SpreadFile(state.file(spread_file.NAME)) if state else None,
        )
        closing.append(relay.doors.close)
        for topic in settings.topics:
            await swarm.join(topic, partial(relay.validate, topic))
        relay.exchange.serve()
        relay.records.serve()
        relay.doors.serve()
        if own is not None:
            await own.exchange.join()
        task_status.started(relay)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            nursery.start_soon(relay.exchange.run)
            nursery.start_soon(relay.records.run)
            nursery.start_soon(relay.doors.run)
            if own is not None:
                nursery.start_soon(own.run)
            async with trio.open_nursery() as mixing:
                mixing.start_soon(relay.mix)
                await (trio.Event() if stop is None else stop).wait()
                relay.stop()
            nursery.cancel_scope.cancel()
    finally:
        while closing:
            await closing.pop()()

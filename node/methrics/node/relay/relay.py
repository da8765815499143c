"""The relay service: accepts sealed items from submitters, mixes them and publishes bundles.

Theory of operation. Five parts share one `Relay` object and one trio thread:
- `submit` (a request handler) opens and judges boxes in worker threads. Then, on the event loop, it
  admits each item to the mix pool and answers one reason code per box;
- `describe` (a request handler) answers with the box key and the topics;
- `validate` (a gossip validator, one per topic) judges the bundles of other nodes by the same rules
  as every node, and removes their items from the pool;
- `mix` publishes the items of each batch window when the window closes, at intervals with the
  newest catalog in front;
- `exchange` sends catalogs to peers that ask, and asks peers for catalogs that bundles name.

A relay stores no data about its submitters (MARS-2, DEB-9): handlers get no address, the limiter
keeps a keyed hash for about a minute, no log line is about a submitter, and the relay writes to no
disk. The answer OK means that the item is in memory. There it rests for a time drawn for this item
alone, so that items which one machine submits together are not published together. A relay that is
stopped publishes its pool. A relay that is killed loses its pool, so submitters send each report to
two relays.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import trio

from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId, Swarm, Wait
from methrics.node.process.worker import Threads, Worker
from methrics.node.relay import submit
from methrics.node.relay.boxes import BoxKey, unseal
from methrics.node.relay.catalog_exchange import CatalogExchange
from methrics.node.relay.catalog_lead import CatalogLead
from methrics.node.relay.limiter import Limiter
from methrics.node.relay.mixer import Mixed, Mixer, MixLimits, draw_rest
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, RefusedError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, learn, record_wait
from methrics.schema.judging.judge import Accepted, Refused, judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Erasure, Report
from methrics.schema.wire.record import Record
from methrics.schema.wire.topic import short_key
from methrics.schema.wire.verdict import Decision, Reason

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The settings of one relay."""

    topics: tuple[str, ...]
    """Topics that the relay carries; items of other topics are refused as `foreign`."""
    mix: MixLimits = field(default_factory=MixLimits)
    items_per_minute: int = 600
    """Most items that the relay accepts from one peer per minute. A peer may submit them in one
    burst. An honest app needs a few per day."""
    description_life: int = 3600
    """Seconds for which the relay's description is valid."""
    seen: int = 500_000
    """Most ids of items that are remembered, to drop duplicates. The default lasts for two hours at
    60 reports per second."""
    threads: int = 4
    """Most threads that open and judge boxes at once."""
    catalog_every: float | None = 21_600.0
    """Seconds after which a bundle contains the newest catalog of its topic again, for nodes that
    joined late. The default adds at most 64 KiB every six hours. None: never."""
    flush_time: float = 5.0
    """Most seconds for which a relay that is stopped publishes its pool."""

    def __post_init__(self) -> None:
        if len(self.topics) > submit.TOPICS_MAX:
            raise ConfigError(
                "too-many-topics",
                f"a relay carries at most {submit.TOPICS_MAX} topics, not {len(self.topics)}",
                "run a second relay for the others",
            )


@dataclass(slots=True)
class RelayStatistics:
    """Counts since the start. They name no submitter, no peer and no report."""

    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Number of boxes, by the reason code of the answer."""
    gossip: Counter[str] = field(default_factory=Counter)
    """Number of bundles of other nodes, by the reason of the verdict."""
    bundles: int = 0
    """Bundles that this relay made and published."""
    published: int = 0
    """Items in those bundles."""
    elsewhere: int = 0
    """Pooled items that another relay published first."""
    put_back: int = 0
    """Items put back for one more window because no peer of the topic was connected."""


class Relay:
    """One relay, with all its state in memory. Programs use `run_relay`; tests may call methods."""

    def __init__(
        self,
        swarm: Swarm,
        book: CatalogBook,
        settings: RelaySettings,
        *,
        clock: Clock,
        rng: random.Random,
        key: BoxKey | None = None,
        worker: Worker | None = None,
    ) -> None:
        self.statistics = RelayStatistics()
        self.mixer = Mixer(settings.mix)
        self._swarm = swarm
        self._book = book
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._key = key or BoxKey.fresh()
        self._worker = worker or Threads(settings.threads)
        self._seen = Seen(settings.seen)
        self._limiter = Limiter(per_minute=settings.items_per_minute, key=rng.randbytes(32))
        self._topics = frozenset(settings.topics)
        self.exchange = CatalogExchange(
            swarm, book, rng.random, lambda topic, data: self.validate(topic, "", data)
        )
        self._lead = CatalogLead(book, settings.catalog_every)
        self._urgent: list[Mixed] = []
        self._wake = trio.Event()
        self._stopping = False
        self._flushing = trio.CancelScope()

    @property
    def pooled(self) -> int:
        """Items in the mix pool."""
        return len(self.mixer)

    async def describe(self, _peer: PeerId, body: bytes) -> bytes:
        """Answer `/methrics/relay/1`."""
        await trio.lowlevel.checkpoint()
        try:
            submit.decode_describe_request(body)
        except RefusedError:
            return b""
        topics, life = tuple(sorted(self._topics)), self._settings.description_life
        return submit.encode_description(
            submit.Description(self._key.public, topics, self._clock.now(), life)
        )

    async def submit(self, peer: PeerId, body: bytes) -> bytes:
        """Answer `/methrics/submit/1`. A request that does not decode gets one reason code."""
        self.statistics.requests += 1
        try:
            boxes = submit.decode_request(body)
        except RefusedError as error:
            await trio.lowlevel.checkpoint()
            return self._answer([Reason(error.code)])
        allowed = self._limiter.take(peer, len(boxes), trio.current_time())
        if self._stopping:
            allowed = 0
        now = self._clock.now()
        opened = await self._worker(partial(self._open_all, boxes[:allowed], now))
        if self._stopping:  # stopped meanwhile; the last bundles may have been published
            return self._answer([Reason.QUOTA] * len(boxes))
        reasons = [self._admit(one) for one in opened]
        return self._answer(reasons + [Reason.QUOTA] * (len(boxes) - allowed))

    def _answer(self, reasons: list[Reason]) -> bytes:
        self.statistics.answers.update(str(reason) for reason in reasons)
        return submit.encode_reply(reasons)

    def _open_all(self, boxes: list[bytes], now: int) -> list[Accepted | Reason]:
        """Open each box and judge its item, in a worker thread. An accepted catalog is used to
        judge the items in later boxes."""
        return [self._open(box, now) for box in boxes]

    def _open(self, box: bytes, now: int) -> Accepted | Reason:
        try:
            raw = unseal(box, self._key)
        except RefusedError as error:
            return Reason(error.code)
        verdict = judge(raw, self._book, now)
        if isinstance(verdict, Refused):
            return verdict.reason
        if self._topic(verdict) not in self._topics:
            return Reason.FOREIGN
        return verdict if learn(verdict, self._book) else Reason.QUOTA

    def _admit(self, opened: Accepted | Reason) -> Reason:
        """Put an accepted item into the pool; return the reason code to answer. Runs on the event
        loop."""
        if isinstance(opened, Reason):
            return opened
        item, topic = opened.item, self._topic(opened)
        if item.id in self._seen:
            return Reason.DUPLICATE
        if isinstance(opened.body, Report | Erasure):
            reason = self.mixer.add(
                topic,
                opened.body.catalog,
                item.id,
                item.raw,
                trio.current_time(),
                rest=self._rest(),
            )
        else:
            # The app's developer signs these items. They are not about a person, so they need not
            # rest, and receivers need a catalog before the reports that name it.
            self._judge_waiting(opened, topic)
            self._urgent.append(Mixed(topic, b"", pack_notice(item.raw), ((item.id, item.raw),)))
            reason = Reason.OK
        self._wake.set()
        return reason

    def _rest(self) -> float:
        return draw_rest(self._clock.now(), self._settings.mix.rest, self._rng)

    def _topic(self, accepted: Accepted) -> str:
        """Return the topic of an item; "" if the topic is not known here."""
        body = accepted.body
        if isinstance(body, Catalog):
            return self._book.topic_of(body)
        if isinstance(body, Report | Erasure):
            catalog = self._book.get(body.catalog)
            return self._book.topic_of(catalog) if catalog else ""
        mark = f"-{short_key(accepted.item.key)}/"
        return next((topic for topic in sorted(self._topics) if mark in topic), "")

    def _judge_waiting(self, accepted: Accepted, topic: str) -> None:
        """Judge the bundles again that waited for a catalog or record."""
        if isinstance(accepted.body, Catalog):
            self._swarm.judge_again(topic, accepted.item.id)
        elif isinstance(accepted.body, Record):
            self._swarm.judge_again(topic, record_wait(short_key(accepted.item.key)))

    async def validate(self, topic: str, _peer: PeerId, data: bytes) -> Decision | Wait:
        """Judge a bundle of another node on `topic` by the same rules as every node."""
        now = self._clock.now()
        verdict = await self._worker(
            lambda: judge_bundle(data, self._book, now, self._seen, topic=topic)
        )
        return self._note(topic, verdict)

    def _note(self, topic: str, verdict: BundleVerdict) -> Decision | Wait:
        if verdict.reason is Reason.UNKNOWN_CATALOG:
            self.exchange.want(verdict.about, topic)
        for accepted in verdict.accepted:
            self._judge_waiting(accepted, topic)
        if verdict.decision is Decision.ACCEPT:  # what is not forwarded still has to leave here
            known = [accepted.item.id for accepted in verdict.accepted]
            self.statistics.elsewhere += self.mixer.discard(known)
        self.statistics.gossip[str(verdict.reason)] += 1
        return verdict.decision if verdict.waits_for is None else Wait(verdict.waits_for)

    async def mix(self) -> None:
        """Publish due items until `stop` is called; then publish the whole pool."""
        with trio.CancelScope() as self._flushing:
            while not self._stopping:
                due = self.mixer.next_due(trio.current_time())
                with trio.move_on_at(float("inf") if due is None else due):
                    await self._wake.wait()
                self._wake = trio.Event()
                if not self._stopping:
                    await self._publish_due()
            # `stop` may have been called while bundles were being published.
            await self._publish_due(everything=True)

    def stop(self) -> None:
        """Answer `quota` from now on, and give `mix` at most `flush_time` to publish the rest."""
        self._stopping = True
        self._flushing.deadline = trio.current_time() + self._settings.flush_time
        self._wake.set()

    async def _publish_due(self, *, everything: bool = False) -> None:
        urgent, self._urgent = self._urgent, []
        mixed = self.mixer.take(trio.current_time(), self._rng, everything=everything)
        for one in urgent + mixed:
            await self._publish(one)

    async def _publish(self, mixed: Mixed) -> None:
        ids = [item_id for item_id, _ in mixed.items]
        catalog = self._lead.due(mixed.topic, ids, trio.current_time())
        led = catalog is not None and self._seen.add(split(catalog.raw))
        # Note the items as seen before they are sent: they must not return to us as new.
        for _, raw in mixed.items:
            self._seen.add(split(raw))
        try:
            if catalog is not None:
                ids.append(catalog.id)
                await self._swarm.publish(mixed.topic, pack_notice(catalog.raw))
            await self._swarm.publish(mixed.topic, mixed.bundle)
        except UnreachableError:
            _log.warning("no peer of %s is connected; keeping its items", mixed.topic)
            self.statistics.put_back += self.mixer.put_back(mixed, trio.current_time())
            for item_id, _ in mixed.items:
                if item_id not in self.mixer:  # there was no room; it may be submitted again
                    self._seen.discard(item_id)
            if catalog is not None and led:
                # Otherwise another node's bundle with this catalog would not be forwarded.
                self._seen.discard(catalog.id)
            return
        self._lead.published(mixed.topic, ids, trio.current_time())
        self.statistics.bundles += 1
        self.statistics.published += len(mixed.items)


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
    stop: trio.Event | None = None,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` is set (then publish the pool and return) or until cancelled.

    `book` contains the catalogs known at the start; the relay adds further ones. With
    `nursery.start` the caller gets the `Relay` once it answers requests. Raises ConfigError if
    `swarm` has already joined one of the topics, or serves one of the protocols.
    """
    relay = Relay(swarm, book, settings, clock=clock, rng=rng, worker=worker)
    for topic in settings.topics:
        await swarm.join(topic, partial(relay.validate, topic))
    swarm.serve(submit.RELAY, relay.describe, request_max=submit.DESCRIBE_MAX)
    relay.exchange.serve()
    swarm.serve(submit.SUBMIT, relay.submit, request_max=submit.SUBMIT_MAX)
    task_status.started(relay)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.exchange.run)
        async with trio.open_nursery() as mixing:
            mixing.start_soon(relay.mix)
            await (trio.Event() if stop is None else stop).wait()
            relay.stop()
        nursery.cancel_scope.cancel()

"""What an aggregator asks its peers for, and what it lets the swarm judge again.

A bundle of a catalog that is not known, or that no known record lists, waits in the swarm while
peers are asked. It is judged again once the catalog or a newer record is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from methrics.aggregate.collect.ingest import Listener
from methrics.aggregate.store.batch import Committed
from methrics.node.clock import Clock, system_rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay.catalog_exchange import CatalogExchange
from methrics.node.relay.clock_steps import ClockSteps
from methrics.node.relay.clock_watch import ClockWatch, Skew, gaps_of
from methrics.node.relay.record_exchange import RecordExchange
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, record_wait
from methrics.schema.wire.topic import parse_topic, short_key
from methrics.schema.wire.verdict import Reason

Learn = Callable[[str, bytes], Awaitable[object]]
"""`learn(topic, bundle)` judges a fetched item like a bundle that arrived on `topic`."""


class Exchanges(Listener):
    """The exchanges of catalogs and records on `topics`, and the watch over the clock."""

    def __init__(
        self, swarm: Swarm, book: CatalogBook, topics: Iterable[str], clock: Clock, learn: Learn
    ) -> None:
        self._swarm = swarm
        self._book = book
        self._clock = clock
        self._shorts = {topic: parse_topic(topic)[1] for topic in topics}
        self._watch = ClockWatch()
        self._steps = ClockSteps(clock.now(), clock.monotonic())
        rng = system_rng()
        self._catalogs = CatalogExchange(swarm, book, rng, learn)
        self._records = RecordExchange(swarm, book, list(self._shorts), rng, learn)

    @property
    def skew(self) -> Skew | None:
        """By how much this machine's clock is probably wrong; None if it seems right."""
        return self._watch.skew

    def doubts_clock(self) -> bool:
        """Tell whether this machine's clock is probably wrong, or has just jumped."""
        jumped = self._steps.look(self._clock.now(), self._clock.monotonic())
        return jumped or self.skew is not None

    def clock_jumped(self) -> str:
        """Return what an operator should know about a jump of the clock, or an empty text."""
        self._steps.look(self._clock.now(), self._clock.monotonic())
        return self._steps.line()

    async def run(self) -> None:
        """Answer peers and ask them until cancelled."""
        self._catalogs.serve()
        self._records.serve()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._catalogs.run)
            nursery.start_soon(self._records.run)

    def heard(self, verdict: BundleVerdict, peer: PeerId) -> None:
        """Note whether the items of a bundle are early or late by this machine's clock."""
        gaps = gaps_of(
            [(one.reason, one.raw) for one in verdict.refused], self._book, self._clock.now()
        )
        known = sum(one.reason is Reason.DUPLICATE for one in verdict.refused)
        self._watch.note(peer, len(verdict.accepted) + known, gaps, trio.current_time())

    def waits(self, verdict: BundleVerdict, topic: str, bundle: bytes, peer: PeerId) -> bool:
        """Ask for what a bundle waits for; return whether it is to wait."""
        if verdict.reason is Reason.UNKNOWN_CATALOG:
            self._catalogs.want(verdict.about, topic, peer)
            return True
        return self._records.waits(topic, bundle, peer)

    def committed(self, done: Committed) -> None:
        """Let the swarm judge again what waited for a catalog or record that is on disk now."""
        for record in done.records:
            short = short_key(record.item.key)
            for topic in [one for one, own in self._shorts.items() if own == short]:
                self._swarm.judge_again(topic, record_wait(short))
        for catalog in done.catalogs:
            if catalog.topic in self._shorts:
                self._swarm.judge_again(catalog.topic, catalog.id)

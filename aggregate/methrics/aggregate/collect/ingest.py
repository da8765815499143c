"""Turns gossip messages into commits: worker threads judge, and one writer thread stores.

    swarm -> validator (worker threads: judge) -> bounded channel -> writer (one thread: commit)

While the channel is full, the validator waits, and the swarm stops reading from the peers that
send. So memory is bounded and no message is dropped. An item is stored for certain only after
`notify` was called for its commit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import trio

from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.quarantine import Waiting, awaited
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId, Validator, Wait
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, learn
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.items import Report
from methrics.schema.wire.verdict import Decision, Reason

Notify = Callable[[Committed], None]

Missing = Callable[[bytes, str], None]
"""Called with (catalog id, topic) when an item names a catalog that is not known here."""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Sizes of the pipeline. The defaults serve several billion users on two cores (MARS-14)."""

    threads: int = min(4, os.cpu_count() or 1)
    """Number of bundles that are judged at the same time. More than the number of cores would not
    be faster."""
    queue: int = 64
    """Maximum number of judged bundles that wait for the writer: 8 MiB at most."""
    batch_items: int = 10_000
    """A batch with this many items is committed without waiting for more items."""
    batch_seconds: float = 1.0
    """Seconds that the first item of a batch waits for further items before the commit."""
    seen: int = 262_144
    """Number of items that are remembered, so that an item in a second bundle is not verified
    again."""


@dataclass(frozen=True, slots=True)
class IngestStatistics:
    """Counts since the pipeline started."""

    bundles: int = 0
    """Number of judged bundles."""
    accepted: int = 0
    """Number of accepted items, both stored ones and those that wait for the writer."""
    commits: int = 0
    queued: int = 0
    """Number of judged bundles that wait for the writer at this moment."""


class Ingest:
    """One pipeline into one store. Start `run` in a nursery, then join topics with `validator`.

    `notify` is called in the trio thread with the result of each commit. `missing` is called once
    for each unknown catalog in a bundle.
    """

    def __init__(
        self,
        store: Store,
        book: CatalogBook,
        clock: Clock,
        notify: Notify,
        settings: IngestSettings | None = None,
        missing: Missing | None = None,
    ) -> None:
        self._store = store
        self._missing = missing
        self._book = book
        self._clock = clock
        self._notify = notify
        self._settings = settings or IngestSettings()
        self._seen = Seen(self._settings.seen)
        self._judges = trio.CapacityLimiter(self._settings.threads)
        self._writer = trio.CapacityLimiter(1)
        self._statistics = IngestStatistics()
        self._send, self._receive = trio.open_memory_channel[BundleVerdict](self._settings.queue)

    def statistics(self) -> IngestStatistics:
        """Return the counts so far."""
        return replace(self._statistics, queued=self._receive.statistics().current_buffer_used)

    def validator(self, topic: str) -> Validator:
        """Return the swarm's validator for `topic`."""

        async def validate(peer: PeerId, message: bytes) -> Decision | Wait:
            verdict = await trio.to_thread.run_sync(
                self._judge, message, topic, limiter=self._judges
            )
            self._miss(verdict, topic)
            try:
                # A swarm limits the time of a validator. A judged item is remembered as seen, so to
                # give up while the disk is slow would lose the item. Waiting slows the peers.
                with trio.CancelScope(shield=True):
                    await self.take(verdict)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return Decision.IGNORE  # stopping: a bundle that is not stored is not passed on
            return verdict.decision if verdict.waits_for is None else Wait(verdict.waits_for)

        return validate

    async def take(self, verdict: BundleVerdict) -> None:
        """Pass a judged bundle to the writer; wait while the writer's queue is full.

        Raises trio.ClosedResourceError or trio.BrokenResourceError once the pipeline is closed.
        """
        await self._send.send(verdict)
        old = self._statistics
        self._statistics = replace(
            old, bundles=old.bundles + 1, accepted=old.accepted + len(verdict.accepted)
        )

    def _miss(self, verdict: BundleVerdict, topic: str) -> None:
        if self._missing is not None and verdict.reason is Reason.UNKNOWN_CATALOG:
            self._missing(verdict.about, topic)

    def _judge(self, message: bytes, topic: str) -> BundleVerdict:
        return judge_bundle(message, self._book, self._clock.now(), self._seen, topic=topic)

    def close(self) -> None:
        """Accept no more bundles; `run` commits the rest and returns."""
        self._send.close()

    async def run(self) -> None:
        """Commit batches until `close`. Raises StoreError when the file cannot be written."""
        async with self._receive:
            for done in await trio.to_thread.run_sync(self._left_over, limiter=self._writer):
                self._tell(done)
            while verdicts := await self._gather():
                # A commit is never cancelled: it returns or raises.
                for done in await trio.to_thread.run_sync(
                    self._commit, verdicts, limiter=self._writer
                ):
                    self._tell(done)

    def _tell(self, done: Committed) -> None:
        self._statistics = replace(self._statistics, commits=self._statistics.commits + 1)
        self._notify(done)

    async def _gather(self) -> list[BundleVerdict]:
        """Wait for a bundle, then a short while for more.

        Returns an empty list when the pipeline is closed and all bundles were returned.
        """
        try:
            verdicts = [await self._receive.receive()]
        except trio.EndOfChannel:
            return []
        size = len(verdicts[0].accepted)
        with trio.move_on_after(self._settings.batch_seconds):
            while size < self._settings.batch_items:
                try:
                    verdicts.append(await self._receive.receive())
                except trio.EndOfChannel:
                    break
                size += len(verdicts[-1].accepted)
        return verdicts

    def _commit(self, verdicts: list[BundleVerdict]) -> list[Committed]:
        """In the writer thread: commit the verdicts, then the items that waited for their catalogs.

        There is one more commit for each new catalog for which items waited.
        """
        batch = self._with_catalogs(to_batch(verdicts, self._clock.now()))
        done = [self._store.commit(batch)]
        # A catalog may have arrived since the item was judged.
        awaited = {one.awaits for one in batch.waiting}
        late = [one for one in self._book if awaited and not awaited.isdisjoint((one.id, one.key))]
        return done + self._release({*done[0].catalogs, *late})

    def _left_over(self) -> list[Committed]:
        """In the writer thread, once at the start: judge items whose catalog is in the file but
        which still wait, because an earlier process was killed between two commits."""
        return self._release(one for one in self._store.catalogs() if self._book.get(one.id))

    def _release(self, catalogs: Iterable[Catalog]) -> list[Committed]:
        """Judge and commit the items that wait for `catalogs`, in one commit for each catalog."""
        found = (self._store.waiting(catalog) for catalog in catalogs)
        return [self._store.commit(self._again(waiting)) for waiting in found if waiting]

    def _again(self, waiting: list[tuple[int, int, bytes]]) -> Batch:
        """Judge items that waited as if it were still their time of receipt."""
        accepted: list[Accepted] = []
        refused: Counter[Reason] = Counter()
        samples: dict[Reason, bytes] = {}
        for _, received, raw in waiting:
            verdict = judge(raw, self._book, received)
            if isinstance(verdict, Accepted):
                accepted.append(verdict)
                learn(verdict, self._book)
            else:
                refused[verdict.reason] += 1
                samples.setdefault(verdict.reason, raw)
        return self._with_catalogs(
            Batch(
                now=self._clock.now(),
                accepted=accepted,
                refused={reason: (count, samples[reason]) for reason, count in refused.items()},
                released=[n for n, _, _ in waiting],
            )
        )

    def _with_catalogs(self, batch: Batch) -> Batch:
        """Add to `batch` the catalogs of its reports that are not in the file.

        All judging threads know a catalog as soon as one of them has read it, so its reports may
        reach the writer before the catalog does.
        """
        named = {body.catalog for _, body in batch.accepted if isinstance(body, Report)}
        found = (self._book.get(one) for one in self._store.lacks(named))
        judged = (judge(one.raw, self._book, batch.now, live=False) for one in found if one)
        first = [verdict for verdict in judged if isinstance(verdict, Accepted)]
        return replace(batch, accepted=[*first, *batch.accepted]) if first else batch


def to_batch(verdicts: list[BundleVerdict], now: int) -> Batch:
    """Merge the verdicts on many bundles into one batch. Pure."""
    accepted: list[Accepted] = []
    waiting: list[Waiting] = []
    refused: Counter[Reason] = Counter()
    samples: dict[Reason, bytes] = {}
    for verdict in verdicts:
        accepted += verdict.accepted
        if verdict.decision is Decision.REJECT:
            # The other items of a rejected bundle were not judged: they count as one refusal.
            refused[verdict.reason] += 1
            samples[verdict.reason] = verdict.refused[-1].raw if verdict.refused else b""
            continue
        for reason, raw, item_id in verdict.refused:
            if reason is Reason.UNKNOWN_CATALOG and item_id is not None:
                waiting.append(Waiting(awaited(raw), item_id, raw))
            else:
                refused[reason] += 1
                samples.setdefault(reason, raw)
    return Batch(
        now=now,
        accepted=accepted,
        waiting=waiting,
        refused={reason: (count, samples[reason]) for reason, count in refused.items()},
    )

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
from functools import partial

import trio

from methrics.aggregate.collect.holding import RETRIED, STORE, Held, Resumed, pauses
from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.node.network.guards import too_late
from methrics.node.network.swarm import UNSEEN, Outcome, PeerId, Validator, Wait
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, place_of
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.items import Erasure, Report
from methrics.schema.wire.shard import WHOLE, Shard
from methrics.schema.wire.verdict import Decision, Reason

Notify = Callable[[Committed], None]

CATALOG_TIME = 30.0
"""Seconds to wait for the commit of a catalog that a peer sent on request. Its reports wait with
it, and are fetched again later if that takes longer."""

_NAMING = (Report, Erasure)
"""The bodies that name a catalog. (To make a union of them takes as long as to use it.)"""


class Listener:
    """Gets the verdicts on bundles, in the trio thread. Subclasses ask peers for what is missing;
    this class does nothing."""

    def heard(self, verdict: BundleVerdict, peer: PeerId) -> None:
        """`peer` sent a bundle with this verdict."""

    def waits(self, verdict: BundleVerdict, topic: str, bundle: bytes, peer: PeerId) -> bool:
        """Tell whether a bundle of a catalog that is not known or not listed waits for it. Called
        each time the bundle is judged."""
        return True

    def committed(self, done: Committed) -> None:
        """A commit is on disk."""


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
    quiet_seconds: float = 0.25
    """A batch is committed earlier if no bundle came for so many seconds."""
    leaf: bool = False
    """Whether the swarm is a leaf, which forwards nothing (`MeshSettings.leaf`). A store of a shard
    does not judge all of a bundle. In any other swarm, it ignores what it has accepted."""
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
    held: int = 0
    """Number of bundles that were not judged, because nothing could be stored. The swarm forgets
    them, so they are judged when they come again."""
    retries: int = 0
    """Number of times that a commit failed and was tried again."""
    queued: int = 0
    """Number of judged bundles that wait for the writer at this moment."""


class Ingest:
    """One pipeline into one store. Start `run` in a nursery, then join topics with `validator`.

    `notify` is called in the trio thread with the result of each commit.
    """

    def __init__(
        self,
        store: Store,
        book: CatalogBook,
        clock: Clock,
        notify: Notify,
        settings: IngestSettings | None = None,
        listener: Listener | None = None,
        holding: Callable[[Held | Resumed], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._listener = listener or Listener()
        self._book = book
        self._clock = clock
        self._notify = notify
        self._settings = settings or IngestSettings()
        self._seen = Seen(self._settings.seen)
        self._judges = trio.CapacityLimiter(self._settings.threads)
        self._writer = trio.CapacityLimiter(1)
        self._statistics = IngestStatistics()
        self._news = 0
        """Number of catalogs and records that were committed so far."""
        self._holding = holding
        self._causes: dict[str, int] = {}
        """Why nothing is accepted now -> the number of bundles held before."""
        self._committed = trio.Event()
        """Set at the next commit."""
        self._stored = 0
        """Number of bundles whose items were committed so far."""
        self._closing = trio.Event()
        self._send, self._receive = trio.open_memory_channel[BundleVerdict](self._settings.queue)

    def statistics(self) -> IngestStatistics:
        """Return the counts so far."""
        return replace(self._statistics, queued=self._receive.statistics().current_buffer_used)

    def validator(self, topic: str) -> Validator:
        """Return the swarm's validator for `topic`.

        A bundle of a catalog that is not known or not listed has to wait: nothing of it is stored.
        """

        async def validate(peer: PeerId, message: bytes) -> Outcome:
            if self._causes:
                self._count(held=1)
                return UNSEEN
            before, verdict = -1, None
            while verdict is None or (verdict.waits_for is not None and before != self._news):
                # What the bundle waits for may be committed while a thread judges the bundle.
                before = self._news
                verdict = await trio.to_thread.run_sync(
                    self._judge, message, topic, limiter=self._judges
                )
            on = verdict.waits_for
            if on is not None and self._listener.waits(verdict, topic, message, peer):
                return Wait(on)
            self._listener.heard(verdict, peer)
            if not (verdict.accepted or verdict.refused) and verdict.reason is Reason.OK:
                return verdict.decision  # nothing of this shard
            try:
                # A swarm limits the time of a validator. A judged item is remembered as seen, so to
                # give up while the disk is slow would lose the item. Waiting slows the peers.
                with trio.CancelScope(shield=True):
                    await self.take(verdict)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return Decision.IGNORE  # stopping: a bundle that is not stored is not passed on
            if too_late():
                self._forget([verdict])  # perhaps it is not passed on, so it may come again
            return self._outcome(verdict) if on is None else UNSEEN

        return validate

    def _outcome(self, verdict: BundleVerdict) -> Decision:
        """What the swarm is told. It must not forward what was not judged."""
        judged = self._store.shard.is_whole or self._settings.leaf
        accepted = verdict.decision is Decision.ACCEPT
        return Decision.IGNORE if accepted and not judged else verdict.decision

    async def offered(
        self, message: bytes, topic: str, admit: Callable[[list[Accepted]], list[Accepted]]
    ) -> BundleVerdict:
        """Judge a bundle that a peer sent on request, and store what `admit` returns of its
        accepted items, in the worker thread. Their time is not compared with the clock: `admit`
        has to do that.

        Returns the verdict, with the items that are stored as the accepted ones. Raises what
        `admit` and `take` raise; then none of the items is remembered as seen.
        """
        verdict = await trio.to_thread.run_sync(
            self._judge_offered, message, topic, admit, limiter=self._judges
        )
        if verdict.waits_for is None and (verdict.accepted or verdict.refused):
            with trio.CancelScope(shield=True):
                await self.take(verdict)
        return verdict

    def _judge_offered(
        self, message: bytes, topic: str, admit: Callable[[list[Accepted]], list[Accepted]]
    ) -> BundleVerdict:
        verdict = self._judge(message, topic, live=False)
        try:
            kept = admit(verdict.accepted) if verdict.accepted else []
        except StoreError:
            self._forget([verdict])
            raise
        stored = {one.item.id for one in kept}
        for one in verdict.accepted:
            if one.item.id not in stored:
                self._seen.discard(one.item.id)
        return replace(verdict, accepted=kept)

    async def take(self, verdict: BundleVerdict) -> None:
        """Pass a judged bundle to the writer; wait while the writer's queue is full.

        Raises trio.ClosedResourceError or trio.BrokenResourceError once the pipeline is closed; the
        items of the bundle are then not remembered as seen.
        """
        try:
            await self._send.send(verdict)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._forget([verdict])
            raise
        self._count(bundles=1, accepted=len(verdict.accepted))

    async def take_catalog(self, catalog: Accepted) -> bool:
        """Pass a judged catalog to the writer, and wait for the commit. Returns whether the file
        has the catalog then: it may have no room for it. Raises what `take` raises, and StoreError
        if that takes longer than `CATALOG_TIME`."""
        await self.take(BundleVerdict(Decision.ACCEPT, Reason.OK, [catalog]))
        with trio.move_on_after(CATALOG_TIME) as limit:
            await self.settled()
        if limit.cancelled_caught:
            raise StoreError("store-busy", "a catalog is not committed yet")
        return catalog.item.id in self._store.layout.entries

    async def settled(self) -> None:
        """Wait until all bundles that were passed to the writer so far are committed."""
        await trio.lowlevel.checkpoint()  # a bundle is counted one step after it was sent
        taken = self._statistics.bundles
        while self._stored < taken:
            await self._committed.wait()

    def hold(self, cause: str, message: str) -> None:
        """Judge nothing until `resume` is called with the same cause: bundles that arrive are
        refused and forgotten by the swarm. `message` says why, for the operator."""
        if cause not in self._causes:
            self._causes[cause] = self._statistics.held
            self._holding(Held(cause, message))

    def resume(self, cause: str) -> None:
        """Accept bundles again, if nothing else speaks against it. Does nothing if `hold` was not
        called with this cause."""
        before = self._causes.pop(cause, None)
        if before is not None:
            self._holding(Resumed(cause, self._statistics.held - before))

    @property
    def holds(self) -> bool:
        """Whether nothing is accepted now."""
        return bool(self._causes)

    def _count(self, **more: int) -> None:
        old = self._statistics
        self._statistics = replace(
            old, **{name: getattr(old, name) + count for name, count in more.items()}
        )

    def _judge(self, message: bytes, topic: str, *, live: bool = True) -> BundleVerdict:
        judged = partial(
            judge_bundle,
            message,
            self._book,
            self._clock.now(),
            self._seen,
            live=live,
            topic=topic,
            shard=self._store.shard,
        )
        verdict = judged()
        if verdict.waits_for is None or self._book.get(verdict.about) is not None:
            return verdict
        catalog = self._store.catalog(verdict.about)
        if catalog is None or not self._book.add(catalog, given=True):
            return verdict
        # The file has a catalog that the book has no room for, such as an old one in an erasure.
        return judged()

    def close(self) -> None:
        """Accept no more bundles; `run` commits the rest and returns."""
        self._closing.set()
        self._send.close()

    async def run(self) -> None:
        """Commit batches until `close`.

        If the disk is full or read-only, nothing is accepted until the commit succeeds; meanwhile
        it is tried again at growing intervals. Raises StoreError if the file is damaged, or if the
        rest cannot be committed after `close`.
        """
        async with self._receive:
            while verdicts := await self._gather():
                bundles = len(verdicts)
                done = await self._commit_at_last(verdicts)
                self._stored += bundles
                self._count(commits=1)
                self._news += len(done.catalogs) + len(done.records)
                self._listener.committed(done)
                self._notify(done)
                self._committed.set()
                self._committed = trio.Event()

    async def _gather(self) -> list[BundleVerdict]:
        """Wait for a bundle, then a short while for more.

        Returns an empty list when the pipeline is closed and all bundles were returned.
        """
        try:
            verdicts = [await self._receive.receive()]
        except trio.EndOfChannel:
            return []
        size = len(verdicts[0].accepted)
        settings, now = self._settings, trio.current_time
        end = now() + settings.batch_seconds
        with trio.CancelScope() as scope:
            while size < settings.batch_items:
                scope.deadline = min(end, now() + settings.quiet_seconds)
                try:
                    verdicts.append(await self._receive.receive())
                except trio.EndOfChannel:
                    break
                size += len(verdicts[-1].accepted)
        return verdicts

    async def _commit_at_last(self, verdicts: list[BundleVerdict]) -> Committed:
        """Commit the verdicts, and try again while that may help. What is not stored is not
        seen."""
        again = partial(trio.to_thread.run_sync, limiter=self._writer)
        for pause in pauses():
            try:
                # A commit is never cancelled: it returns or raises.
                done = await again(self._commit, verdicts, STORE in self._causes)
            except StoreError as error:
                # At the end, once more: an error of another task may have closed the store.
                last = self._closing.is_set() and STORE in self._causes
                if error.code not in RETRIED or last:
                    self._forget(verdicts)
                    raise
                self._count(retries=1)
                self.hold(STORE, str(error))
                with trio.move_on_after(pause):
                    await self._closing.wait()
            else:
                self.resume(STORE)
                return done
        raise AssertionError("the pauses have no end")

    def _commit(self, verdicts: list[BundleVerdict], again: bool) -> Committed:
        """In the writer thread: commit the verdicts, `again` after an attempt that failed. Empties
        the list if that succeeds."""
        if again:
            self._store.reopen()
        began = self._clock.monotonic()
        batch = self._complete(to_batch(verdicts, self._clock.now(), self._store.shard))
        done = self._store.commit(batch)
        done.seconds = self._clock.monotonic() - began
        # To free thousands of items takes as long as a tenth of the commit. Here it delays no other
        # thread for longer than one bundle takes.
        del batch
        while verdicts:
            verdicts.pop()
        return done

    def _forget(self, verdicts: Iterable[BundleVerdict]) -> None:
        for verdict in verdicts:
            for one in verdict.accepted:
                self._seen.discard(one.item.id)

    def _complete(self, batch: Batch) -> Batch:
        """Add to `batch` the catalogs of its reports and erasures, and the newest records of their
        namespaces, as far as they are not in the file.

        All judging threads know a catalog or record as soon as one of them has read it, so reports
        may reach the writer first. The file alone must show why each report was accepted.
        """
        named = {body.catalog for _, body in batch.accepted if isinstance(body, _NAMING)}
        found = [catalog for one in named if (catalog := self._book.get(one)) is not None]
        lacking = self._store.lacks(named)
        judged = [judge(one.raw, self._book, 0, live=False) for one in found if one.id in lacking]
        first = [verdict for verdict in judged if isinstance(verdict, Accepted)]
        for key in {one.key for one in found}:
            newest = self._book.records.newest(key)
            if newest is not None and not self._store.has_record(newest.item.id):
                first.append(Accepted(newest.item, newest.record))
        return replace(batch, accepted=[*first, *batch.accepted]) if first else batch


def to_batch(verdicts: list[BundleVerdict], now: int, shard: Shard = WHOLE) -> Batch:
    """Merge the verdicts on many bundles into one batch. Pure.

    What every shard refuses alike, one of them counts: see `_counts`.
    """
    accepted: list[Accepted] = []
    refused: Counter[Reason] = Counter()
    samples: dict[Reason, bytes] = {}
    for verdict in verdicts:
        accepted += verdict.accepted
        if verdict.decision is Decision.REJECT:
            # The other items of a rejected bundle were not judged: they count as one refusal.
            sample = verdict.refused[-1].raw if verdict.refused else b""
            if _counts(shard, sample):
                refused[verdict.reason] += 1
                samples[verdict.reason] = sample
            continue
        if verdict.waits_for is not None:
            # It waited in vain, and was not judged: it counts as one refusal.
            if _counts(shard, verdict.about):
                refused[verdict.reason] += 1
                samples.setdefault(verdict.reason, verdict.about)
            continue
        for reason, raw, _ in verdict.refused:
            if _counts(shard, raw):
                refused[reason] += 1
                samples.setdefault(reason, raw)
    return Batch(
        now=now,
        accepted=accepted,
        refused={reason: (count, samples[reason]) for reason, count in refused.items()},
    )


def _counts(shard: Shard, refused: bytes) -> bool:
    """Tell whether a shard counts a refusal. Of what every shard refuses, such as a bundle that
    cannot be read, one shard counts it."""
    return shard.is_whole or shard.has(place_of(refused))

"""Simulates the aggregator of a topic: it judges each bundle and commits once a day.

Judge and store are the real ones. The judge's clock shows the time at which a bundle appears. Once
a week the aggregator restarts and loses its memory of items. It then recognises old reports only
because they are in its file.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from methrics.aggregate.collect.ingest import IngestSettings, to_batch
from methrics.aggregate.simulate.attackers import Attackers
from methrics.aggregate.simulate.settings import DAY, Settings
from methrics.aggregate.simulate.transport import Heard, Resting, bundles
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, learn
from methrics.schema.judging.judge import Accepted, accept
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.limits import PERIOD_MAX
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision

RESTART_EVERY = 7
"""Days between two restarts of the aggregator."""

TOGETHER = 32
"""Number of bundles in one task of a judging thread."""


class Arrival:
    """The aggregator of one simulation. Call `day` for each day, in order."""

    def __init__(self, store: Store, catalog: Catalog, settings: Settings, threads: int) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._attackers = Attackers(settings, catalog)
        self._mixing = random.Random(f"{settings.seed}/mixing")
        self._losing = random.Random(f"{settings.seed}/loss")
        self._book = CatalogBook()
        self._seen = Seen(IngestSettings().seen)
        self._pool = ThreadPoolExecutor(threads)
        self._late: list[Resting] = []
        self._floods: set[bytes] = set()
        self.fates: dict[str, list[bytes]] = defaultdict(list)
        """The ids of reports that are not stored, by fate."""
        self.attacks: Counter[tuple[str, int, str]] = Counter()
        """(kind of attack, day, reason) -> number of items."""
        first = accept(catalog.raw, self._book, settings.start, live=False)
        self._book.add(catalog, given=True)
        listed = _record(catalog, settings)
        learn(listed, self._book)
        store.commit(Batch(settings.start, [listed, first]))

    def day(self, day: int, items: list[Resting], *, attacked: bool) -> None:
        """Judge all bundles of `day` (since 1970-01-01), and commit their items at once."""
        if day % RESTART_EVERY == 0:
            self._seen = Seen(IngestSettings().seen)
        if attacked:
            flood = self._attackers.flood(day)
            self._floods.update(one.id for one in flood)
            self._late += flood
        end = (day + 1) * DAY
        now = [one for one in self._late if one.closes < end]
        self._late = [one for one in self._late if one.closes >= end]
        heard = list(bundles(self._catalog, [*items, *now], self._mixing))
        heard = self._lose(heard, day)
        if attacked:
            heard = self._attack(heard, day, end)
        heard.sort(key=_time)
        self._commit(heard, day)

    def rest(self) -> int | None:
        """Return the day on which the last resting item appears; None if no item rests."""
        return max((one.closes // DAY for one in self._late), default=None)

    def close(self) -> None:
        """End the judging threads."""
        self._pool.shutdown()

    def _lose(self, heard: list[Heard], day: int) -> list[Heard]:
        share = self._settings.loss
        if not share:
            return heard
        kept = []
        for one in heard:
            if self._losing.random() >= share:
                kept.append(one)
                continue
            for item_id in one.ids:
                self._gone(item_id, day, "lost")
        return kept

    def _gone(self, item_id: bytes, day: int, why: str) -> None:
        if item_id in self._floods:
            self.attacks["flood", day, why] += 1
        else:
            self.fates[why].append(item_id)

    def _attack(self, heard: list[Heard], day: int, end: int) -> list[Heard]:
        honest = heard
        heard, again = self._attackers.poison(heard)
        later = [one for one in again if one.closes < end]
        self._late += [one for one in again if one.closes >= end]
        heard += bundles(self._catalog, later, self._mixing)
        heard += self._attackers.publish(day)
        # Items that are replayed today appeared before today.
        self._attackers.overhear(honest)
        return heard

    def _commit(self, heard: list[Heard], day: int) -> None:
        verdicts = []
        for run in _runs(heard):
            verdicts += self._judge(run)
        self._note(heard, verdicts, day)
        now = heard[-1].time if heard else (day + 1) * DAY - 1
        done = self._store.commit(to_batch(verdicts, now))
        if done.duplicates:
            # The judge had forgotten these items, but they were in the file.
            self.attacks["replay", day, "ok"] -= done.duplicates
            self.attacks["replay", day, "known"] += done.duplicates

    def _judge(self, heard: list[Heard]) -> list[BundleVerdict]:
        parts = [heard[at : at + TOGETHER] for at in range(0, len(heard), TOGETHER)]
        return [verdict for found in self._pool.map(self._judge_some, parts) for verdict in found]

    def _judge_some(self, heard: list[Heard]) -> list[BundleVerdict]:
        topic = self._catalog.topic
        return [
            judge_bundle(one.bundle, self._book, one.time, self._seen, topic=topic) for one in heard
        ]

    def _note(self, heard: list[Heard], verdicts: list[BundleVerdict], day: int) -> None:
        """Note in the truth the fate of each item, from the verdicts."""
        for one, verdict in zip(heard, verdicts, strict=True):
            if one.kind:
                if verdict.decision is Decision.REJECT or verdict.waits_for is not None:
                    self.attacks[one.kind, day, verdict.reason] += 1
                    continue
                for refusal in verdict.refused:
                    self.attacks[one.kind, day, refusal.reason] += 1
                if verdict.accepted:
                    self.attacks[one.kind, day, "ok"] += len(verdict.accepted)
                continue
            for refusal in verdict.refused:
                if refusal.id is not None:
                    self._gone(refusal.id, day, refusal.reason)
            if self._floods:
                ids = {accepted.item.id for accepted in verdict.accepted}
                if flooded := len(ids & self._floods):
                    self.attacks["flood", day, "ok"] += flooded


def _record(catalog: Catalog, settings: Settings) -> Accepted:
    """The record of the namespace, which lists the catalog for as long as reports may arrive."""
    expires = settings.start + settings.days * DAY + PERIOD_MAX
    item = sign_record([catalog.id], example_seed(), time=settings.start, expires=expires)
    return Accepted(item, decode_record(item.payload))


def _runs(heard: list[Heard]) -> Iterator[list[Heard]]:
    """Split bundles into runs in which no item occurs twice.

    The bundles of a run can be judged in parallel, and the verdicts do not depend on the number of
    threads.
    """
    run: list[Heard] = []
    ids: set[bytes] = set()
    for one in heard:
        if not ids.isdisjoint(one.ids):
            yield run
            run, ids = [], set()
        run.append(one)
        ids.update(one.ids)
    yield run


def _time(one: Heard) -> int:
    return one.time

"""The reports of one outbox as a pass sees them: makes, chooses, holds back and marks them.

Before a report is sent, it is in the journal and its flags are used up. Immediately before its
bytes leave, consent is asked again and the attempt is counted (METH-15). All methods block, for a
worker.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from methrics.node.clock import Clock, Entropy, system_entropy
from methrics.node.outbox.found import read_catalogs
from methrics.node.outbox.interfaces import PublisherJournal
from methrics.node.outbox.journal import AGE_MAX
from methrics.node.outbox.rows import (
    ACKNOWLEDGED,
    CLOCK_FLOOR,
    HANDED_TIME,
    STRUCK,
    Pending,
    Receipt,
)
from methrics.node.publish.listing import PAUSES, Listing
from methrics.node.publish.permission import AskConsent
from methrics.node.publish.results import PassResult
from methrics.node.publish.retries import backoff
from methrics.node.publish.routes import HELD, UNREACHABLE, Fate, Outcome
from methrics.node.report.prepare import Allowed, prepare
from methrics.node.report.threshold.meter import Meter
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import RefusedError, StoreError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_report

ALL = 50_000
"""Rows or reports read at once: more than an outbox can contain, so all of them are read."""

CONFLICTS_MAX = 3
"""Times that a pass tries to make reports, if the app changes rows while it does."""


class DueReports:
    """The reports of one namespace. The parameters are those of `Delivery`."""

    def __init__(
        self,
        journal: PublisherJournal,
        listing: Listing,
        consent: AskConsent,
        route_name: str,
        *,
        clock: Clock,
        rng: random.Random,
        meter: Callable[[], Meter | None] = lambda: None,
        entropy: Entropy = system_entropy,
    ) -> None:
        self.catalogs: Mapping[int, Catalog] = {}
        self._journal = journal
        self._listing = listing
        self._consent = consent
        self._route_name = route_name
        self._clock = clock
        self._rng = rng
        self._meter = meter
        self._entropy = entropy
        self._purged: frozenset[str] = frozenset()

    def make(self, result: PassResult) -> None:
        """Turn due rows into journaled reports, at the beginning of a pass."""
        # An app may record for a second after a no, so each pass deletes again.
        self._purged = frozenset()
        for attempt in range(CONFLICTS_MAX):
            try:
                self._make_once(result)
            except StoreError as error:
                if error.code != "journal-conflict" or attempt + 1 == CONFLICTS_MAX:
                    raise
            else:
                return

    def _make_once(self, result: PassResult) -> None:
        journal, now = self._journal, self._clock.now()
        allowed = self.allowed()
        if now < CLOCK_FLOOR:
            return
        pending = journal.pending(now, ALL)
        if not pending.rows or not allowed:
            return
        self.read_catalogs()
        prepared = prepare(
            pending.rows,
            catalogs=self.catalogs,
            allowed=allowed,
            identity=journal.identity(installed(pending.rows, now)),
            paces=journal.paces(),
            route=self._route_name,
            now=now,
            rng=self._rng.random,
            entropy=self._entropy,
            meter=self._meter(),
        )
        if not prepared.consumed and not prepared.paces:
            return
        journal.journal(
            prepared.made, prepared.consumed, prepared.paces.values(), token=pending.token
        )
        for reason, n in prepared.dropped.items():
            journal.drop(reason, n)
        result.made += len(prepared.made)
        result.dropped.update(prepared.dropped)

    def allowed(self) -> Allowed:
        """Return the types that may be sent now. Delete the rows of withdrawn types."""
        consent = self._consent()
        for name in sorted(consent.withdrawn - self._purged):
            self._journal.purge(name)
        self._purged = consent.withdrawn
        return consent.allowed

    def read_catalogs(self) -> None:
        """Read the catalogs that are new in the outbox."""
        self.catalogs = read_catalogs(self._journal, self.catalogs)

    def sendable(self, result: PassResult) -> list[Receipt]:
        """Return the due reports that have consent now. Strike those that are too late to be
        accepted, those of a revoked type, and those with a field that the person no longer
        shares."""
        now, allowed = self._clock.now(), self.allowed()
        self.read_catalogs()
        sendable: list[Receipt] = []
        struck: dict[str, list[int]] = defaultdict(list)
        for receipt in self._journal.due(now, ALL):
            if receipt.type not in allowed:
                continue
            if self._hopeless(receipt, now):
                struck["late"].append(receipt.key_index)
            elif not covered(receipt, allowed):
                struck["field-withdrawn"].append(receipt.key_index)
            elif self._listing.revoked(receipt):
                struck["revoked"].append(receipt.key_index)
            else:
                sendable.append(receipt)
        for reason, indices in struck.items():
            self._journal.mark(indices, STRUCK)
            self._journal.drop(reason, len(indices))
            result.struck[reason] += len(indices)
        return sendable

    def _hopeless(self, receipt: Receipt, now: int) -> bool:
        catalog = self.catalogs.get(receipt.catalog)
        event_type = catalog.types.get(receipt.type) if catalog else None
        if event_type is None:
            return True
        return now - receipt.time > event_type.lateness or now >= event_type.expires

    def listed(self, result: PassResult) -> list[Receipt]:
        """Return the sendable reports that may leave by the namespace's record, the one that is due
        longest first, and postpone the others."""
        listed: list[Receipt] = []
        waiting: dict[int, str] = {}
        for receipt in self.sendable(result):
            if reason := self._waits(receipt):
                waiting[receipt.key_index] = reason
            else:
                listed.append(receipt)
        if waiting:
            due = self._clock.now() + self._listing.pause(self._rng.random)
            self._journal.postpone(waiting, due)
            if self._listing.heard:
                result.waiting.update(waiting.values())
            else:
                result.postponed[UNREACHABLE] += len(waiting)
        elif listed:
            self._listing.went()
        return listed

    def held(self) -> list[Receipt]:
        """Return the reports that were postponed and wait for a record, as far as is known."""
        allowed = self.allowed()
        until = self._clock.now() + int(PAUSES.most)
        return [
            one
            for one in self._journal.due(until, ALL)
            if one.type in allowed and one.catalog in self.catalogs and self._waits(one)
        ]

    def count_held(self, held: Iterable[Receipt], result: PassResult) -> None:
        """Count reports that wait for a record, if a relay or peer was heard."""
        if self._listing.heard:
            result.waiting.update(filter(None, map(self._waits, held)))

    def handed(self) -> dict[int, Receipt]:
        """Return the reports that are not settled, by key index: also those that were handed over,
        and whose answers are awaited."""
        until = self._clock.now() + HANDED_TIME
        return {one.key_index: one for one in self._journal.due(until, ALL)}

    def leave(self, receipts: Iterable[Receipt], counted: set[bytes]) -> set[bytes]:
        """Return the ids of the reports that may leave now, and count the attempt of each that is
        not in `counted` yet."""
        allowed = self.allowed()
        going = [one for one in receipts if covered(one, allowed) and not self._waits(one)]
        left: set[bytes] = set()
        for again in (False, True):
            known = {one.key_index: one.id for one in going if (one.id in counted) == again}
            still = self._journal.attempt(known, counted=not again) if known else set()
            left |= {known[index] for index in still}
        counted |= left
        return left

    def mark(
        self, receipts: Sequence[Receipt], outcomes: Mapping[bytes, Outcome], result: PassResult
    ) -> None:
        """Store the outcomes of reports, by their ids; of a report without one, nothing changes."""
        by_fate: dict[Fate, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            by_fate[outcomes.get(receipt.id, HELD).fate].append(receipt)
        journal, name = self._journal, self._route_name
        result.handed += len(by_fate[Fate.HANDED])
        if taken := by_fate[Fate.ACKNOWLEDGED]:
            journal.mark([one.key_index for one in taken], ACKNOWLEDGED, name)
            result.acknowledged += len(taken)
            result.sent += taken
        if refused := by_fate[Fate.REFUSED]:
            journal.mark([one.key_index for one in refused], STRUCK, name)
            reasons = Counter(outcomes[one.id].reason for one in refused)
            for reason, n in reasons.items():
                journal.drop(reason, n)
            result.struck.update(reasons)
        for receipt in by_fate[Fate.RETRY]:
            outcome = outcomes[receipt.id]
            wait = backoff(receipt.attempts, self._rng.random, outcome.again)
            journal.postpone([receipt.key_index], self._clock.now() + wait)
            result.postponed[outcome.reason] += 1

    def _waits(self, receipt: Receipt) -> str:
        return self._listing.waits(receipt, self.catalogs.get(receipt.catalog))


def covered(receipt: Receipt, allowed: Allowed) -> bool:
    """Whether `allowed` contains the report's type and each of its fields. The person may have
    withdrawn a field after the report was made."""
    if receipt.type not in allowed:
        return False
    fields = allowed[receipt.type]
    if fields is None:
        return True
    try:
        return decode_report(split(receipt.raw).payload).values.keys() <= fields
    except RefusedError:
        return False


def installed(pending: Iterable[Pending], now: int) -> int:
    """Return the time of installation for an outbox that has no identity yet: the time of its
    oldest row, or `now` if it has none. Rows older than `AGE_MAX` are ignored, because the clock
    was wrong (1970) when they were recorded."""
    return min((row.time for row in pending if now - AGE_MAX < row.time < now), default=now)

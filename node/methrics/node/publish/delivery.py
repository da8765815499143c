"""One pass of the publisher over one outbox: make due reports, journal, send and mark them.

The order makes it safe to be killed at any point. A report is in the journal, and its flags are
used up, before it is sent. An attempt is counted before it is made. Only a report that a route
acknowledged is marked as acknowledged. A report that was sent but not marked is sent again, byte
for byte, and receivers that have it already drop it.

The blocking half of each step runs in a worker, so that a pass may run in an app's own trio loop.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from methrics.node.clock import Clock
from methrics.node.outbox.erasures import Erasures, JournaledErasure
from methrics.node.outbox.found import read_catalogs
from methrics.node.outbox.interfaces import PublisherJournal
from methrics.node.outbox.outbox import AGE_MAX, catalog_number
from methrics.node.outbox.rows import ACKNOWLEDGED, STRUCK, Pending, Receipt
from methrics.node.process.worker import Worker
from methrics.node.publish.retries import backoff
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route
from methrics.node.report.erasure import routes_open
from methrics.node.report.pacing import spread_again
from methrics.node.report.prepare import Allowed, prepare
from methrics.node.report.threshold.meter import Meter
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import MethricsError, StoreError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_erasure

E = TypeVar("E", bound=Exception)

OpenRoute = Callable[[], AbstractAsyncContextManager[Route]]
"""Opens a way to the network, under a host key of its own, for one pass."""


@dataclass(frozen=True, slots=True)
class Consent:
    """The person's consent at one moment.

    `allowed`: types that may leave over the route in use. `withdrawn`: types that the person said
    no to; their waiting rows are deleted. All other types wait, because only another route is
    allowed or a setting of this environment forbids them. `erasing`: whether erasures may leave.
    The person asked for each erasure, so only a rule for the whole machine can stop them, not an
    answer about an event type.
    """

    allowed: Allowed
    withdrawn: frozenset[str] = frozenset()
    erasing: bool = True


AskConsent = Callable[[], Consent]
"""Called again before each step, so that a withdrawal takes effect at once (METH-15)."""

ALL = 50_000
"""Rows or reports read at once: more than an outbox holds, so each one is looked at."""

BATCH = 200
"""Reports of one delivery: within the number that one relay takes from one peer at once."""

CONFLICTS_MAX = 3
"""Times that a pass starts again because the app changed rows while it ran."""


@dataclass(slots=True)
class PassResult:
    """Counts of what one pass did; they do not name any report's content."""

    made: int = 0
    acknowledged: int = 0
    postponed: int = 0
    struck: int = 0
    erased: int = 0
    """Erasures acknowledged: one at most, since each is sent alone."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that became no report, and reports that no relay will ever take, by reason."""
    failed: MethricsError | None = None
    """Why the pass ended early."""
    sent: list[Receipt] = field(default_factory=list)
    """The reports acknowledged in this pass, to be shown to their owner."""


class Delivery:
    """Makes passes over the journal of one namespace. `route_name` is the word for the route in
    consent and journal. `meter` gives the threshold of each pass, which withholds or generalises
    reports; by default there is none."""

    def __init__(
        self,
        journal: PublisherJournal,
        erasures: Erasures,
        consent: AskConsent,
        open_route: OpenRoute,
        route_name: str,
        *,
        clock: Clock,
        rng: random.Random,
        worker: Worker,
        meter: Callable[[], Meter | None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._consent = consent
        self._open_route = open_route
        self._route_name = route_name
        self._clock = clock
        self._rng = rng
        self._worker = worker
        self._meter = meter
        self._erasures = erasures
        self._catalogs: dict[int, Catalog] = {}
        self._purged: frozenset[str] = frozenset()

    async def publish_due(self) -> PassResult:
        """Make and send all that is due now. Errors are in `PassResult.failed`, not raised.

        No socket is opened when nothing is due. May be cancelled at any point.
        """
        result = PassResult()
        try:
            await self._worker(lambda: self._make(result))
            if await self._worker(self._sendable):
                async with self._open_route() as route:
                    await self._send_all(route, result)
                await self._worker(lambda: self._set_apart(None))
            elif (erasure := await self._worker(self._next_erasure)) is not None:
                async with self._open_route() as route:
                    await self._erase(route, erasure, result)
        # A route that holds a nursery wraps what is raised under it in groups.
        except* MethricsError as group:
            result.failed = first_leaf(group)
        except* OSError as group:
            error = first_leaf(group)
            result.failed = StoreError("os", error.strerror or str(error), "check the machine")
        return result

    def _make(self, result: PassResult) -> None:
        """Turn due rows into journaled reports."""
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
        allowed = self._allowed()
        pending = journal.pending(now, ALL)
        if not pending.rows or not allowed:
            return
        self._read_catalogs()
        prepared = prepare(
            pending.rows,
            catalogs=self._catalogs,
            allowed=allowed,
            identity=journal.identity(installed(pending.rows, now)),
            paces=journal.paces(),
            route=self._route_name,
            now=now,
            rng=self._rng.random,
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

    def _allowed(self) -> Allowed:
        """The types that may leave now. Deletes the rows of types that the person withdrew."""
        consent = self._consent()
        for name in sorted(consent.withdrawn - self._purged):
            self._journal.purge(name)
        self._purged = consent.withdrawn
        return consent.allowed

    def _read_catalogs(self) -> None:
        self._catalogs = read_catalogs(self._journal, self._catalogs)

    def _sendable(self) -> list[Receipt]:
        """Due reports that may still leave: with consent at this moment, and not too late."""
        now, allowed = self._clock.now(), self._allowed()
        self._read_catalogs()
        sendable: list[Receipt] = []
        hopeless: list[Receipt] = []
        for receipt in self._journal.due(now, ALL):
            if receipt.type not in allowed:
                continue
            (hopeless if self._hopeless(receipt, now) else sendable).append(receipt)
        if hopeless:
            self._journal.mark([one.key_index for one in hopeless], STRUCK)
            self._journal.drop("late", len(hopeless))
        return sendable

    def _hopeless(self, receipt: Receipt, now: int) -> bool:
        catalog = self._catalogs.get(receipt.catalog)
        event_type = catalog.types.get(receipt.type) if catalog else None
        if event_type is None:
            return True
        return now - receipt.time > event_type.lateness or now >= event_type.expires

    async def _send_all(self, route: Route, result: PassResult) -> None:
        tried: set[int] = set()
        while True:
            found = await self._worker(self._sendable)
            batch = [one for one in found if one.key_index not in tried][:BATCH]
            if not batch:
                return
            tried |= {one.key_index for one in batch}
            by_catalog: dict[int, list[Receipt]] = defaultdict(list)
            for receipt in batch:
                by_catalog[receipt.catalog].append(receipt)
            for number, receipts in sorted(by_catalog.items()):
                await self._send(route, self._catalogs[number], receipts, result)

    async def _send(
        self, route: Route, catalog: Catalog, receipts: list[Receipt], result: PassResult
    ) -> None:
        indices = [one.key_index for one in receipts]
        still = await self._worker(lambda: self._journal.attempt(indices))
        receipts = [one for one in receipts if one.key_index in still]
        if not receipts:
            return
        items = tuple((one.id, one.raw) for one in receipts)
        outcomes = await route.deliver(Outgoing(catalog.topic, catalog.raw, items))
        await self._worker(lambda: self._mark(receipts, outcomes, result))

    def _mark(
        self, receipts: list[Receipt], outcomes: dict[bytes, Outcome], result: PassResult
    ) -> None:
        by_fate: dict[Fate, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            by_fate[outcomes[receipt.id].fate].append(receipt)
        journal, name = self._journal, self._route_name
        if taken := by_fate[Fate.ACKNOWLEDGED]:
            journal.mark([one.key_index for one in taken], ACKNOWLEDGED, name)
            result.acknowledged += len(taken)
            result.sent += taken
        if refused := by_fate[Fate.REFUSED]:
            journal.mark([one.key_index for one in refused], STRUCK, name)
            result.struck += len(refused)
            reasons = Counter(outcomes[one.id].reason for one in refused)
            for reason, n in reasons.items():
                journal.drop(reason, n)
            result.dropped.update(reasons)
        for receipt in by_fate[Fate.RETRY]:
            due = self._clock.now() + backoff(receipt.attempts, self._rng.random)
            journal.postpone([receipt.key_index], due)
            result.postponed += 1

    def _next_erasure(self) -> JournaledErasure | None:
        """One due erasure, drawn at random; the other due erasures are put off to later times."""
        if not self._consent().erasing:
            return None
        due = self._erasures.due(self._clock.now(), routes_open(self._route_name))
        if not due:
            return None
        chosen = self._rng.choice(due)
        self._set_apart(chosen)
        self._read_catalogs()
        return chosen

    def _set_apart(self, chosen: JournaledErasure | None) -> None:
        """Puts off all due erasures but `chosen` to newly drawn times. An erasure is never sent
        together with reports or with another erasure: an observer of the connection could tell
        that they belong together."""
        now = self._clock.now()
        due = self._erasures.due(now, routes_open(self._route_name))
        others = [one.key_index for one in due if one != chosen]
        if others:
            moments = spread_again(len(others), now, self._rng.random)
            self._erasures.postpone(zip(others, moments, strict=True))

    async def _erase(self, route: Route, asked: JournaledErasure, result: PassResult) -> None:
        item = split(asked.raw)
        catalog = self._catalogs.get(catalog_number(decode_erasure(item.payload).catalog))
        if catalog is None:
            await self._worker(lambda: self._erasures.mark(asked.key_index, STRUCK))
            return
        if not await self._worker(lambda: self._erasures.attempt(asked.key_index)):
            return
        outgoing = Outgoing(catalog.topic, catalog.raw, ((item.id, asked.raw),))
        outcome = (await route.deliver(outgoing))[item.id]
        await self._worker(lambda: self._mark_erasure(asked, outcome, result))

    def _mark_erasure(self, asked: JournaledErasure, outcome: Outcome, result: PassResult) -> None:
        if outcome.fate is Fate.ACKNOWLEDGED:
            self._erasures.mark(asked.key_index, ACKNOWLEDGED, self._route_name)
            result.erased += 1
        elif outcome.fate is Fate.REFUSED:
            self._erasures.mark(asked.key_index, STRUCK)
            result.struck += 1
            result.dropped[outcome.reason] += 1
        else:
            due = self._clock.now() + backoff(asked.attempts, self._rng.random)
            self._erasures.postpone([(asked.key_index, due)])
            result.postponed += 1


def installed(pending: Iterable[Pending], now: int) -> int:
    """The time of installation for an outbox that has no identity yet: that of the first recorded
    row, not that of the first pass. Times long past (a clock that stood at 1970) do not count."""
    return min((row.time for row in pending if now - AGE_MAX < row.time < now), default=now)


def first_leaf(group: BaseExceptionGroup[E]) -> E:
    """The first error in nested exception groups."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first

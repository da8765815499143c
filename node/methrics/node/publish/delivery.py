"""One pass of the publisher over one outbox: make what is due, journal it, send it, mark it.

The order is what makes it safe to be killed anywhere: a report is in the journal, and its flags are
used up, before anything is sent; an attempt is counted before it is made; and only what a route
acknowledged is marked so. What was sent but not marked is sent again, byte for byte, and whoever
has it already drops it.

The synchronous half of each step runs in a worker, so that a pass may live in an app's own trio
loop.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from methrics.node.backoff import Backoff
from methrics.node.clock import Clock, Rng
from methrics.node.outbox.erasures import Asked, Erasures
from methrics.node.outbox.journal import ACKNOWLEDGED, STRUCK, Journal, Pending, Receipt
from methrics.node.outbox.outbox import AGE_MAX, catalog_number
from methrics.node.process.worker import Worker
from methrics.node.publish.routes import Fate, Load, Outcome, Route
from methrics.node.report.erasure import routes_open, spread_again
from methrics.node.report.prepare import Allowed, Identity, prepare
from methrics.node.report.threshold.meter import Meter
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError, MethricsError, StoreError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_erasure

E = TypeVar("E", bound=Exception)

OpenRoute = Callable[[], AbstractAsyncContextManager[Route]]
"""Opens a way to the network, under a host key of its own, for one pass."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person says at this very moment.

    `allowed` may leave over the route in use. `withdrawn` types were said no to: what waits of
    them is forgotten. Types in neither wait (another route, a switch of this environment).
    `erasing`: whether erasures may leave. Those are the person's own acts, so no answer about an
    event type holds them back, only a machine that must stay silent.
    """

    allowed: Allowed
    withdrawn: frozenset[str] = frozenset()
    erasing: bool = True


AskConsent = Callable[[], Consent]
"""Asked again before each step, so that off is instant (METH-15)."""

ALL = 50_000
"""Rows or reports read at once: more than an outbox holds, so that none hides behind others."""

BATCH = 200
"""Reports of one delivery: what one relay takes within its limit per connection."""

BACKOFF = Backoff(120, 6 * 3600)
"""Seconds before a report that no relay took is sent again: half of the time at least."""

CONFLICTS_MAX = 3
"""Times that rows may change under one pass, which an app may do at any moment."""


@dataclass(slots=True)
class Done:
    """What one pass did: counts, and nothing that names a report's content."""

    made: int = 0
    acknowledged: int = 0
    postponed: int = 0
    struck: int = 0
    erased: int = 0
    """Erasures acknowledged: one at most, since each travels alone."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that made no report, and reports that nobody will take, by reason."""
    failed: MethricsError | None = None
    """Why the pass ended early."""
    sent: list[Receipt] = field(default_factory=list)
    """The reports acknowledged in this pass, to be shown to their owner."""


class Delivery:
    """Passes over the journal of one namespace. `route_name` is the word in consent and journal.
    `meter` is asked in each pass for what holds back or generalises; by default nothing does."""

    def __init__(
        self,
        journal: Journal,
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
        self._erasures = Erasures(journal)
        self._catalogs: dict[int, Catalog] = {}
        self._purged: frozenset[str] = frozenset()

    async def publish_due(self) -> Done:
        """Make and send all that is due now. Raises nothing of this project: see `Done.failed`.

        No socket is opened when nothing is due. May be cancelled at any point.
        """
        done = Done()
        try:
            await self._worker(lambda: self._make(done))
            if await self._worker(self._sendable):
                async with self._open_route() as route:
                    await self._send_all(route, done)
                await self._worker(lambda: self._set_apart(None))
            elif (erasure := await self._worker(self._next_erasure)) is not None:
                async with self._open_route() as route:
                    await self._erase(route, erasure, done)
        # A route that holds a nursery wraps what is raised under it in groups.
        except* MethricsError as group:
            done.failed = first_leaf(group)
        except* OSError as group:
            error = first_leaf(group)
            done.failed = StoreError("os", error.strerror or str(error), "check the machine")
        return done

    def _make(self, done: Done) -> None:
        """Turn waiting rows into journaled reports."""
        for attempt in range(CONFLICTS_MAX):
            try:
                self._make_once(done)
            except StoreError as error:
                if error.code != "journal-conflict" or attempt + 1 == CONFLICTS_MAX:
                    raise
            else:
                return

    def _make_once(self, done: Done) -> None:
        journal, now = self._journal, self._clock.now()
        allowed = self._allowed()
        pending = journal.pending(now, ALL)
        if not pending or not allowed:
            return
        self._read_catalogs()
        prepared = prepare(
            pending,
            catalogs=self._catalogs,
            allowed=allowed,
            identity=Identity(*journal.identity(installed(pending, now))),
            paces=journal.paces(),
            route=self._route_name,
            now=now,
            rng=self._rng.random,
            meter=self._meter(),
        )
        if not prepared.consumed and not prepared.paces:
            return
        journal.journal(prepared.made, prepared.consumed, prepared.paces.values())
        for reason, n in prepared.dropped.items():
            journal.drop(reason, n)
        done.made += len(prepared.made)
        done.dropped.update(prepared.dropped)

    def _allowed(self) -> Allowed:
        """What may leave now. What was said no to is forgotten on the way."""
        consent = self._consent()
        for name in sorted(consent.withdrawn - self._purged):
            self._journal.purge(name)
        self._purged = consent.withdrawn
        return consent.allowed

    def _read_catalogs(self) -> None:
        for number, raw in self._journal.catalogs().items():
            if number not in self._catalogs:
                with contextlib.suppress(CatalogError):
                    self._catalogs[number] = load(raw)

    def _sendable(self) -> list[Receipt]:
        """Due reports that may still leave: consented to at this moment, and not too late."""
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

    async def _send_all(self, route: Route, done: Done) -> None:
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
                await self._send(route, self._catalogs[number], receipts, done)

    async def _send(
        self, route: Route, catalog: Catalog, receipts: list[Receipt], done: Done
    ) -> None:
        indices = [one.key_index for one in receipts]
        still = await self._worker(lambda: self._journal.attempt(indices))
        receipts = [one for one in receipts if one.key_index in still]
        if not receipts:
            return
        items = tuple((one.id, one.raw) for one in receipts)
        outcomes = await route.deliver(Load(catalog.topic, catalog.raw, items))
        await self._worker(lambda: self._mark(receipts, outcomes, done))

    def _mark(self, receipts: list[Receipt], outcomes: dict[bytes, Outcome], done: Done) -> None:
        by_fate: dict[Fate, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            by_fate[outcomes[receipt.id].fate].append(receipt)
        journal, name = self._journal, self._route_name
        if taken := by_fate[Fate.ACKNOWLEDGED]:
            journal.mark([one.key_index for one in taken], ACKNOWLEDGED, name)
            done.acknowledged += len(taken)
            done.sent += taken
        if refused := by_fate[Fate.REFUSED]:
            journal.mark([one.key_index for one in refused], STRUCK, name)
            done.struck += len(refused)
            reasons = Counter(outcomes[one.id].reason for one in refused)
            for reason, n in reasons.items():
                journal.drop(reason, n)
            done.dropped.update(reasons)
        for receipt in by_fate[Fate.RETRY]:
            due = self._clock.now() + backoff(receipt.attempts, self._rng.random)
            journal.postpone([receipt.key_index], due)
            done.postponed += 1

    def _next_erasure(self) -> Asked | None:
        """One of the erasures that are due, drawn; the others are given moments of their own."""
        if not self._consent().erasing:
            return None
        due = self._erasures.due(self._clock.now(), routes_open(self._route_name))
        if not due:
            return None
        chosen = self._rng.choice(due)
        self._set_apart(chosen)
        self._read_catalogs()
        return chosen

    def _set_apart(self, chosen: Asked | None) -> None:
        """Draws again when overdue erasures leave, all but `chosen`: none travels with reports or
        with another one, or whoever sees the connection could tell that they belong together."""
        now = self._clock.now()
        due = self._erasures.due(now, routes_open(self._route_name))
        others = [one.key_index for one in due if one != chosen]
        if others:
            moments = spread_again(len(others), now, self._rng.random)
            self._erasures.postpone(zip(others, moments, strict=True))

    async def _erase(self, route: Route, asked: Asked, done: Done) -> None:
        item = split(asked.raw)
        catalog = self._catalogs.get(catalog_number(decode_erasure(item.payload).catalog))
        if catalog is None:
            await self._worker(lambda: self._erasures.mark(asked.key_index, STRUCK))
            return
        if not await self._worker(lambda: self._erasures.attempt(asked.key_index)):
            return
        load = Load(catalog.topic, catalog.raw, ((item.id, asked.raw),))
        outcome = (await route.deliver(load))[item.id]
        await self._worker(lambda: self._mark_erasure(asked, outcome, done))

    def _mark_erasure(self, asked: Asked, outcome: Outcome, done: Done) -> None:
        if outcome.fate is Fate.ACKNOWLEDGED:
            self._erasures.mark(asked.key_index, ACKNOWLEDGED, self._route_name)
            done.erased += 1
        elif outcome.fate is Fate.REFUSED:
            self._erasures.mark(asked.key_index, STRUCK)
            done.struck += 1
            done.dropped[outcome.reason] += 1
        else:
            due = self._clock.now() + backoff(asked.attempts, self._rng.random)
            self._erasures.postpone([(asked.key_index, due)])
            done.postponed += 1


def installed(pending: Iterable[Pending], now: int) -> int:
    """When an outbox that has no identity yet says it was installed: what was recorded first
    decides that, not when a publisher came to it, and not a clock that stood at 1970."""
    return min((row.time for row in pending if now - AGE_MAX < row.time < now), default=now)


def first_leaf(group: BaseExceptionGroup[E]) -> E:
    """The first single error in nested groups of them."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first


def backoff(attempts: int, rng: Rng) -> int:
    """Whole seconds to wait after an attempt that failed, with `attempts` failed ones before it."""
    return int(BACKOFF.drawn(attempts, rng))

"""Makes one pass over one outbox: makes due reports, journals them, sends them and marks them.

A publisher may be killed at any point of a pass, because of the order of these steps. Before a
report is sent, it is in the journal and its flags are used up. Immediately before its bytes leave,
consent is asked again and the attempt is counted (METH-15). A report is marked as acknowledged only
after its route acknowledged it. A report that was sent but not yet marked is sent again, byte for
byte, and a receiver that has it already drops it.

Blocking calls run in a worker, so that a pass may run in an app's own trio loop.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from statistics import median_low
from typing import TypeVar

import trio

from methrics.node.clock import Clock, Entropy, system_entropy
from methrics.node.outbox.erasures import Erasures, JournaledErasure
from methrics.node.outbox.found import read_catalogs
from methrics.node.outbox.interfaces import PublisherJournal
from methrics.node.outbox.journal import AGE_MAX
from methrics.node.outbox.rows import ACKNOWLEDGED, CLOCK_FLOOR, STRUCK, Pending, Receipt
from methrics.node.process.worker import Worker
from methrics.node.publish.erasure_delivery import ErasureDelivery, Items
from methrics.node.publish.leaving import Leave
from methrics.node.publish.listing import PAUSES, Listing
from methrics.node.publish.permission import AskConsent
from methrics.node.publish.retries import backoff
from methrics.node.publish.routes import HELD, UNREACHABLE, Fate, Outcome, Outgoing, Route
from methrics.node.report.prepare import Allowed, prepare
from methrics.node.report.threshold.meter import Meter
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import MethricsError, RefusedError, StoreError
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import decode_report

E = TypeVar("E", bound=Exception)

OpenRoute = Callable[[], AbstractAsyncContextManager[Route]]
"""Opens a route for one pass, with a new host key."""


ALL = 50_000
"""Rows or reports read at once: more than an outbox can contain, so all of them are read."""

BATCH = 200
"""Reports in one delivery: fewer than a relay accepts from one peer in one burst."""

WATCH_EVERY = 1.0
"""Seconds between two questions for consent while bytes are being sent. A relay may read slowly or
not at all; when consent goes, the connection to it is cut."""

CONFLICTS_MAX = 3
"""Times that a pass tries to make reports, if the app changes rows while it does."""


@dataclass(slots=True)
class PassResult:
    """Counts of one pass, without the content of any report, and the reports acknowledged in it."""

    made: int = 0
    acknowledged: int = 0
    postponed: Counter[str] = field(default_factory=Counter)
    """Reports and erasures that are tried again later, by reason."""
    struck: Counter[str] = field(default_factory=Counter)
    """Reports and erasures that were given up, by reason."""
    erased: int = 0
    """Erasures acknowledged: at most one, because each is sent in a pass of its own."""
    waiting: Counter[str] = field(default_factory=Counter)
    """Due reports that may not leave by the record of their namespace, by reason (standing.py)."""
    note: str = ""
    """What a person should know about that record, "" if two relays agree on it."""
    way: str = ""
    """What a person should know about the way of the reports, "" if two operators share it."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows of which no report was made, by reason."""
    unusable: dict[str, str] = field(default_factory=dict)
    """The relays or peers that could not be used, by address: why, in words."""
    failed: MethricsError | None = None
    """The error that ended the pass early, if there was one."""
    sent: list[Receipt] = field(default_factory=list)
    """The reports acknowledged in this pass, so that they can be shown to their owner."""
    offsets: list[int] = field(default_factory=list)
    """How many seconds this machine's clock is ahead of each relay's; negative if it is behind."""

    @property
    def clock_ahead(self) -> int:
        """The median of `offsets`, 0 if no relay told its time."""
        return median_low(self.offsets) if self.offsets else 0


class Delivery:
    """Makes passes over the journal of one namespace.

    `listing`: what the record of the namespace says about its reports. `route_name`: the name of
    the route in the consent and the journal. `meter`: returns the
    threshold meter for each pass, which withholds or generalises reports; by default there is none.
    `entropy`: draws the salts of the keys; only a simulation may replace it. `looks`: whether a
    pass in which nothing is due asks for the record if reports wait for it, so that a person sees
    at once what an owner has mended.
    """

    def __init__(
        self,
        journal: PublisherJournal,
        erasures: Erasures,
        listing: Listing,
        consent: AskConsent,
        open_route: OpenRoute,
        route_name: str,
        *,
        clock: Clock,
        rng: random.Random,
        worker: Worker,
        meter: Callable[[], Meter | None] = lambda: None,
        entropy: Entropy = system_entropy,
        looks: bool = False,
    ) -> None:
        self._journal = journal
        self._listing = listing
        self._consent = consent
        self._open_route = open_route
        self._route_name = route_name
        self._clock = clock
        self._rng = rng
        self._worker = worker
        self._meter = meter
        self._entropy = entropy
        self._looks = looks
        self._erasures = ErasureDelivery(
            erasures, consent, route_name, clock=clock, rng=rng, worker=worker
        )
        self._catalogs: dict[int, Catalog] = {}
        self._purged: frozenset[str] = frozenset()

    async def publish_due(self) -> PassResult:
        """Make and send the due reports, or else one due erasure. An error is not raised; it is put
        into `PassResult.failed`.

        Opens no socket if no report or erasure is due. May be cancelled at any point.
        """
        # An app may record for a second after a no, so each pass deletes again.
        self._purged = frozenset()
        result = PassResult()
        try:
            await self._worker(self._listing.load)
            await self._worker(lambda: self._make(result))
            if found := await self._worker(partial(self._sendable, result)):
                async with self._open_route() as route:
                    topic = self._catalogs[found[0].catalog].topic
                    await self._listing.look(route, topic, self._worker)
                    await self._send_all(route, result)
                result.note = self._listing.note
                await self._worker(lambda: self._erasures.set_apart(None))
            elif (erasure := await self._worker(self._erasures.next)) is not None:
                async with self._open_route() as route:
                    await self._erase(route, erasure, result)
            elif self._looks and (held := await self._worker(self._held)):
                async with self._open_route() as route:
                    topic = self._catalogs[held[0].catalog].topic
                    await self._listing.look(route, topic, self._worker)
                if self._listing.heard:
                    result.waiting.update(filter(None, map(self._waits, held)))
        # A route that contains a nursery wraps the errors raised in it in exception groups.
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
        if now < CLOCK_FLOOR:
            return
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

    def _allowed(self) -> Allowed:
        """Return the types that may be sent now. Delete the rows of withdrawn types."""
        consent = self._consent()
        for name in sorted(consent.withdrawn - self._purged):
            self._journal.purge(name)
        self._purged = consent.withdrawn
        return consent.allowed

    def _read_catalogs(self) -> None:
        self._catalogs = read_catalogs(self._journal, self._catalogs)

    def _sendable(self, result: PassResult) -> list[Receipt]:
        """Return the due reports that have consent now. Strike those that are too late to be
        accepted, those of a revoked type, and those with a field that the person no longer
        shares."""
        now, allowed = self._clock.now(), self._allowed()
        self._read_catalogs()
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
        catalog = self._catalogs.get(receipt.catalog)
        event_type = catalog.types.get(receipt.type) if catalog else None
        if event_type is None:
            return True
        return now - receipt.time > event_type.lateness or now >= event_type.expires

    async def _send_all(self, route: Route, result: PassResult) -> None:
        tried: set[int] = set()
        while True:
            found = await self._worker(partial(self._listed, result))
            batch = [one for one in found if one.key_index not in tried][:BATCH]
            if not batch:
                return
            tried |= {one.key_index for one in batch}
            by_catalog: dict[int, list[Receipt]] = defaultdict(list)
            for receipt in batch:
                by_catalog[receipt.catalog].append(receipt)
            for number, receipts in sorted(by_catalog.items()):
                await self._send(route, self._catalogs[number], receipts, result)

    def _listed(self, result: PassResult) -> list[Receipt]:
        """Return the sendable reports that may leave by the namespace's record, and postpone the
        others."""
        listed: list[Receipt] = []
        waiting: dict[int, str] = {}
        for receipt in self._sendable(result):
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

    def _held(self) -> list[Receipt]:
        """Return the reports that were postponed and wait for a record, as far as is known."""
        allowed = self._allowed()
        until = self._clock.now() + int(PAUSES.most)
        return [
            one
            for one in self._journal.due(until, ALL)
            if one.type in allowed and one.catalog in self._catalogs and self._waits(one)
        ]

    def _waits(self, receipt: Receipt) -> str:
        return self._listing.waits(receipt, self._catalogs.get(receipt.catalog))

    async def _send(
        self, route: Route, catalog: Catalog, receipts: list[Receipt], result: PassResult
    ) -> None:
        items = tuple((one.id, one.raw) for one in receipts)
        by_id, counted = {one.id: one for one in receipts}, set[bytes]()

        async def leave(ids: Collection[bytes]) -> Collection[bytes]:
            asked = [by_id[item_id] for item_id in ids]
            return await self._worker(lambda: self._leave(asked, counted))

        def allowed() -> bool:
            return self._allowed().keys() >= {by_id[item_id].type for item_id in counted}

        outcomes = await self._deliver(route, catalog, items, leave, allowed, result)
        await self._worker(lambda: self._mark(receipts, outcomes, result))

    async def _deliver(
        self,
        route: Route,
        catalog: Catalog,
        items: Items,
        leave: Leave,
        allowed: Callable[[], bool],
        result: PassResult,
    ) -> dict[bytes, Outcome]:
        """Deliver until `allowed`, which is asked all the time, returns False. Then cut the
        connections and return no outcome."""
        told, records = partial(self._told, result), self._listing.agreed
        outgoing = Outgoing(catalog.topic, catalog.raw, items, leave, told, records)
        outcomes: dict[bytes, Outcome] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, allowed, nursery.cancel_scope)
            outcomes = await route.deliver(outgoing)
            nursery.cancel_scope.cancel()
        return outcomes

    async def _erase(self, route: Route, asked: JournaledErasure, result: PassResult) -> None:
        await self._worker(self._read_catalogs)
        sent = await self._erasures.send(
            asked,
            self._catalogs,
            lambda catalog, items, leave: self._deliver(
                route, catalog, items, leave, lambda: self._consent().erasing, result
            ),
        )
        result.erased += sent.fate is Fate.ACKNOWLEDGED
        result.struck.update([sent.reason] if sent.fate is Fate.REFUSED else [])
        result.postponed.update([sent.reason] if sent.fate is Fate.RETRY else [])

    async def _watch(self, allowed: Callable[[], bool], sending: trio.CancelScope) -> None:
        while True:
            await trio.sleep(WATCH_EVERY)
            if not await self._worker(allowed):
                sending.cancel()

    def _leave(self, receipts: list[Receipt], counted: set[bytes]) -> set[bytes]:
        """Return the ids of the reports that may leave now, and count the attempt of each that is
        not in `counted` yet."""
        allowed = self._allowed()
        going = [one for one in receipts if covered(one, allowed) and not self._waits(one)]
        left: set[bytes] = set()
        for again in (False, True):
            known = {one.key_index: one.id for one in going if (one.id in counted) == again}
            still = self._journal.attempt(known, counted=not again) if known else set()
            left |= {known[index] for index in still}
        counted |= left
        return left

    def _told(self, result: PassResult, time: int) -> None:
        """Note a relay's time."""
        result.offsets.append(self._clock.now() - time)

    def _mark(
        self, receipts: list[Receipt], outcomes: dict[bytes, Outcome], result: PassResult
    ) -> None:
        by_fate: dict[Fate, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            by_fate[outcomes.get(receipt.id, HELD).fate].append(receipt)
        journal, name = self._journal, self._route_name
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


def first_leaf(group: BaseExceptionGroup[E]) -> E:
    """Return the first error in nested exception groups."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first

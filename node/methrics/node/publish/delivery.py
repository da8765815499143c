"""Makes one pass over one outbox: makes due reports, journals them, sends them and marks them.

A publisher may be killed at any point of a pass, because of the order of these steps. Before a
report is sent, it is in the journal and its flags are used up. Immediately before its bytes leave,
consent is asked again and the attempt is counted (METH-15). A report is marked as acknowledged only
after its route acknowledged it. A report that was sent but not yet marked is sent again, byte for
byte, and a receiver that has it already drops it.

A pass over relays is a visit (`visiting`). A pass over the direct route sends all that is due, and
each erasure in a pass of its own. Blocking calls run in a worker, so that a pass may run in an
app's own trio loop.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar

from methrics.node.clock import Clock, Entropy, system_entropy
from methrics.node.outbox.erasures import Erasures, JournaledErasure
from methrics.node.outbox.handed import HandedBoxes
from methrics.node.outbox.interfaces import PublisherJournal
from methrics.node.outbox.rows import Receipt
from methrics.node.process.worker import Worker
from methrics.node.publish.due_reports import DueReports
from methrics.node.publish.erasure_delivery import ErasureDelivery
from methrics.node.publish.listing import Listing
from methrics.node.publish.permission import AskConsent
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import HELD, Outgoing, Route
from methrics.node.publish.visiting import Visiting
from methrics.node.publish.watching import deliver_while
from methrics.node.report.threshold.meter import Meter
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import MethricsError, StoreError

E = TypeVar("E", bound=Exception)

OpenRoute = Callable[[], AbstractAsyncContextManager[Route]]
"""Opens a route for one pass, with a new host key."""

BATCH = 200
"""Reports in one direct delivery: fewer than a peer accepts from another in one burst."""

DIRECT = "direct"


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
        handed: HandedBoxes,
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
        self._listing = listing
        self._open_route = open_route
        self._route_name = route_name
        self._clock = clock
        self._worker = worker
        self._looks = looks
        self._reports = DueReports(
            journal,
            listing,
            consent,
            route_name,
            clock=clock,
            rng=rng,
            meter=meter,
            entropy=entropy,
        )
        self._erasures = ErasureDelivery(erasures, consent, route_name, clock=clock, rng=rng)
        self._visiting = Visiting(
            self._reports,
            self._erasures,
            handed,
            listing,
            clock=clock,
            worker=worker,
            looks=looks,
        )

    async def publish_due(self) -> PassResult:
        """Make the due reports, and make one visit, or send directly what is due. An error is not
        raised; it is put into `PassResult.failed`.

        Opens no socket if no visit may be made, or nothing is to be sent directly. May be cancelled
        at any point.
        """
        result = PassResult()
        try:
            await self._worker(self._listing.load)
            await self._worker(lambda: self._reports.make(result))
            if self._route_name == DIRECT:
                await self._send_directly(result)
            elif topic := await self._worker(self._visiting.topic):
                result.visited = False
                async with self._open_route() as route:
                    await self._visiting.make(route, topic, result)
                result.note = self._listing.note
        # A route that contains a nursery wraps the errors raised in it in exception groups.
        except* MethricsError as group:
            result.failed = first_leaf(group)
        except* OSError as group:
            error = first_leaf(group)
            result.failed = StoreError("os", error.strerror or str(error), "check the machine")
        return result

    async def _send_directly(self, result: PassResult) -> None:
        """Send the due reports, or else one due erasure."""
        reports = self._reports
        if found := await self._worker(partial(reports.sendable, result)):
            async with self._open_route() as route:
                await self._look(route, found[0])
                await self._send_all(route, result)
            result.note = self._listing.note
            await self._worker(lambda: self._erasures.set_apart(None))
        elif (erasure := await self._worker(self._erasures.next)) is not None:
            async with self._open_route() as route:
                await self._erase(route, erasure, result)
        elif self._looks and (held := await self._worker(reports.held)):
            async with self._open_route() as route:
                await self._look(route, held[0])
            await self._worker(partial(reports.count_held, held, result))

    async def _look(self, route: Route, receipt: Receipt) -> None:
        topic = self._reports.catalogs[receipt.catalog].topic
        await self._listing.look(route, topic, self._worker)

    async def _send_all(self, route: Route, result: PassResult) -> None:
        tried: set[int] = set()
        while True:
            found = await self._worker(partial(self._reports.listed, result))
            batch = [one for one in found if one.key_index not in tried][:BATCH]
            if not batch:
                return
            tried |= {one.key_index for one in batch}
            by_catalog: dict[int, list[Receipt]] = defaultdict(list)
            for receipt in batch:
                by_catalog[receipt.catalog].append(receipt)
            for number, receipts in sorted(by_catalog.items()):
                await self._send(route, self._reports.catalogs[number], receipts, result)

    async def _send(
        self, route: Route, catalog: Catalog, receipts: list[Receipt], result: PassResult
    ) -> None:
        items = tuple((one.id, one.raw) for one in receipts)
        by_id, counted = {one.id: one for one in receipts}, set[bytes]()

        async def leave(ids: Collection[bytes]) -> Collection[bytes]:
            asked = [by_id[item_id] for item_id in ids]
            return await self._worker(lambda: self._reports.leave(asked, counted))

        def allowed() -> bool:
            return self._reports.allowed().keys() >= {by_id[one].type for one in counted}

        told, records = partial(self._told, result), self._listing.agreed
        outgoing = Outgoing(catalog.topic, (catalog.raw,), items, leave, told, records)
        outcomes = await deliver_while(route, outgoing, allowed, self._worker) or {}
        await self._worker(lambda: self._reports.mark(receipts, outcomes, result))

    async def _erase(self, route: Route, asked: JournaledErasure, result: PassResult) -> None:
        erasures = self._erasures
        await self._worker(self._reports.read_catalogs)
        catalogs = self._reports.catalogs
        prepared = await self._worker(lambda: erasures.prepare(asked, catalogs, result))
        if prepared is None:
            return
        item, catalog = prepared
        counted: set[bytes] = set()

        def may_leave(ids: Collection[bytes]) -> Collection[bytes]:
            going = erasures.leave(asked, counted=bool(counted))
            counted.update(ids if going else ())
            return ids if going else ()

        async def leave(ids: Collection[bytes]) -> Collection[bytes]:
            return await self._worker(lambda: may_leave(ids))

        told, records = partial(self._told, result), self._listing.agreed
        items = ((item.id, item.raw),)
        outgoing = Outgoing(catalog.topic, (catalog.raw,), items, leave, told, records)
        outcomes = await deliver_while(route, outgoing, erasures.allowed, self._worker) or {}
        outcome = outcomes.get(item.id, HELD)
        await self._worker(lambda: erasures.mark(asked, outcome, result))

    def _told(self, result: PassResult, time: int) -> None:
        """Note a relay's time."""
        result.offsets.append(self._clock.now() - time)


def first_leaf(group: BaseExceptionGroup[E]) -> E:
    """Return the first error in nested exception groups."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first

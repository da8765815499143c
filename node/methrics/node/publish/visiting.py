"""Makes one visit for one outbox: reports and erasures take places, answers of earlier visits come.

A visit looks the same whatever is due, also if nothing is. Those that have been due longest take
the places; the others wait for later visits, so a backlog is spread over days. Boxes are stored and
their items postponed before they leave; an item is marked when its answer comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from methrics.node.clock import Clock
from methrics.node.outbox.erasures import JournaledErasure
from methrics.node.outbox.handed import ERASURE, REPORT, HandedBox, HandedBoxes, Place
from methrics.node.outbox.rows import CLOCK_FLOOR, Receipt
from methrics.node.process.worker import Worker
from methrics.node.publish.due_reports import DueReports
from methrics.node.publish.erasure_delivery import ErasureDelivery
from methrics.node.publish.handing import Handing, VisitOutgoing
from methrics.node.publish.leaving import HeldError
from methrics.node.publish.listing import Listing
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import HELD, Outcome, Route
from methrics.node.publish.watching import deliver_while
from methrics.node.relay.visits import VISIT_BOXES
from methrics.schema.catalog.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Load:
    """A report or an erasure that takes a place in a visit. `due`: since when (Unix seconds)."""

    place: Place
    id: bytes
    raw: bytes
    catalog: Catalog
    due: int
    content: Receipt | JournaledErasure


class Visiting:
    """Makes the visits of one outbox. `looks`: whether reports that wait for a record are counted
    also if none is due."""

    def __init__(
        self,
        reports: DueReports,
        erasures: ErasureDelivery,
        handed: HandedBoxes,
        listing: Listing,
        *,
        clock: Clock,
        worker: Worker,
        looks: bool = False,
    ) -> None:
        self._reports = reports
        self._erasures = erasures
        self._handed = handed
        self._listing = listing
        self._clock = clock
        self._worker = worker
        self._looks = looks

    def topic(self) -> str:
        """Return the topic of the outbox, "" if no visit may be made now: no type may be sent over
        this route, and no erasure waits, nothing was ever recorded, or the clock was never set.
        Blocks."""
        if self._clock.now() < CLOCK_FLOOR:
            return ""
        self._reports.read_catalogs()
        topics = sorted(one.topic for one in self._reports.catalogs.values())
        return topics[0] if topics and self._may() else ""

    def _may(self) -> bool:
        return bool(self._reports.allowed()) or bool(self._erasures.waiting())

    async def make(self, route: Route, topic: str, result: PassResult) -> None:
        """Make one visit over `route`."""
        result.visited = False
        held = await self._worker(self._held)
        await self._listing.look(route, topic, self._worker)
        loads = await self._worker(partial(self._loads, result))
        await self._worker(partial(self._reports.count_held, held, result))
        handing = await self._worker(partial(self._handing, loads))
        passing = _Passing(self._reports, self._erasures, loads, self._may)

        async def leave(ids: Collection[bytes]) -> Collection[bytes]:
            return await self._worker(partial(passing.leave, ids))

        def told(time: int) -> None:
            result.offsets.append(self._clock.now() - time)

        catalogs = await self._worker(partial(self._catalogs, loads))
        outgoing = VisitOutgoing(
            topic,
            catalogs,
            tuple((one.id, one.raw) for one in loads),
            leave,
            told,
            self._listing.agreed,
            handing,
        )
        outcomes = await deliver_while(route, outgoing, passing.allowed, self._worker)
        result.visited = outcomes is not None and not handing.failed
        result.again = handing.again
        await self._worker(partial(self._settle, loads, handing, outcomes or {}, result))

    def _held(self) -> list[Receipt]:
        """Return the reports that wait for a record, if they are to be counted although none is
        due."""
        if not self._looks or self._reports.sendable(PassResult()):
            return []
        return self._reports.held()

    def _loads(self, result: PassResult) -> list[Load]:
        """Return what takes the places: what has been due longest."""
        catalogs = self._reports.catalogs
        found = [
            Load(
                Place(REPORT, one.key_index),
                one.id,
                one.raw,
                catalogs[one.catalog],
                one.due,
                one,
            )
            for one in self._reports.listed(result)
        ]
        for asked in self._erasures.due():
            if (prepared := self._erasures.prepare(asked, catalogs, result)) is not None:
                item, catalog = prepared
                place = Place(ERASURE, asked.key_index)
                found.append(Load(place, item.id, item.raw, catalog, asked.due, asked))
        return sorted(found, key=lambda one: one.due)[:VISIT_BOXES]

    def _handing(self, loads: Sequence[Load]) -> Handing:
        now = self._clock.now()

        async def store(boxes: Sequence[HandedBox]) -> None:
            await self._worker(lambda: self._handed.hand(boxes, now))

        return Handing(
            self._handed.all(now),
            {one.id: one.place for one in loads},
            store=store,
            heard_at=self._handed.heard(),
            now=now,
        )

    def _catalogs(self, loads: Sequence[Load]) -> tuple[bytes, ...]:
        """Return the catalogs of what leaves, and of that whose answers may come."""
        known, handed = self._reports.catalogs, self._reports.handed().values()
        numbers = {one.catalog for one in handed} | self._erasures.catalogs()
        found = {one.catalog.raw for one in loads}
        return tuple(sorted(found | {known[n].raw for n in numbers if n in known}))

    def _settle(
        self,
        loads: Sequence[Load],
        handing: Handing,
        outcomes: dict[bytes, Outcome],
        result: PassResult,
    ) -> None:
        """Store what became of the items of this visit and of earlier ones. The boxes are forgotten
        last, so that a crash in between loses no answer that was stored."""
        by_place = {one.place: outcomes.get(one.id, HELD) for one in loads}
        contents = {one.place: one.content for one in loads}
        earlier = handing.outcomes.keys() - contents.keys()
        if earlier:
            reports, erasures = self._reports.handed(), self._erasures.waiting()
            for place in earlier:
                known = reports if place.kind == REPORT else erasures
                if (content := known.get(place.key_index)) is not None:
                    contents[place], by_place[place] = content, handing.outcomes[place]
        for place, content in contents.items():
            if isinstance(content, Receipt):
                self._reports.mark([content], {content.id: by_place[place]}, result)
            else:
                self._erasures.mark(content, by_place[place], result)
        self._handed.note(handing.asked, handing.said(), handing.now)
        if handing.answers:
            self._handed.note_heard(handing.now)
        self._handed.forget(handing.settled())


class _Passing:
    """Decides what may leave at a visit. `may`: whether a visit may be made. Its methods block."""

    def __init__(
        self,
        reports: DueReports,
        erasures: ErasureDelivery,
        loads: Sequence[Load],
        may: Callable[[], bool],
    ) -> None:
        self._reports = reports
        self._erasures = erasures
        self._loads = {one.id: one for one in loads}
        self._may = may
        self._counted: set[bytes] = set()
        self._erasing: set[bytes] = set()

    def leave(self, ids: Collection[bytes]) -> Collection[bytes]:
        """Return the ids of the items that may leave now, and count their attempts. Raises
        HeldError if no visit may be made any more."""
        if not self._may():
            raise HeldError
        contents = [self._loads[item_id].content for item_id in ids]
        reports = [one for one in contents if isinstance(one, Receipt)]
        left = self._reports.leave(reports, self._counted) if reports else set[bytes]()
        for item_id in ids:
            content = self._loads[item_id].content
            if isinstance(content, Receipt):
                continue
            if self._erasures.leave(content, counted=item_id in self._erasing):
                self._erasing.add(item_id)
                left.add(item_id)
        return left

    def allowed(self) -> bool:
        """Whether everything that has left may still be sent, and a visit may still be made."""
        allowed = self._reports.allowed()
        contents = [self._loads[item_id].content for item_id in self._counted]
        types = {one.type for one in contents if isinstance(one, Receipt)}
        if not allowed.keys() >= types or not self._may():
            return False
        return not self._erasing or self._erasures.allowed()

"""The doors of one relay over the swarm: serves exit and entry, as its roles say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import trio

from methrics.node.clock import Clock
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.process.worker import Worker
from methrics.node.relay import doors, visits
from methrics.node.relay.entry import Entry, EntryLimits
from methrics.node.relay.exit import Exit
from methrics.node.relay.intake import Intake, Opened
from methrics.node.relay.pool_shares import Submitter
from methrics.node.relay.record_exchange import records_of
from methrics.node.relay.settings import RelaySettings
from methrics.node.relay.spread_file import SpreadFile
from methrics.node.relay.spreader import Spreader, SpreadLimits
from methrics.node.relay.state_database import MEMORY
from methrics.schema.judging.book import CatalogBook

NO_KEYS: Mapping[int, ExitKey] = {}


@dataclass(frozen=True, slots=True)
class DoorParts:
    """What the doors of a relay need besides the relay.

    `keys()` returns the exit's keys that open boxes now, by their ids. `addresses(exit)` returns
    the addresses in the valid descriptor of an exit, and None if there is none. `descriptors()`
    returns the descriptors to tell others, as many as fit one reply.
    """

    keys: Callable[[], Mapping[int, ExitKey]] = lambda: NO_KEYS
    addresses: Callable[[bytes], Sequence[str] | None] = lambda _: None
    descriptors: Callable[[], Sequence[bytes]] = lambda: ()


class _Library:
    """What the exit tells those who ask in a box."""

    def __init__(self, book: CatalogBook, topics: Sequence[str], parts: DoorParts) -> None:
        self._book = book
        self._topics = frozenset(topics)
        self.descriptors = parts.descriptors

    def records(self, topic: str) -> Sequence[bytes] | None:
        return records_of(self._book, topic) if topic in self._topics else None


class DoorService:
    """Exit and entry of one relay; either is None if the relay does not have that role. An entry
    has a spreader. `spread`: where it keeps boxes; None: in memory."""

    exit: Exit | None = None
    entry: Entry | None = None
    spreader: Spreader | None = None

    def __init__(
        self,
        swarm: Swarm,
        parts: DoorParts,
        settings: RelaySettings,
        *,
        intake: Intake,
        book: CatalogBook,
        clock: Clock,
        rng: Random,
        worker: Worker,
        noted: Callable[[Submitter, Sequence[Opened]], None],
        spread: SpreadFile | None = None,
    ) -> None:
        self._swarm = swarm
        self._intake = intake
        if "exit" in settings.roles:
            self.exit = Exit(
                keys=parts.keys,
                intake=intake,
                library=_Library(book, settings.topics, parts),
                clock=clock,
                worker=worker,
                per_minute=settings.boxes_per_minute,
                listed_per_minute=settings.entry_boxes_per_minute,
                noted=noted,
            )
        if "entry" in settings.roles:
            self.entry = Entry(
                swarm,
                parts,
                rng=rng,
                own=key_of(swarm.peer_id),
                serve=None if self.exit is None else self.exit.serve,
                limits=EntryLimits(per_minute=settings.boxes_per_minute),
            )
            self.spreader = Spreader(
                self.entry.bring,
                spread or SpreadFile(MEMORY),
                clock=clock,
                rng=rng,
                durable=spread is not None,
                limits=SpreadLimits(settings.spread, settings.boxes_per_minute),
            )

    def serve(self) -> None:
        """Answer requests from now on. Raises ConfigError if the swarm serves them already."""
        if self.exit is not None:
            self._swarm.serve(doors.EXIT, self._exit, request_max=doors.EXIT_REQUEST_MAX)
        if self.entry is not None:
            self._swarm.serve(doors.ENTRY, self._entry, request_max=doors.ENTRY_REQUEST_MAX)
        if self.spreader is not None:
            self._swarm.serve(visits.VISIT, self._visit, request_max=visits.REQUEST_SIZE)

    async def run(self) -> None:
        """Bring boxes to exits until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.entry is not None:
                nursery.start_soon(self.entry.run)
            if self.spreader is not None:
                nursery.start_soon(self.spreader.run)
            await trio.sleep_forever()

    async def close(self) -> None:
        """Close what keeps boxes."""
        if self.spreader is not None:
            await self.spreader.close()

    def counts(self) -> dict[str, int]:
        """Return the counts of boxes since the start: `opened` and `unopened` by the exit,
        `forwarded` and `unanswered` by the entry, `spreading` those that it keeps."""
        found: dict[str, int] = {}
        if self.exit is not None:
            found |= {"opened": self.exit.opened, "unopened": self.exit.unopened}
        if self.entry is not None:
            found |= {"forwarded": self.entry.forwarded, "unanswered": self.entry.failed}
        if self.spreader is not None:
            found |= {"spreading": self.spreader.waiting}
        return found

    def submitter(self, peer: PeerId) -> Submitter:
        """Return how a peer is counted."""
        return self._intake.submitter(peer, self._swarm.origin(peer))

    async def _exit(self, peer: PeerId, body: bytes) -> bytes:
        """Answer `/methrics/exit/1`. A request that does not decode gets no reply."""
        boxes = doors.decode_exit_request(body)
        if self.exit is None:
            raise AssertionError("served without the role")
        return doors.encode_reply(await self.exit.serve(self.submitter(peer), boxes))

    async def _entry(self, peer: PeerId, body: bytes) -> bytes:
        """Answer `/methrics/entry/1`. A request that does not decode gets no reply."""
        asked = doors.decode_entry_request(body)
        if self.entry is None:
            raise AssertionError("served without the role")
        reply = await self.entry.forward(self.submitter(peer), asked.exit, asked.boxes)
        return doors.encode_reply(reply)

    async def _visit(self, peer: PeerId, body: bytes) -> bytes:
        """Answer `/methrics/visit/1`. A request that does not decode gets no reply."""
        asked = visits.decode_visit_request(body)
        if self.spreader is None:
            raise AssertionError("served without the role")
        return visits.encode_visit_reply(await self.spreader.visit(self.submitter(peer), asked))

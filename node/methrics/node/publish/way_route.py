"""The route over two relays: the entry sees this machine's address, the exit what a box contains.

Each pass is one visit to one entry, the kept one (`entries`). It hands over a constant number of
boxes of a constant size, each for an exit drawn for it alone (`ways`), in random order. Reports and
erasures are in some of them; the others are empty. The entry spreads the boxes over hours, so most
answers come at later visits (`handing`). Only what two relays show alike is used of what the entry
says about others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from methrics.node.clock import Clock
from methrics.node.ohttp import inner
from methrics.node.process.worker import Worker
from methrics.node.publish.doors.interface import Door
from methrics.node.publish.entries import (
    KeptEntries,
    KeptEntry,
    Offer,
    next_entry,
    note_answer,
    note_found,
    note_silence,
)
from methrics.node.publish.found_hops import hops_of
from methrics.node.publish.handing import LACKING, handing_of
from methrics.node.publish.handover import Handover
from methrics.node.publish.routes import UNREACHABLE, Fate, Findings, Outcome, Outgoing
from methrics.node.publish.standing import heads_of
from methrics.node.publish.visit import Visit
from methrics.node.publish.ways import WORDS, KnownRelay, Named, spread
from methrics.schema.errors import ConfigError, RemoteError
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

T = TypeVar("T")

RECORDS_ASKED = 2
"""Exits that are asked for the records of a topic."""

NOT_CARRIED = "no relay that it knows carries this app"
"""Says that an entry answers, but knows no exit of the namespace's topic."""


class Keep(Protocol):
    """Where the entries are kept; its method blocks."""

    def update(self, change: Callable[[KeptEntries], tuple[KeptEntries, T]]) -> T:
        """Replace what is kept by the first value that `change` returns for it; return the
        second."""
        ...


class WayRoute:
    """Sends every item in a box of its own through the kept entry to an exit, at one visit.

    `open_door` returns the door of an entry. `offer`: the addresses from which an entry may be
    drawn. `findings` is filled while it works.
    """

    name = "relay"

    def __init__(
        self,
        open_door: Callable[[KeptEntry], Door],
        offer: Offer,
        keep: Keep,
        *,
        clock: Clock,
        rng: random.Random,
        worker: Worker,
        findings: Findings | None = None,
    ) -> None:
        if not offer.addresses:
            raise ConfigError(
                "no-relay", "no relay is known", "give one with --relay, or METHRICS_RELAYS"
            )
        self.findings = Findings() if findings is None else findings
        self._open_door = open_door
        self._offer = offer
        self._keep = keep
        self._clock = clock
        self._rng = rng
        self._worker = worker
        self._visit: Visit | None = None
        self._entered = False

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """See `Route`. Two exits are asked, of two operators if there are. The only exit of a topic
        gets no record: it could recognise the one that it made for this person."""
        visit, pool = await self._pool(topic)
        if visit is None:
            return []
        held: list[tuple[KnownRelay, tuple[bytes, ...]]] = []
        try:
            for exit_ in spread(pool, self._rng):
                asked = await visit.ask(exit_, inner.RECORDS, topic.encode())
                if asked.answer is not None and asked.answer.reason is Reason.OK:
                    held.append((exit_, asked.answer.items))
                if len(held) == RECORDS_ASKED:
                    break
            if len(pool) > 1:
                await self._level(visit, held, topic, known)
        except RemoteError as error:
            self.findings.unusable[visit.door.addr] = error.message
        return [raws for _, raws in held]

    async def _level(
        self,
        visit: Visit,
        held: Sequence[tuple[KnownRelay, tuple[bytes, ...]]],
        topic: str,
        known: Sequence[bytes],
    ) -> None:
        """Hand each exit what it lacks of the newest record."""
        told = [raw for _, raws in held for raw in raws]
        newest = heads_of([*known, *told], parse_topic(topic)[1])
        for exit_, raws in held:
            for raw in newest:
                if raw not in raws:
                    await visit.ask(exit_, inner.BOX, raw)

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """See `Route`. Makes one visit, with at most `VISIT_BOXES` items; it is the same for those
        that see it if there are none. What the entry tells about earlier boxes is put into
        `VisitOutgoing.handing`."""
        handing = handing_of(outgoing, self._clock.now())
        outcomes = {item_id: Outcome(Fate.RETRY, UNREACHABLE) for item_id, _ in outgoing.items}
        visit, pool = await self._pool(outgoing.topic)
        if visit is None:
            handing.failed = True
            return outcomes
        outgoing.told(visit.time)
        handover = Handover(visit, outgoing, handing, self._rng)
        try:
            outcomes |= await handover.make(pool)
            # Only an entry that spreads nothing brings such an answer within the same visit.
            again = tuple(one for one in outgoing.items if outcomes[one[0]].reason in LACKING)
            if again:
                handover = Handover(visit, replace(outgoing, items=again), handing, self._rng)
                outcomes |= await handover.make(pool)
            silent = handing.silent(visit.name)
        except RemoteError as error:
            self.findings.unusable[visit.door.addr] = error.message
            outcomes |= handover.unanswered
            handing.failed = silent = True
        await self._changed(partial(self._note, visit, silent))
        for time in visit.times.values():
            outgoing.told(time)
        return outcomes

    async def _pool(self, topic: str) -> tuple[Visit | None, Sequence[KnownRelay]]:
        """Return the visit of this pass and the exits of the topic; no visit if no entry can be
        used, or none of the exits that it knows carries the topic."""
        if not self._entered:
            self._entered = True
            self._visit = await self._enter()
        if self._visit is None:
            return None, ()
        found = self._visit.exits(topic)
        self.findings.note, self.findings.sources = WORDS[found.gap], len(found.relays)
        if found.relays:
            self.findings.hops = hops_of(self._visit.door.addr, self._visit.known, found)
        if not found.relays:
            self.findings.unusable[self._visit.door.addr] = NOT_CARRIED
            return None, ()
        return self._visit, found.relays

    async def _enter(self) -> Visit | None:
        """Use the kept entry, or another one if it may be replaced; return None if none answers."""
        tried: list[str] = []
        while (entry := await self._changed(partial(self._next, tried))) is not None:
            tried.append(entry.address)
            try:
                visit = self._visit_of(entry)
                await visit.enter(self._clock.now(), self._rng)
            except RemoteError as error:
                self.findings.unusable[entry.address] = error.message
                await self._changed(partial(self._silent, entry))
                continue
            if not entry.silent:
                # One that brought no answers at earlier visits has to make a visit first.
                await self._changed(partial(self._note, visit, False))
            return visit
        return None

    def _visit_of(self, entry: KeptEntry) -> Visit:
        named = Named(self._offer.user, (self._offer.app, entry.company))
        return Visit(self._open_door(entry), named, self.findings.unusable)

    async def _changed(self, change: Callable[[KeptEntries], tuple[KeptEntries, T]]) -> T:
        return await self._worker(partial(self._keep.update, change))

    def _next(
        self, tried: Sequence[str], kept: KeptEntries
    ) -> tuple[KeptEntries, KeptEntry | None]:
        offer = replace(self._offer, found=kept.found)
        return next_entry(kept, offer, tried, self._clock.now(), self._rng)

    def _silent(self, entry: KeptEntry, kept: KeptEntries) -> tuple[KeptEntries, None]:
        return note_silence(kept, entry.address, self._clock.now()), None

    def _note(self, visit: Visit, silent: bool, kept: KeptEntries) -> tuple[KeptEntries, None]:
        """Note whether the entry serves, and which other ones are known now."""
        address = visit.door.addr
        if silent:
            return note_silence(kept, address, self._clock.now()), None
        kept = note_answer(kept, address)
        entries = [one.addresses[0] for one in visit.known if "entry" in one.roles]
        return note_found(kept, entries, self._rng), None

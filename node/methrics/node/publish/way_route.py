"""The route over two relays: the entry sees this machine's address, the exit what a box contains.

Each pass uses one entry, the kept one (`entries`). Every report or erasure is one box of a constant
size for an exit drawn for it alone (`ways`), and boxes leave in random order, so that no exit sees
which came together. Another exit is tried, through the same entry, only if the first gave no answer
or refused. Only what two relays show alike is used of what the entry says about others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import trio

from methrics.node.clock import Clock
from methrics.node.ohttp import inner
from methrics.node.ohttp.inner import Answer
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
from methrics.node.publish.leaving import HeldError, leaving
from methrics.node.publish.routes import (
    BY_CLOCK,
    HELD,
    UNREACHABLE,
    Fate,
    Findings,
    Outcome,
    Outgoing,
    merge,
    outcome_of,
)
from methrics.node.publish.standing import heads_of
from methrics.node.publish.visit import Asked, Visit
from methrics.node.publish.ways import WORDS, KnownRelay, Named, draw_exit, spread
from methrics.schema.errors import ConfigError, RemoteError
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

T = TypeVar("T")

Pair = tuple[bytes, bytes]
"""The id and the exact bytes of an item."""

EXITS_TRIED = 3
"""Most exits that are tried for one box in one pass: each that answers learns its content."""

RECORDS_ASKED = 2
"""Exits that are asked for the records of a topic."""

BOXES_AT_ONCE = 4
"""Boxes that wait for an answer at the same time, so that a batch does not take minutes."""

NOT_CARRIED = "no relay that it knows carries this app"
"""Says that an entry answers, but knows no exit of the namespace's topic."""

_ELSEWHERE = BY_CLOCK | {Reason.QUOTA, Reason.FOREIGN}
"""Reasons of a refusal for which another exit is tried."""


class Keep(Protocol):
    """Where the entries are kept; its method blocks."""

    def update(self, change: Callable[[KeptEntries], tuple[KeptEntries, T]]) -> T:
        """Replace what is kept by the first value that `change` returns for it; return the
        second."""
        ...


class WayRoute:
    """Sends every item in a box of its own through the kept entry to an exit.

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
        """See `Route`. An item for which no exit gave an answer is tried again in a later pass."""
        outcomes = {item_id: Outcome(Fate.RETRY, UNREACHABLE) for item_id, _ in outgoing.items}
        visit, pool = await self._pool(outgoing.topic)
        if visit is None:
            return outcomes
        outgoing.told(visit.time)
        waiting = self._rng.sample(outgoing.items, len(outgoing.items))

        async def work() -> None:
            while waiting:
                item = waiting.pop()
                outcomes[item[0]] = await self._deliver(visit, pool, item, outgoing)

        async with trio.open_nursery() as nursery:
            for _ in range(min(BOXES_AT_ONCE, len(waiting))):
                nursery.start_soon(work)
        for time in visit.times.values():
            outgoing.told(time)
        return outcomes

    async def _deliver(
        self, visit: Visit, pool: Sequence[KnownRelay], item: Pair, outgoing: Outgoing
    ) -> Outcome:
        """Deliver one item: to the first drawn exit, or to another one if that one gave no answer
        or refused."""
        outcomes, without, again = list[Outcome](), set[bytes](), 0
        try:
            while len(without) < EXITS_TRIED:
                exit_ = draw_exit(pool, self._rng, visit.dead | without)
                if exit_ is None:
                    break
                without.add(exit_.id)
                asked = await self._hand(visit, exit_, item, outgoing)
                again = max(again, asked.again)
                if asked.answer is None:
                    continue
                found = _outcome(asked.answer)
                outcomes.append(found)
                if found.fate is not Fate.REFUSED and asked.answer.reason not in _ELSEWHERE:
                    break
        except HeldError:
            return merge(outcomes) if outcomes else HELD
        except RemoteError as error:
            self.findings.unusable[visit.door.addr] = error.message
        return merge(outcomes) if outcomes else Outcome(Fate.RETRY, UNREACHABLE, again)

    async def _hand(self, visit: Visit, exit_: KnownRelay, item: Pair, outgoing: Outgoing) -> Asked:
        """Hand an item to an exit, and the record or the catalog if it lacks them."""
        item_id, raw = item

        async def leave() -> None:
            await leaving({item_id: raw}, outgoing.leave)

        asked = await visit.ask(exit_, inner.BOX, raw, leave)
        for reason, notices in (
            (Reason.UNLISTED, outgoing.records),
            (Reason.UNKNOWN_CATALOG, (*outgoing.records, outgoing.catalog)),
        ):
            if asked.answer is not None and asked.answer.reason is reason and notices:
                for notice in notices:
                    await visit.ask(exit_, inner.BOX, notice)
                asked = await visit.ask(exit_, inner.BOX, raw, leave)
        return asked

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
            await self._changed(partial(self._answered, entry, visit))
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

    def _answered(
        self, entry: KeptEntry, visit: Visit, kept: KeptEntries
    ) -> tuple[KeptEntries, None]:
        kept = note_answer(kept, entry.address)
        entries = [one.addresses[0] for one in visit.known if "entry" in one.roles]
        return note_found(kept, entries, self._rng), None


def _outcome(answer: Answer) -> Outcome:
    """Return the outcome that follows from an exit's answer to an item."""
    again = (answer.again or 0) if answer.reason is Reason.QUOTA else 0
    return replace(outcome_of(answer.reason), again=again)

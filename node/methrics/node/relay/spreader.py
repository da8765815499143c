"""Spreads the boxes of visits over hours, and keeps the answers of the exits until apps ask.

An exit that got the boxes of one visit together could tell that they come from one machine. So the
entry draws a moment for each box, and brings those of all apps that are due to one exit together,
in random order. Until then the boxes are on disk (`spread_file`); a relay that is killed goes on
with them. An exit that gives no answer is tried again, until the box is `BOX_DAYS` old. The answer
of an exit is sealed, too; the app asks for it by the hash of its box at a later visit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

import trio

from methrics.node.clock import Clock
from methrics.node.process.worker import Threads, Worker, inline
from methrics.node.relay.doors import BOX_ANSWER_SIZE, BOXES_MAX, DoorReply
from methrics.node.relay.group_commit import GroupCommit
from methrics.node.relay.limiter import Limiter
from methrics.node.relay.pool_shares import PoolShares, Submitter
from methrics.node.relay.spread_file import (
    ANSWER_DAYS,
    BOX_DAYS,
    Spread,
    SpreadChanges,
    SpreadFile,
    Told,
)
from methrics.node.relay.upkeep import Upkeep
from methrics.node.relay.visits import VISIT_BOXES, VisitReply, VisitRequest, handle_of
from methrics.schema.errors import StoreError
from methrics.schema.wire.limits import DAY

T = TypeVar("T")

Bring = Callable[[bytes, Sequence[bytes]], Awaitable[DoorReply]]
"""Brings boxes to the exit with this id; returns its answers, or none and when to come back."""

ASKED_DAYS = 1
"""UTC days for which an answer is kept after it was told: the reply may have been lost."""

TICK = 60.0
"""Boxes leave at most so many seconds after their moment, those of all apps together."""

RETRY_LEAST = 600
"""The moment of a box whose exit gave no answer is drawn within this many seconds, or within the
time over which boxes are spread, if that is longer."""

AT_ONCE = 8 * BOXES_MAX
"""Most boxes that are read from the disk at once: 700 KB."""

FAR = 3600.0
"""Seconds until the next look if nothing waits."""


@dataclass(frozen=True, slots=True)
class SpreadLimits:
    """The limits of a spreader."""

    spread: float = 6 * 3600.0
    """Seconds over which the boxes of a visit are spread. 0: they are brought at once, and the
    reply to the visit waits for the answers."""
    per_minute: int = 6000
    """Most boxes per minute from one network (an IPv4 /24 or an IPv6 /48)."""
    boxes: int = 200_000
    """Most boxes that wait, 300 MB of disk. One network gets an eighth within the time over which
    boxes are spread, and boxes whose exits give no answer get half."""
    answers: int = 1_000_000
    """Most answers that are kept, 250 MB of disk. A box whose answer has no room is brought again
    by its app."""
    ask_time: float = 20.0
    """Most seconds for which a reply waits for answers, if nothing is spread."""
    again: int = 600
    """Seconds after which an app may come again if there is no room."""


class Spreader:
    """The boxes and answers of one entry. `run` must run meanwhile.

    `bring` takes at most a bounded time, and at most `doors.BOXES_MAX` boxes. `file`: None to keep
    everything in memory. Raises StoreError if it cannot be read.
    """

    def __init__(
        self,
        bring: Bring,
        file: SpreadFile,
        *,
        clock: Clock,
        rng: Random,
        durable: bool = True,
        worker: Worker | None = None,
        limits: SpreadLimits | None = None,
    ) -> None:
        self.limits = limits = limits or SpreadLimits()
        self.refused = 0
        """Boxes that were not taken, since the start."""
        self.lost = 0
        """Boxes that were dropped since the start because their exits gave no answer."""
        self._bring = bring
        self._file = file
        self._clock = clock
        self._rng = rng
        self._worker: Worker = (worker or Threads(1)) if durable else inline
        self._limiter = Limiter(per_minute=limits.per_minute)
        self._shares = PoolShares(limits.boxes, period=max(limits.spread, RETRY_LEAST))
        self._commits = GroupCommit(self._write)
        self._boxes, self._answers = file.counts()
        self._going: set[bytes] = set()
        """Handles of boxes that are on their way."""
        self._failing: set[bytes] = set()
        """Handles of boxes that wait because their exits gave no answer, as far as was seen since
        the start. Anyone can run exits that never answer, so such boxes must not fill the disk."""
        self._untried: set[bytes] = set()
        """Handles of boxes for whose first answer a reply waits."""
        self._wake = trio.Event()
        self._answered = trio.Event()
        self._upkeep = Upkeep(self._remove_traces, "the boxes of apps cannot be kept")

    @property
    def waiting(self) -> int:
        """Boxes that wait to be brought."""
        return self._boxes

    async def visit(self, who: Submitter, request: VisitRequest) -> VisitReply:
        """Take the boxes of a visit, and tell the answers that are there.

        The reply comes after the boxes are on disk; or it says when to come again, and none was
        taken."""
        again = await self._take(who, request)
        if again is None and not self.limits.spread:
            await self._awaited(request)
        try:
            answers = await self._told(request.asked)
        except StoreError as error:
            self._upkeep.say(error)
            answers, again = [b""] * len(request.asked), again or self.limits.again
        return VisitReply(tuple(answers), self._clock.now(), again)

    async def _take(self, who: Submitter, request: VisitRequest) -> int | None:
        """Keep the boxes; return None, or when to come again if they could not be kept."""
        again = self._admitted(who)
        if again is not None:
            self.refused += VISIT_BOXES
            return again
        now = self._clock.now()
        until = now // DAY + BOX_DAYS
        puts = [
            Spread(handle_of(one.box), one.exit, one.box, self._moment(now), until)
            for one in request.boxes
        ]
        try:
            known = await self._read(partial(self._file.known, [one.handle for one in puts]))
            fresh = [one for one in puts if one.handle not in known]
            if not self.limits.spread:
                self._untried.update(one.handle for one in fresh)
            await self._commits.commit(SpreadChanges(puts=fresh))
        except StoreError as error:
            self._upkeep.say(error)
            self.refused += VISIT_BOXES
            self._untried.difference_update(one.handle for one in puts)
            return self._later()
        self._wake.set()
        return None

    def _admitted(self, who: Submitter) -> int | None:
        """Count a visit against the limits; return None, or when to come again."""
        now = trio.current_time()
        allowed = self._limiter.take_all(who.origin or who.name, VISIT_BOXES, now)
        if not allowed.items:
            return max(allowed.again, 1)
        full = self._boxes + VISIT_BOXES > self.limits.boxes
        until = now + max(self.limits.spread, RETRY_LEAST)
        network = Submitter(who.name, who.origin or who.name)
        if full or not self._shares.take(network, VISIT_BOXES, until, now):
            return self._later()
        return None

    def _moment(self, now: int) -> int:
        return now + int(self._rng.random() * self.limits.spread)

    def _later(self) -> int:
        return int(self.limits.again * (1 + self._rng.random() / 4))

    async def _told(self, asked: Sequence[bytes]) -> list[bytes]:
        """Return the answers that are there. They are kept a little longer."""
        answers = await self._read(partial(self._file.answers, asked))
        told = [handle for handle, answer in zip(asked, answers, strict=True) if answer]
        if told:
            until = self._clock.now() // DAY + ASKED_DAYS
            await self._commits.commit(SpreadChanges(asked=dict.fromkeys(told, until)))
        return answers

    async def _awaited(self, request: VisitRequest) -> None:
        """Wait until the exits of the boxes were asked once, or time is up."""
        own = {handle_of(one.box) for one in request.boxes}
        with trio.move_on_after(self.limits.ask_time):
            while own & self._untried:
                await self._answered.wait()
        self._untried -= own

    async def run(self) -> None:
        """Bring boxes to their exits, and remove traces, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upkeep.run)
            while True:
                self._wake = trio.Event()
                try:
                    while await self._bring_due(nursery):
                        await self._answered.wait()
                    wait = await self._wait()
                except StoreError as error:
                    self._upkeep.say(error)
                    wait = TICK
                with trio.move_on_after(wait):
                    await self._wake.wait()
                    if self.limits.spread:
                        await trio.sleep(min(wait, TICK))

    async def _wait(self) -> float:
        """Return the seconds until the next box leaves."""
        leaves = await self._read(partial(self._file.next_leaving, frozenset(self._going)))
        if leaves is None:
            return FAR
        least = TICK if self.limits.spread else 0.0
        return min(FAR, max(least, leaves - self._clock.now()))

    async def _bring_due(self, nursery: trio.Nursery) -> bool:
        """Begin to bring the boxes that are due, those of one exit in as few requests as fit.
        Return whether there are more than may be on their way at once."""
        now = self._clock.now()
        going = frozenset(self._going)
        room = AT_ONCE - len(going)
        due = await self._read(partial(self._file.due, now, room, going))
        by_exit: dict[bytes, list[Spread]] = defaultdict(list)
        for one in self._rng.sample(due, len(due)):
            by_exit[one.exit].append(one)
        for exit_id, boxes in by_exit.items():
            for at in range(0, len(boxes), BOXES_MAX):
                part = boxes[at : at + BOXES_MAX]
                self._going.update(one.handle for one in part)
                nursery.start_soon(self._bring_part, exit_id, part)
        return len(due) == room

    async def _bring_part(self, exit_id: bytes, part: Sequence[Spread]) -> None:
        """Bring boxes to one exit, and keep its answers. Without answers, they wait again."""
        reply = await self._bring(exit_id, [one.box for one in part])
        now = self._clock.now()
        if reply.answers:
            changes = self._answers_of(part, reply.answers, now // DAY)
        else:
            changes = self._waiting_again(part, now, reply.again or 0)
        try:
            await self._commits.commit(changes)
        except StoreError:
            # They are brought again; the exit knows them, and answers again.
            await trio.sleep(TICK)
        done = {one.handle for one in part}
        self._going -= done
        self._untried -= done
        self._answered.set()
        self._answered = trio.Event()
        self._wake.set()

    def _answers_of(
        self, part: Sequence[Spread], answers: Sequence[bytes], day: int
    ) -> SpreadChanges:
        """Return what changes once boxes were answered. An answer of another size says that the box
        did not open; nobody else may learn that from its size, so it is as if there were none."""
        told = [
            Told(one.handle, answer, day + ANSWER_DAYS)
            for one, answer in zip(part, answers, strict=True)
            if len(answer) == BOX_ANSWER_SIZE
        ]
        self._failing.difference_update(one.handle for one in part)
        room = max(0, self.limits.answers - self._answers)
        return SpreadChanges(drops=[one.handle for one in part], told=told[:room])

    def _waiting_again(self, part: Sequence[Spread], now: int, again: int) -> SpreadChanges:
        """Return new moments for boxes whose exit gave no answer; drop those that are too old, or
        for which there is no room."""
        span = max(self.limits.spread, RETRY_LEAST)
        changes = SpreadChanges()
        for one in part:
            known = one.handle in self._failing
            room = known or len(self._failing) < self.limits.boxes // 2
            if room and one.until >= now // DAY:
                self._failing.add(one.handle)
                moment = now + min(again, DAY) + 1 + int(self._rng.random() * span)
                changes.moved[one.handle] = moment
            else:
                changes.drops.append(one.handle)
        self.lost += len(changes.drops)
        self._failing.difference_update(changes.drops)
        return changes

    async def _read(self, read: Callable[[], T]) -> T:
        async with self._commits.using:
            return await self._worker(read)

    async def _write(self, asked: Sequence[SpreadChanges]) -> None:
        try:
            boxes, answers = await self._worker(partial(self._file.write, asked))
        except StoreError as error:
            self._upkeep.say(error)
            raise
        self._boxes += boxes
        self._answers += answers
        self._upkeep.untidy = True

    async def tidy(self) -> None:
        """Remove what is too old, and the traces of the order of arrival. A failure is logged."""
        await self._upkeep.tidy()

    async def _remove_traces(self) -> None:
        async with self._commits.using:
            await self._worker(partial(self._file.tidy, self._clock.now()))
            self._boxes, self._answers = await self._worker(self._file.counts)
            if not self._boxes:
                self._failing.clear()

    async def close(self) -> None:
        """Remove traces, and close the file."""
        with trio.CancelScope(shield=True):
            await self.tidy()
            async with self._commits.using:
                await self._worker(self._file.close)

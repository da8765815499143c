"""The entry: hands the boxes of apps to exits, and the exits' answers back.

The entry knows who brings a box, and cannot open it. So that the exit learns nothing of who brings
it, the boxes that wait for the same exit at the same moment travel in one request, in random order.
The entry keeps nothing: while a request is answered, its boxes are in memory; then they are gone.

It hands boxes only to exits whose descriptor it has checked (or to itself, if it is the exit), only
by the exit's own protocol, and only at addresses that the swarm may dial. So nobody can use it to
reach anything else. Boxes have one of a few sizes; others would stand out, and are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol

import trio

from methrics.node.network.peer_ids import peer_id_of
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp.envelope import BOX_OVERHEAD
from methrics.node.ohttp.inner import STEP
from methrics.node.relay import doors
from methrics.node.relay.doors import BOXES_MAX, BOXES_SIZE, DoorReply
from methrics.node.relay.limiter import Limiter
from methrics.node.relay.pool_shares import Submitter
from methrics.node.shares import Shares
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.wire.verdict import Reason

Serve = Callable[[Submitter, Sequence[bytes]], Awaitable[DoorReply]]
"""What the relay's own exit does with boxes."""


KEPT = Submitter(b"kept", b"kept")
"""Who brings boxes that this relay has kept: nobody knows any more."""


class Exits(Protocol):
    """Which exits there are: the relay's directory."""

    def addresses(self, exit_id: bytes) -> Sequence[str] | None:
        """Return the addresses in the valid descriptor of an exit; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class EntryLimits:
    """The limits of an entry."""

    per_minute: int = 6000
    """Most boxes per minute from one network (an IPv4 /24 or an IPv6 /48). An honest app brings a
    few per hour, and hundreds may share one address."""
    gather: float = 0.05
    """Most seconds for which boxes wait for others to the same exit."""
    waiting_bytes: int = 16 * 1024 * 1024
    """Most bytes of boxes that wait for an answer, of which one network gets an eighth."""
    at_once: int = 3
    """Most requests to one exit at once; an exit answers four."""
    dials: int = 32
    """Most exits that are dialled at once. Those that are connected wait for none of them."""
    ask_time: float = 20.0
    """Most seconds for one exit to be reached and to answer, so that the app gets an answer within
    the time of its own request."""
    pause: float = 10.0
    """Seconds for which an exit that gave no answer is not asked again."""
    again: int = 60
    """Seconds after which an app may try an exit again that could not be reached."""


class _Waiting(NamedTuple):
    """The boxes of one app, and where its answers go."""

    boxes: Sequence[bytes]
    slot: list[DoorReply]
    answered: trio.Event


@dataclass(slots=True, eq=False)
class _Gathering:
    """Boxes for one exit that leave in one request."""

    waiting: list[_Waiting] = field(default_factory=list)
    full: trio.Event = field(default_factory=trio.Event)

    def fits(self, boxes: Sequence[bytes]) -> bool:
        """Whether further boxes have room in the request."""
        together = [box for one in self.waiting for box in one.boxes]
        size = doors.size_of(together) + doors.size_of(boxes)
        return len(together) + len(boxes) <= BOXES_MAX and size <= BOXES_SIZE

    @property
    def count(self) -> int:
        """Number of boxes."""
        return sum(len(one.boxes) for one in self.waiting)


class Entry:
    """Forwards boxes. `run` must run meanwhile. `own`: the id of this relay, if it is an exit;
    `serve` then takes its boxes."""

    def __init__(
        self,
        swarm: Swarm,
        exits: Exits,
        *,
        rng: Random,
        own: bytes | None = None,
        serve: Serve | None = None,
        limits: EntryLimits | None = None,
    ) -> None:
        self.forwarded = 0
        """Boxes that were handed to another relay, and answered, since the start."""
        self.failed = 0
        """Boxes that an exit did not answer."""
        self._swarm = swarm
        self._exits = exits
        self._rng = rng
        self._own = own
        self._serve = serve
        self._limits = limits = limits or EntryLimits()
        self._limiter = Limiter(per_minute=limits.per_minute)
        self._room: Shares[bytes] = Shares(
            limits.waiting_bytes, per_holder=limits.waiting_bytes, evicts=False
        )
        self._gatherings: dict[bytes, _Gathering] = {}
        self._slots: dict[bytes, trio.CapacityLimiter] = {}
        self._dials = trio.CapacityLimiter(limits.dials)
        self._paused: dict[bytes, float] = {}
        self._send, self._receive = trio.open_memory_channel[tuple[bytes, _Gathering]](0)

    async def run(self) -> None:
        """Bring gathered boxes to their exits until cancelled."""
        async with trio.open_nursery() as nursery:
            async for exit_id, gathering in self._receive:
                nursery.start_soon(self._bring, exit_id, gathering)

    async def forward(self, who: Submitter, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        """Hand the boxes to the exit; return its answers, or none and when to come back.

        Raises RefusedError `malformed` for a box of a length that no honest app makes.
        """
        if any(len(box) <= BOX_OVERHEAD or (len(box) - BOX_OVERHEAD) % STEP for box in boxes):
            raise RefusedError(Reason.MALFORMED, "a box has a whole number of steps")
        if exit_id == self._own and self._serve is not None:
            return await self._serve(who, boxes)
        name, now = who.origin or who.name, trio.current_time()
        allowed = self._limiter.take_all(name, len(boxes), now)
        if not allowed.items:
            await trio.lowlevel.checkpoint()
            return DoorReply(again=max(allowed.again, 1))
        if self._is_paused(exit_id, now) or self._exits.addresses(exit_id) is None:
            await trio.lowlevel.checkpoint()
            return self._later()
        with self._holding(name, doors.size_of(boxes), now) as granted:
            return await self._gathered(exit_id, boxes) if granted else self._later()

    async def bring(self, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        """Hand boxes that this relay has kept to the exit; return its answers, or none and when to
        come back. Their apps were counted when they brought them."""
        if exit_id == self._own and self._serve is not None:
            return await self._serve(KEPT, boxes)
        if self._is_paused(exit_id, trio.current_time()) or not self._exits.addresses(exit_id):
            await trio.lowlevel.checkpoint()
            return self._later()
        return await self._gathered(exit_id, boxes)

    @contextlib.contextmanager
    def _holding(self, name: bytes, size: int, now: float) -> Iterator[bool]:
        """Hold room for boxes while they wait; False if this network has too much of it."""
        granted = self._room.take(name, name, now, size).granted
        try:
            yield granted
        finally:
            if granted:
                self._room.give(name, size)

    async def _gathered(self, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        one = _Waiting(boxes, [], trio.Event())
        gathering = self._gatherings.get(exit_id)
        if gathering is None or not gathering.fits(boxes):
            if gathering is not None:
                gathering.full.set()
            gathering = self._gatherings[exit_id] = _Gathering()
            gathering.waiting.append(one)
            await self._send.send((exit_id, gathering))
        else:
            gathering.waiting.append(one)
        if gathering.count == BOXES_MAX:
            gathering.full.set()
        with trio.move_on_after(self._limits.ask_time + self._limits.gather):
            await one.answered.wait()
        return one.slot[0] if one.slot else self._later()

    async def _bring(self, exit_id: bytes, gathering: _Gathering) -> None:
        """Wait for further boxes, then bring all to the exit, and each app its answers."""
        with trio.move_on_after(self._limits.gather):
            await gathering.full.wait()
        if self._gatherings.get(exit_id) is gathering:
            del self._gatherings[exit_id]
        with trio.move_on_after(self._limits.ask_time):
            await self._exchange(exit_id, gathering.waiting)
        for one in gathering.waiting:
            if not one.slot:
                self.failed += len(one.boxes)
                self._paused[exit_id] = trio.current_time() + self._limits.pause
            one.answered.set()

    async def _exchange(self, exit_id: bytes, waiting: Sequence[_Waiting]) -> None:
        boxes = [box for one in waiting for box in one.boxes]
        order = list(range(len(boxes)))
        self._rng.shuffle(order)  # so that the exit cannot tell which come from one app
        slots = self._slots.setdefault(exit_id, trio.CapacityLimiter(self._limits.at_once))
        try:
            async with slots:
                reply = await self._ask(exit_id, [boxes[at] for at in order])
        except (UnreachableError, RefusedError):
            return
        finally:
            if not slots.borrowed_tokens and not slots.statistics().tasks_waiting:
                self._slots.pop(exit_id, None)
        if not reply.answers:
            for one in waiting:
                one.slot.append(reply)
            return
        self.forwarded += len(boxes)
        placed = dict(zip(order, reply.answers, strict=True))
        answers = iter([placed[at] for at in range(len(boxes))])
        for one in waiting:
            mine = tuple(next(answers) for _ in one.boxes)
            one.slot.append(DoorReply(mine, reply.again))

    async def _ask(self, exit_id: bytes, boxes: Sequence[bytes]) -> DoorReply:
        """Ask an exit. Raises UnreachableError or RefusedError if it gives no reply."""
        body = doors.encode_exit_request(boxes)
        try:
            reply = await self._request(exit_id, body)
        except UnreachableError as error:
            if error.code != "not-connected":
                raise
            async with self._dials:
                if self._is_paused(exit_id, trio.current_time()):
                    raise  # another request has just dialled it in vain
                addrs = self._exits.addresses(exit_id) or ()
                await self._swarm.connect(peer_id_of(exit_id), addrs)
            reply = await self._request(exit_id, body)
        return doors.decode_reply(reply, boxes=len(boxes))

    async def _request(self, exit_id: bytes, body: bytes) -> bytes:
        return await self._swarm.request(
            peer_id_of(exit_id),
            doors.EXIT,
            body,
            reply_max=doors.REPLY_MAX,
            timeout=self._limits.ask_time,
        )

    def _is_paused(self, exit_id: bytes, now: float) -> bool:
        for one in [one for one, until in self._paused.items() if until <= now]:
            del self._paused[one]
        return exit_id in self._paused

    def _later(self) -> DoorReply:
        return DoorReply(again=int(self._limits.again * (1 + self._rng.random() / 4)))

"""Runs one session: asks a peer for what its set has more, and hands it on to be judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from methrics.aggregate.reconcile.answer import BUSY, LIFE_MAX, OpenedSet, OpenSet, SetBusy
from methrics.aggregate.reconcile.item_set import set_digest
from methrics.aggregate.reconcile.tree import Ask, Pull, Step, Steps, Take
from methrics.aggregate.reconcile.wire import (
    PROTOCOL,
    REPLY_MAX,
    SALT_SIZE,
    DaySum,
    Open,
    Opened,
    OtherShard,
    PeerFault,
    SessionEnded,
    Which,
    busy_seconds,
    encode_request,
    read_opened,
)
from methrics.node.clock import Entropy
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import StoreError, UnreachableError
from methrics.schema.wire.shard import WHOLE, Shard

REPLY_TIME = 60.0
"""Seconds within which a peer must reply. It reads a day of its set for some replies."""

WAIT_MAX = 45
"""Seconds for which a session waits for a busy peer; it would be over after a minute."""

WAITS_MAX = 3
"""How often a session waits for a busy peer without another reply between."""

PATIENCE = 120.0
"""Seconds for which a session goes on however little it brings."""

ITEMS_LEAST = 50
"""Items per second that it must bring afterwards: other peers wait for its end. So a peer cannot
keep this side for longer than honest ones need."""

TIME_MAX = LIFE_MAX + REPLY_TIME
"""Seconds after which a session ends in any case: an answerer has ended it by then."""

JUDGED_AT_ONCE = 8
"""Bundles that are judged at the same time, or wait for it, before more are fetched."""

DISPUTED = 7
"""Days after which a day is compared again of which nothing could be taken."""

DISPUTES_MAX = 65_536
"""Most days that are remembered because nothing of them could be taken."""

Fetched = Callable[[PeerId, bytes], Awaitable[int | None]]
"""`fetched(peer, bundle)` judges a bundle like a stranger's, and returns how many of its items were
new and accepted; -1 if the peer must not have sent it; None if it cannot be judged now."""

Records = Callable[[PeerId], Awaitable[object]]
"""`records(peer)` asks a peer for its newest record, because it has another one."""


@dataclass(slots=True)
class Session:
    """What came of a session. `ended` is empty if it went to its end."""

    fetched: int = 0
    taken: int = 0
    same: bool = False
    ended: str = ""
    wait: int = 0
    """Seconds that the peer asked to wait."""
    of: int = 0
    """Items that the peer has more, at least, in the days that were compared."""
    unjudged: bool = False
    """Whether a bundle could not be judged, so that it has to come again."""


@dataclass(slots=True)
class Disputes:
    """The days of which a peer offers items that are not taken, such as those of days that are
    over. They are left out until the peer's or the own digest changes, or `DISPUTED` days have
    passed: contested reports are kept for some weeks only, and votes are lost with them."""

    _known: dict[tuple[PeerId, bytes, Which, int], tuple[bytes, bytes, int]] = field(
        default_factory=dict
    )

    def note(
        self, peer: PeerId, key: bytes, days: list[tuple[Which, DaySum, DaySum | None]], today: int
    ) -> None:
        """Remember days that differed in a session of `today` that brought nothing."""
        for which, theirs, mine in days:
            self._known[peer, key, which, theirs.day] = *_digests(theirs, mine), today
        while len(self._known) > DISPUTES_MAX:
            self._known.pop(next(iter(self._known)))

    def holds(
        self,
        peer: PeerId,
        key: bytes,
        which: Which,
        days: tuple[DaySum, DaySum | None],
        today: int,
    ) -> bool:
        """Tell whether nothing of a day could be taken lately, and nothing has changed since."""
        known = self._known.get((peer, key, which, days[0].day))
        return known is not None and known[:2] == _digests(*days) and today - known[2] < DISPUTED


def _digests(theirs: DaySum, mine: DaySum | None) -> tuple[bytes, bytes]:
    return theirs.digest, mine.digest if mine is not None else b""


class Asking:
    """Runs sessions, one at a time. `progress(peer, session)` is called after each reply that
    brought items."""

    def __init__(
        self,
        swarm: Swarm,
        open_set: OpenSet,
        entropy: Entropy,
        fetched: Fetched,
        records: Records,
        progress: Callable[[PeerId, Session], None] = lambda *_: None,
        shard: Shard = WHOLE,
    ) -> None:
        self._shard = shard
        self._swarm = swarm
        self._open_set = open_set
        self._entropy = entropy
        self._fetched = fetched
        self._records = records
        self._progress = progress
        self._disputes = Disputes()

    async def session(self, peer: PeerId, key: bytes, as_of: int) -> Session:
        """Take from `peer` what this side lacks of a namespace. Of a peer that has only some of the
        ids that this side collects, those are compared. Raises StoreError if the own file cannot
        be read."""
        try:
            return await self._session(peer, key, as_of, self._shard)
        except OtherShard as other:
            both = self._shard.meet(other.shard)
        if both is not None and both != self._shard:
            with suppress(OtherShard):
                return await self._session(peer, key, as_of, both)
        return Session(ended="other-shard")

    async def _session(self, peer: PeerId, key: bytes, as_of: int, shard: Shard) -> Session:
        """Compare the items of a shard. Raises OtherShard if the peer has not all of them."""
        try:
            own = await trio.to_thread.run_sync(self._open_set, key, as_of, shard)
        except SetBusy:
            return Session(ended="busy", wait=BUSY)
        if own is None:
            return Session(ended="not-collected")
        found = Session()
        try:
            with trio.move_on_after(TIME_MAX) as limit:
                await self._run(peer, key, as_of, shard, own, found)
            if limit.cancelled_caught:
                found.ended = "too-slow"
        except OtherShard:
            raise
        except SessionEnded as ended:
            found.ended, found.wait = "busy", ended.seconds
        except PeerFault as fault:
            found.ended = fault.reason
        except UnreachableError as error:
            found.ended = error.code
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(own.close)
        return found

    async def _run(
        self,
        peer: PeerId,
        key: bytes,
        as_of: int,
        shard: Shard,
        own: OpenedSet,
        found: Session,
    ) -> None:
        request = await trio.to_thread.run_sync(_opening, own, key, as_of, shard)
        opened = read_opened(await self._ask(peer, encode_request(request)))
        if opened is None:
            found.same = True
            return
        if opened.record and opened.record != own.record:
            await self._records(peer)

        def passes(which: Which, theirs: DaySum, mine: DaySum | None) -> bool:
            return self._disputes.holds(peer, key, which, (theirs, mine), as_of)

        pull = Pull(own.items, opened, self._entropy(SALT_SIZE), passes, shard=shard)
        found.of = await trio.to_thread.run_sync(_excess, own, opened, passes)
        await self._follow(peer, own, pull.steps(), found)
        if not found.taken and not found.unjudged:
            self._disputes.note(peer, key, pull.differing, as_of)

    async def _follow(self, peer: PeerId, own: OpenedSet, steps: Steps, found: Session) -> None:
        """Send what the steps ask, and have judged what they bring, several bundles at a time."""
        room, began = trio.Semaphore(JUDGED_AT_ONCE), trio.current_time()

        async def judged(bundle: bytes) -> None:
            try:
                taken = await self._fetched(peer, bundle)
                found.unjudged |= taken is None
                found.taken += max(0, taken or 0)
                if taken == -1:
                    found.ended = "invalid-item"
            finally:
                room.release()

        failure: PeerFault | SessionEnded | UnreachableError | StoreError | None = None
        async with trio.open_nursery() as nursery:
            try:
                step = await trio.to_thread.run_sync(_advance, steps, None)
                while step is not None:
                    if found.ended:
                        raise PeerFault(found.ended)
                    if own.unwanted():
                        raise SessionEnded(BUSY)
                    if found.fetched < ITEMS_LEAST * (trio.current_time() - began - PATIENCE):
                        raise PeerFault("too-slow")
                    reply = None
                    if isinstance(step, Ask):
                        reply = await self._ask(peer, encode_request(step.request))
                    else:
                        await self._take(step, nursery, judged, room, found)
                        self._progress(peer, found)
                    step = await trio.to_thread.run_sync(_advance, steps, reply)
            except (PeerFault, SessionEnded, UnreachableError, StoreError) as error:
                failure = error  # what came before is still judged
        if failure is not None:
            raise failure

    async def _take(
        self,
        take: Take,
        nursery: trio.Nursery,
        judged: Callable[[bytes], Awaitable[None]],
        room: trio.Semaphore,
        found: Session,
    ) -> None:
        found.fetched += take.items
        for bundle in take.bundles:
            await room.acquire()
            nursery.start_soon(judged, bundle)
        if take.which is Which.ERASURES:
            # They come before the reports that they name, which then need not be stored.
            for _ in range(JUDGED_AT_ONCE):
                await room.acquire()
            for _ in range(JUDGED_AT_ONCE):
                room.release()

    async def _ask(self, peer: PeerId, body: bytes) -> bytes:
        """Ask, and again after the time that a busy peer names, up to `WAITS_MAX` times."""
        waits = 0
        while True:
            reply = await self._swarm.request(
                peer, PROTOCOL, body, reply_max=REPLY_MAX, timeout=REPLY_TIME
            )
            wait = busy_seconds(reply)
            if not 0 < wait <= WAIT_MAX or waits == WAITS_MAX:
                return reply
            waits += 1
            await trio.sleep(wait)


def _opening(own: OpenedSet, key: bytes, as_of: int, shard: Shard) -> Open:
    erasures, reports = (set_digest(key, which, own.items.days(which)) for which in Which)
    return Open(key, as_of, own.record, erasures, reports, shard)


def _excess(
    own: OpenedSet, opened: Opened, passes: Callable[[Which, DaySum, DaySum | None], bool]
) -> int:
    """Return by how many items the peer's days are larger than the own ones."""
    total = 0
    for which in Which:
        mine = {one.day: one for one in own.items.days(which)}
        for theirs in opened.days(which):
            known = mine.get(theirs.day)
            if not passes(which, theirs, known):
                total += max(0, theirs.count - (known.count if known else 0))
    return total


def _advance(steps: Steps, reply: bytes | None) -> Step | None:
    """Return the next step, or None at the end."""
    try:
        return next(steps) if reply is None else steps.send(reply)
    except StopIteration:
        return None

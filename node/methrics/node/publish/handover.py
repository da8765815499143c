"""One visit request: what leaves in its boxes, and what the entry tells about earlier ones.

Everything that is slow is done before: boxes are sealed first, and consent is asked immediately
before the bytes leave. A box whose item may not leave then is replaced by an empty one. Boxes are
stored before they leave, so that their answers can be asked for after a crash.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio

from methrics.node.clock import Entropy, system_entropy
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import open_answer
from methrics.node.ohttp.inner import Answer
from methrics.node.outbox.handed import HandedBox
from methrics.node.publish.doors.interface import VisitingDoor
from methrics.node.publish.handing import Handing
from methrics.node.publish.leaving import HeldError
from methrics.node.publish.packing import EARLIER_MAX, Packed, pack, questions
from methrics.node.publish.routes import HELD, UNREACHABLE, Fate, Outcome, Outgoing
from methrics.node.publish.single_boxes import SingleBoxes
from methrics.node.publish.visit import Visit
from methrics.node.publish.ways import KnownRelay
from methrics.node.relay.visits import HANDLE_SIZE, VisitBox, VisitReply, VisitRequest
from methrics.schema.errors import RefusedError, RemoteError
from methrics.schema.wire.verdict import Reason

HANDED = Outcome(Fate.HANDED, "handed")

FULL = "entry-full"
"""Reason of items that an entry did not take."""


class Handover:
    """Hands over the items of `outgoing` at `visit`. `handing`: the boxes of earlier visits."""

    def __init__(
        self,
        visit: Visit,
        outgoing: Outgoing,
        handing: Handing,
        rng: random.Random,
        entropy: Entropy = system_entropy,
    ) -> None:
        self._visit = visit
        self._outgoing = outgoing
        self._handing = handing
        self._rng = rng
        self._entropy = entropy
        self._packed: list[Packed] = []
        self._boxes: dict[bytes, Packed] = {}
        """The boxes that leave, by handle; none before they do."""
        self._earlier: dict[bytes, HandedBox] = {}
        self._asked: list[bytes] = []
        self._held: set[bytes] = set()
        """Items that may not leave."""
        self._lacking: dict[bytes, Reason] = {}
        """Exits that lack a catalog or a record, by id."""

    async def make(self, pool: Sequence[KnownRelay]) -> dict[bytes, Outcome]:
        """Make the visit; return an outcome for every item. `pool`: the exits.

        Raises RemoteError if the entry gives no answer; then `unanswered` are the outcomes."""
        handing, door = self._handing, self._visit.door
        self._packed = pack(self._outgoing.items, pool, handing.tried, self._rng)
        visiting = isinstance(door, VisitingDoor)
        way = door if isinstance(door, VisitingDoor) else SingleBoxes(door, self._still, self._rng)
        try:
            reply = await way.visit(self._going)
        except HeldError:
            return dict.fromkeys(self._ids, HELD)
        except RemoteError:
            if not visiting:
                self._lose()
            raise
        if reply.again is not None:
            handing.give_back(self._boxes)
            handing.failed, handing.again = True, reply.again
        self._hear(reply)
        if not visiting:
            self._lose()
        await self._hand_notices()
        return self.unanswered if reply.again is None else self._refused(reply.again)

    @property
    def unanswered(self) -> dict[bytes, Outcome]:
        """The outcomes as far as they are known now."""
        left = {one.item_id for one in self._boxes.values()}
        return {item_id: self._outcome(item_id, item_id in left) for item_id in self._ids}

    @property
    def _ids(self) -> list[bytes]:
        return [item_id for item_id, _ in self._outgoing.items]

    def _outcome(self, item_id: bytes, left: bool) -> Outcome:
        if item_id in self._held:
            return HELD
        if not left:
            return Outcome(Fate.RETRY, UNREACHABLE)
        return self._handing.outcomes.get(self._handing.place(item_id), HANDED)

    def _refused(self, again: int) -> dict[bytes, Outcome]:
        outcome = Outcome(Fate.RETRY, FULL, again)
        return {item_id: HELD if item_id in self._held else outcome for item_id in self._ids}

    async def _going(self) -> VisitRequest:
        """Return what leaves now. Raises HeldError if no visit may be made any more."""
        handing = self._handing
        ids = [one.item_id for one in self._packed if one.item_id is not None]
        allowed = set(await self._outgoing.leave(ids))
        self._held |= set(ids) - allowed
        boxes = [one.emptied() if one.item_id in self._held else one for one in self._packed]
        self._boxes = {one.handle: one for one in boxes}
        earlier = handing.waiting(self._visit.name, EARLIER_MAX)
        self._earlier = {one.handle: one for one in earlier}
        handing.asked |= self._boxes.keys() | self._earlier.keys()
        self._asked = questions(
            boxes, list(self._earlier), self._rng, lambda: self._entropy(HANDLE_SIZE)
        )
        await handing.hand([self._handed(one) for one in boxes])
        pairs = (VisitBox(one.exit.id, one.sealed.box) for one in boxes)
        return VisitRequest(tuple(pairs), tuple(self._asked))

    def _handed(self, one: Packed) -> HandedBox:
        place = self._handing.place(one.item_id)
        now = self._handing.now
        return HandedBox(
            handle=one.handle,
            secret=one.sealed.kept,
            entry=self._visit.name,
            exit=one.exit.id,
            kind=place.kind,
            key_index=place.key_index,
            handed=now,
            asked=now,
        )

    async def _still(self, handle: bytes) -> None:
        """Raises HeldError if what is in a box may not leave any more."""
        item_id = self._boxes[handle].item_id
        allowed = await self._outgoing.leave([] if item_id is None else [item_id])
        if item_id is not None and item_id not in allowed:
            self._held.add(item_id)
            self._handing.give_back([handle])
            raise HeldError

    def _hear(self, reply: VisitReply) -> None:
        for handle, sealed in zip(self._asked, reply.answers, strict=False):
            mine, earlier = self._boxes.get(handle), self._earlier.get(handle)
            if not sealed or (mine is None and earlier is None):
                continue
            secret = mine.sealed.kept if mine is not None else earlier.secret if earlier else b""
            exit_id = mine.exit.id if mine is not None else earlier.exit if earlier else b""
            answer = _opened(secret, sealed)
            self._handing.heard(handle, answer)
            if answer is None:
                continue
            if answer.reason in (Reason.UNLISTED, Reason.UNKNOWN_CATALOG):
                self._lacking[exit_id] = answer.reason
            if mine is not None:
                self._visit.times[exit_id] = answer.time

    def _lose(self) -> None:
        """Note that the boxes of this visit that have no answer will get none."""
        for handle, one in self._boxes.items():
            if handle not in self._handing.answers and one.item_id not in self._held:
                self._handing.heard(handle, None)

    async def _hand_notices(self) -> None:
        """Hand each exit what it lacks, so that it takes the items when they come again."""
        outgoing = self._outgoing
        for exit_ in self._visit.known:
            reason = self._lacking.get(exit_.id)
            if reason is None:
                continue
            catalogs = outgoing.catalogs if reason is Reason.UNKNOWN_CATALOG else ()
            try:
                for notice in (*outgoing.records, *catalogs):
                    await self._visit.ask(exit_, inner.BOX, notice)
            except RemoteError as error:
                self._visit.unusable[self._visit.door.addr] = error.message
                return
        await trio.lowlevel.checkpoint()


def _opened(secret: bytes, sealed: bytes) -> Answer | None:
    """Return the answer, None if it is none to this box."""
    try:
        return inner.decode_answer(open_answer(secret, sealed), box=True)
    except RefusedError:
        return None

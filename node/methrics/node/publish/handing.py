"""What one visit needs of earlier ones, and what it finds out about their boxes (pure).

An exit that refuses may be wrong, so an item is given up only after `REFUSALS` exits refused it;
until then it goes to others. A box without an answer is asked for again at later visits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import trio

from methrics.node.ohttp.inner import Answer
from methrics.node.outbox.handed import EMPTY, REPORT, HandedBox, Place
from methrics.node.outbox.rows import HANDED_TIME
from methrics.node.publish.routes import REFUSALS, UNREACHABLE, Fate, Outcome, Outgoing, outcome_of
from methrics.schema.wire.verdict import Reason

Store = Callable[[Sequence[HandedBox]], Awaitable[object]]
"""Stores boxes durably, immediately before they leave."""

SILENT_TIME = 2 * 86_400
"""An entry that brought no answer at all for so many seconds counts as silent."""


async def store_nothing(_boxes: Sequence[HandedBox]) -> None:
    """Store no box: for a route whose boxes are answered at once."""
    await trio.lowlevel.checkpoint()


class Handing:
    """The handed boxes of one outbox, as a visit sees and changes them.

    `known`: the boxes of earlier visits. `places`: what the items of this visit are, by their ids.
    `heard_at`: when the last answer came, 0 for never. `now`: Unix seconds.
    """

    def __init__(
        self,
        known: Iterable[HandedBox] = (),
        places: Mapping[bytes, Place] | None = None,
        *,
        store: Store = store_nothing,
        heard_at: int = 0,
        now: int = 0,
    ) -> None:
        self.now = now
        self.failed = False
        """Whether no entry took the boxes of this visit."""
        self.again = 0
        """Seconds after which an entry that took none wants to be visited again."""
        self.asked: set[bytes] = set()
        """The handles for which an answer was asked."""
        self.answers: dict[bytes, str] = {}
        """What was heard in this visit, by handle."""
        self.outcomes: dict[Place, Outcome] = {}
        """What became of the items of this visit and of earlier ones that were answered."""
        self._boxes = {one.handle: one for one in known}
        self._places = dict(places or {})
        self._store = store
        self._heard_at = heard_at
        self._returned: set[bytes] = set()

    def waiting(self, entry: str, most: int) -> list[HandedBox]:
        """Return the boxes of this entry for which an answer is to be asked, at most so many: first
        those with an item, and of these the ones for which it was asked longest ago."""
        found = [one for one in self._boxes.values() if one.entry == entry and not one.said]
        order = sorted(found, key=lambda one: (one.kind == EMPTY, one.asked, one.handle))
        return order[:most]

    def tried(self, item_id: bytes) -> frozenset[bytes]:
        """Return the ids of the exits that an item was handed to before."""
        return self._exits(self._places.get(item_id))

    def place(self, item_id: bytes | None) -> Place:
        """Return what the item is; an empty place for an empty box."""
        return self._places.get(item_id or b"", Place(EMPTY, 0))

    async def hand(self, boxes: Sequence[HandedBox]) -> None:
        """Store the boxes of this visit, immediately before they leave."""
        await self._store(boxes)
        self._boxes.update((one.handle, one) for one in boxes)

    def heard(self, handle: bytes, answer: Answer | None) -> None:
        """Note an exit's answer to a box, None if nobody can read it or none will come, and what
        follows for the item in it."""
        place = self._boxes[handle].place
        self.answers[handle] = UNREADABLE if answer is None else str(answer.reason)
        if place.kind != EMPTY:
            outcome = self._outcome(place, answer)
            if outcome.fate is not Fate.HANDED:
                self.outcomes[place] = outcome

    def give_back(self, handles: Iterable[bytes]) -> None:
        """Note that boxes did not leave, or that the entry did not take them."""
        self._returned.update(handles)

    def _outcome(self, place: Place, answer: Answer | None) -> Outcome:
        before = self.outcomes.get(place)
        if before is not None and before.fate is Fate.ACKNOWLEDGED:
            return before
        found = Outcome(Fate.RETRY, UNREACHABLE) if answer is None else outcome_of(answer.reason)
        if found.fate is Fate.ACKNOWLEDGED:
            return found
        boxes = [one for one in self._boxes.values() if one.place == place]
        refused = {one.exit for one in boxes if self.answers.get(one.handle, one.said) in _REFUSING}
        if len(refused) >= REFUSALS:
            return Outcome(Fate.REFUSED, found.reason)
        if any(self._open(one) for one in boxes):
            return Outcome(Fate.HANDED, "handed")
        full = answer is not None and answer.reason is Reason.QUOTA
        return Outcome(Fate.RETRY, found.reason, (answer.again or 0) if full and answer else 0)

    def silent(self, entry: str) -> bool:
        """Whether this entry brought no answer at all since it was handed a box for which it was
        asked `SILENT_TIME` later."""
        if set(self.answers.values()) - {UNREADABLE}:
            return False
        return any(
            self._asked(one) - one.handed >= SILENT_TIME and self._heard_at < one.handed
            for one in self._boxes.values()
            if one.entry == entry and not one.said
        )

    def settled(self) -> set[bytes]:
        """Return the handles of the boxes that are not needed any more: those of items whose
        outcome is final, and of exits that may be asked once more because they get what they
        lacked; empty boxes that were answered, or that nobody answers; and boxes that were given
        back."""
        final = {
            place
            for place, one in self.outcomes.items()
            if one.fate in (Fate.ACKNOWLEDGED, Fate.REFUSED)
        }
        return {
            one.handle
            for one in self._boxes.values()
            if one.place in final
            or one.handle in self._returned
            or self.answers.get(one.handle) in LACKING
            or (one.kind == EMPTY and (one.handle in self.answers or self._given_up(one)))
        }

    def said(self) -> dict[bytes, str]:
        """Return what is to be remembered of boxes, by handle: the exit's answer, or that there is
        none."""
        late = {one.handle: NO_ANSWER for one in self._boxes.values() if self._given_up(one)}
        return late | self.answers

    def _asked(self, one: HandedBox) -> int:
        return self.now if one.handle in self.asked else one.asked

    def _given_up(self, one: HandedBox) -> bool:
        """Whether the answer was asked for in vain after the item had become due again."""
        waits = not one.said and one.handle not in self.answers
        return waits and self._asked(one) - one.handed >= HANDED_TIME

    def _open(self, one: HandedBox) -> bool:
        """Whether an answer may still come before the item is due again."""
        waits = not one.said and one.handle not in self.answers
        return waits and self.now - one.handed < HANDED_TIME

    def _exits(self, place: Place | None) -> frozenset[bytes]:
        if place is None:
            return frozenset()
        return frozenset(
            one.exit
            for one in self._boxes.values()
            if one.place == place and self.answers.get(one.handle) not in LACKING
        )


@dataclass(frozen=True, slots=True)
class VisitOutgoing(Outgoing):
    """Items that leave at a visit. `handing`: what it needs of earlier ones."""

    handing: Handing = field(default_factory=Handing)


def handing_of(outgoing: Outgoing, now: int) -> Handing:
    """Return what a visit needs of earlier ones; nothing is known of them unless `outgoing` says
    so. `now`: Unix seconds."""
    if isinstance(outgoing, VisitOutgoing):
        return outgoing.handing
    places = {item_id: Place(REPORT, n) for n, (item_id, _) in enumerate(outgoing.items)}
    return Handing((), places, now=now)


UNREADABLE, NO_ANSWER = "unreadable", "no-answer"
"""What is remembered of an exit that gave no proper answer."""

LACKING = frozenset({str(Reason.UNLISTED), str(Reason.UNKNOWN_CATALOG)})
"""Answers of an exit that lacks a catalog or a record, which it is then handed."""

_REFUSING = frozenset(str(one) for one in Reason if outcome_of(one).fate is Fate.REFUSED)
"""Answers that refuse an item for good."""

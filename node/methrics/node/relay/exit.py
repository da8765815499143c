"""The exit: opens boxes, does what each asks, and answers so that only its maker can read it.

Who brings boxes is an entry as a rule. It knows who made them, and nothing of what is in them; the
exit knows what is in them, and not who made them. So that an entry learns nothing from the answers,
those to boxes have one size whatever they say, and all answers of a request come at one moment,
after the same commit. A box that comes again is opened and answered again; its item is known by
then, and is not kept twice.

Opening and judging take most of the time, so they run in worker threads, one request per call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import trio

from methrics.node.clock import Clock
from methrics.node.ohttp import envelope, inner
from methrics.node.ohttp.inner import Answer, Question
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.process.worker import Worker
from methrics.node.relay.doors import ANSWERS_SIZE, BOXES_MAX, DoorReply
from methrics.node.relay.intake import Opened
from methrics.node.relay.limiter import Limiter
from methrics.node.relay.pool_shares import Submitter
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

_ANSWER_LEAST = inner.ANSWER_STEP + envelope.ANSWER_OVERHEAD + 5
"""Bytes that each answer may need at least in a reply, with its head."""

_LARGE_SIZE = ANSWERS_SIZE - BOXES_MAX * _ANSWER_LEAST
"""Bytes of a reply for larger answers. The others of a request are told to come back."""

_SOON = 1
"""Seconds after which to ask again for what had no room in a reply."""


class Taking(Protocol):
    """What an exit does with the items in boxes: the intake of its relay."""

    stopping: bool

    def judged(self, raws: Sequence[bytes], now: int) -> list[Opened]:
        """Judge items, b"" for none; called in a worker thread."""
        ...

    async def admit(self, opened: Sequence[Opened], who: Submitter) -> list[Reason]:
        """Keep what was accepted; return the answers once it is safe."""
        ...

    def when_full(self) -> int:
        """Return after how many seconds there may be room."""
        ...


class Library(Protocol):
    """What an exit knows besides reports, for those who ask."""

    def records(self, topic: str) -> Sequence[bytes] | None:
        """Return the records of a topic, the newest first; None if it is not carried here."""
        ...

    def descriptors(self) -> Sequence[bytes]:
        """Return the descriptors of relays, as many as fit one answer."""
        ...


class _Box(NamedTuple):
    """An opened box: what it asks, the verdict on its item if it has one, and how to answer."""

    sealer: envelope.Opened
    question: Question | None
    judged: Opened

    @property
    def item(self) -> bytes:
        """The item in it, b"" if it has none."""
        return b"" if self.question is None or not self.is_box else self.question.content

    def with_verdict(self, judged: Opened) -> _Box:
        """Return the box with the verdict on its item."""
        return self if self.question is None else self._replace(judged=judged)

    @property
    def is_box(self) -> bool:
        """Whether the answer has the size of all answers to boxes. What is not understood has."""
        return self.question is None or self.question.resource == inner.BOX


class Exit:
    """Serves boxes. `keys()` returns the keys that open boxes now, by their ids.

    `noted(who, judged)` is called with the verdicts on the items of each request. `per_minute`:
    most boxes that the exit opens for one network per minute, and `listed_per_minute` for an entry
    that the operator named.
    """

    def __init__(
        self,
        *,
        keys: Callable[[], Mapping[int, ExitKey]],
        intake: Taking,
        library: Library,
        clock: Clock,
        worker: Worker,
        per_minute: int,
        listed_per_minute: int,
        noted: Callable[[Submitter, Sequence[Opened]], None] = lambda *_: None,
    ) -> None:
        self.opened = 0
        """Boxes that opened since the start."""
        self.unopened = 0
        """Boxes that did not."""
        self._keys = keys
        self._intake = intake
        self._library = library
        self._clock = clock
        self._worker = worker
        self._noted = noted
        self._limiter = Limiter(per_minute=per_minute, listed_per_minute=listed_per_minute)

    async def serve(self, who: Submitter, boxes: Sequence[bytes]) -> DoorReply:
        """Open the boxes, do what each asks, and return one answer for each, in order; or none, and
        when to come back, if this submitter's network asks too much, or the relay is ending."""
        name = who.name if who.listed else who.origin or who.name
        allowed = self._limiter.take_all(name, len(boxes), trio.current_time(), listed=who.listed)
        if not allowed.items or self._intake.stopping:
            await trio.lowlevel.checkpoint()
            return DoorReply(again=max(allowed.again, _SOON))
        now = self._clock.now()
        opened = await self._worker(partial(self._open_all, boxes, self._keys(), now))
        self.opened += sum(one is not None for one in opened)
        self.unopened += sum(one is None for one in opened)
        judged = [one.judged for one in opened if one is not None]
        reasons = await self._intake.admit(judged, who)
        self._noted(who, judged)
        hint = self._intake.when_full() if Reason.QUOTA in reasons else None
        found = iter(reasons)
        answers = [one and self._answer(one, next(found), now, hint) for one in opened]
        return DoorReply(await self._worker(partial(_seal_all, opened, answers)))

    def _open_all(
        self, boxes: Sequence[bytes], keys: Mapping[int, ExitKey], now: int
    ) -> list[_Box | None]:
        """Open boxes, and judge the items in them together. None for a box that does not open: then
        nobody who holds the key has made it, or the key is gone, and nothing can be answered."""
        opened = [_opened(box, keys) for box in boxes]
        judged = iter(self._intake.judged([one.item for one in opened if one is not None], now))
        return [one and one.with_verdict(next(judged)) for one in opened]

    def _answer(self, box: _Box, reason: Reason, now: int, hint: int | None) -> Answer:
        if box.question is not None and not box.is_box:
            return self._told(box.question, now)
        return Answer(reason, now, hint if reason is Reason.QUOTA else None)

    def _told(self, question: Question, now: int) -> Answer:
        if question.resource == inner.DESCRIPTORS:
            return Answer(Reason.OK, now, items=tuple(self._library.descriptors()))
        records = self._library.records(question.content.decode("utf-8", "replace"))
        if records is None:
            return Answer(Reason.FOREIGN, now)
        return Answer(Reason.OK, now, items=tuple(records))


def _opened(box: bytes, keys: Mapping[int, ExitKey]) -> _Box | None:
    """Open a box; its item is not judged yet."""
    try:
        opened = envelope.open_box(box, keys)
    except RefusedError:
        return None
    try:
        return _Box(opened, inner.decode_question(opened.message), Opened(Reason.OK))
    except RefusedError as error:
        return _Box(opened, None, Opened(Reason(error.code)))


def _seal_all(opened: Sequence[_Box | None], answers: Sequence[Answer | None]) -> tuple[bytes, ...]:
    """Seal the answers, in a worker thread. Those that do not fit the reply are to be asked for
    again."""
    sealed, room = list[bytes](), _LARGE_SIZE
    small: dict[Answer, bytes] = {}
    """Most answers to the boxes of a request are equal."""
    for box, answer in zip(opened, answers, strict=True):
        if box is None or answer is None:
            sealed.append(b"")
            continue
        if box.is_box:
            if answer not in small:
                small[answer] = inner.encode_answer(answer, box=True)
            sealed.append(box.sealer.seal(small[answer]))
            continue
        if sum(map(len, answer.items)) > room:
            answer = _later(answer)
        encoded = inner.encode_answer(answer, box=False)
        if len(encoded) > max(inner.ANSWER_STEP, room):
            encoded = inner.encode_answer(_later(answer), box=False)
        room -= len(encoded) if len(encoded) > inner.ANSWER_STEP else 0
        sealed.append(box.sealer.seal(encoded))
    return tuple(sealed)


def _later(answer: Answer) -> Answer:
    return Answer(Reason.QUOTA, answer.time, _SOON)

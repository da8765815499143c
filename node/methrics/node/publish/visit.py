"""One entry in use: what it knows of relays, and how exits are asked through it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal
from methrics.node.ohttp.inner import Answer
from methrics.node.ohttp.key_config import decode_key_config
from methrics.node.publish.doors.interface import Door
from methrics.node.publish.known_relays import Shown, known_relays, shown, time_at
from methrics.node.publish.ways import (
    AGREEING,
    Exits,
    KnownRelay,
    Named,
    exits,
    listed_witness,
    name_of,
    witnesses,
)
from methrics.schema.errors import RefusedError, RemoteError, UnreachableError
from methrics.schema.wire.verdict import Reason

LeaveNow = Callable[[], Awaitable[object]]
"""Returns if a box may leave now, and raises if not."""

WITNESSES_TRIED = 4
"""Most exits that are asked for their descriptors, until two have answered."""

NO_EXIT = "no exit answers through it"
"""Says that an entry answers, but the exits that it names do not."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a question to an exit. `answer`: None if the exit gave none; then `again` is
    the number of seconds after which the entry wants to be asked again, 0 if it named none."""

    answer: Answer | None = None
    again: int = 0


@dataclass(slots=True)
class Visit:
    """The entry behind `door`. `named`: who named which relays. `unusable` is filled with why
    relays could not be used, by address."""

    door: Door
    named: Named
    unusable: dict[str, str]
    known: list[KnownRelay] = field(default_factory=list)
    time: int = 0
    """The entry's clock when it was asked (Unix seconds)."""
    dead: set[bytes] = field(default_factory=set)
    """Exits that gave no answer, by id."""
    times: dict[bytes, int] = field(default_factory=dict)
    """The clocks of the exits that answered, by id."""
    broken: bool = False
    """Whether the entry stopped answering."""

    @property
    def name(self) -> str:
        """The name of the entry."""
        return name_of(self.door.addr)

    async def enter(self, now: int, rng: random.Random) -> None:
        """Ask the entry for the relays that it knows, and two exits whether they know the same. If
        the entry shows a relay of the person's list, that one has to know them, too: others could
        be invented by the entry.

        Raises RemoteError if the entry or all the exits give no answer."""
        told = await self.door.descriptors()
        self.time = told.time
        at = time_at(told.time, now)
        answers = [shown(told.raws, at)]
        order = witnesses(self.door.addr, known_relays(answers), self.named, rng)
        listed = listed_witness(order, self.door.addr, self.named)
        must = None if listed is None else await self._shown_by(listed, at)
        for exit_ in [one for one in order if one is not listed][:WITNESSES_TRIED]:
            if (found := await self._shown_by(exit_, at)) is not None:
                answers.append(found)
            if len(answers) > AGREEING:
                break
        if len(answers) < AGREEING and must is not None:
            answers.append(must)
        if len(answers) < AGREEING:
            raise UnreachableError("no-exit", NO_EXIT)
        self.known = known_relays(answers, must)

    async def _shown_by(self, exit_: KnownRelay, at: int) -> Shown | None:
        """Return the descriptors that an exit shows, None if it does not answer."""
        asked = await self.ask(exit_, inner.DESCRIPTORS, b"")
        if asked.answer is None or asked.answer.reason is not Reason.OK:
            return None
        return shown(asked.answer.items, at)

    def exits(self, topic: str) -> Exits:
        """Return the exits of a topic."""
        return exits(self.door.addr, topic, self.known, self.named)

    async def ask(
        self, exit_: KnownRelay, resource: str, content: bytes, leave: LeaveNow | None = None
    ) -> Asked:
        """Ask an exit one question in a box. `leave` is awaited immediately before the box leaves;
        what it raises goes to the caller, and nothing leaves. Raises RemoteError if the entry gives
        no answer."""
        if self.broken:
            await trio.lowlevel.checkpoint()
            raise UnreachableError("entry-gone", "the entry stopped answering")
        try:
            config = decode_key_config(exit_.key)
            sealed = seal(config, inner.encode_question(resource, content))
        except RefusedError as error:
            await trio.lowlevel.checkpoint()
            return self._unanswered(exit_, error.message)

        async def boxes() -> list[bytes]:
            if leave is not None:
                await leave()
            return [sealed.box]

        try:
            reply = await self.door.exchange(exit_.id, boxes)
        except RemoteError:
            self.broken = True
            raise
        if not reply.answers:
            return self._unanswered(exit_, "the entry gets no answer from it", reply.again or 0)
        try:
            response = sealed.open(reply.answers[0])
            answer = inner.decode_answer(response, box=resource == inner.BOX)
        except RefusedError as error:
            return self._unanswered(exit_, error.message)
        self.times[exit_.id] = answer.time
        return Asked(answer)

    def _unanswered(self, exit_: KnownRelay, why: str, again: int = 0) -> Asked:
        self.dead.add(exit_.id)
        self.unusable[exit_.addresses[0]] = why
        return Asked(None, again)

"""A small world of entries and exits behind doors, which say what a test tells them to.

The boxes are real, and so are descriptors; what carries them is not. An exit remembers what it was
handed, an entry for whom it forwarded how many boxes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import trio
from nacl.signing import SigningKey
from tests.listing import record_of

import methrics.schema
from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import open_box
from methrics.node.ohttp.key_config import ExitKey, encode_key_config
from methrics.node.outbox.handed import REPORT, HandedBox, Place
from methrics.node.process.worker import inline
from methrics.node.publish.doors.interface import (
    Boxes,
    Descriptors,
    DoorReply,
    Visiting,
    VisitReply,
    VisitRequest,
    boxes_of,
)
from methrics.node.publish.doors.libp2p import Libp2pDoor
from methrics.node.publish.entries import KeptEntries, KeptEntry, Offer
from methrics.node.publish.handing import Handing, VisitOutgoing
from methrics.node.publish.routes import HELD, Fate, Findings, Outcome
from methrics.node.publish.way_route import WayRoute
from methrics.node.relay import doors, visits
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.wire.descriptor import Descriptor, sign_descriptor
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Reason

EXAMPLE = Path(methrics.schema.__file__).parent / "example" / "example.toml"
CATALOG = load(sign(parse_source(EXAMPLE.read_text("utf-8")), b"s" * 32))
TOPIC = CATALOG.topic
BASE = 1_800_000_000
RECORD = record_of(CATALOG, seed=b"s" * 32)

T = TypeVar("T")


class TrioClock(Clock):
    """Wall time that moves with the simulated clock."""

    def now(self) -> int:
        return BASE + int(trio.current_time())


class Memory:
    """Keeps entries as the file does."""

    def __init__(self, kept: KeptEntries = KeptEntries()) -> None:  # noqa: B008 - frozen
        self.kept = kept

    def update(self, change: Callable[[KeptEntries], tuple[KeptEntries, T]]) -> T:
        self.kept, value = change(self.kept)
        return value


def report(number: int) -> tuple[bytes, bytes]:
    payload = encode_report(Report(CATALOG.id, "heartbeat", BASE, {"os": "linux"}))
    raw = seal(Kind.REPORT, payload, number.to_bytes(32, "big"))
    return split(raw).id, raw


def outgoing_of(count: int, first: int = 0) -> VisitOutgoing:
    """That many reports, with a memory of boxes of their own."""
    items = tuple(report(number) for number in range(first, first + count))
    places = {item_id: Place(REPORT, first + n) for n, (item_id, _) in enumerate(items)}
    handing = Handing((), places, now=BASE)
    return VisitOutgoing(TOPIC, (CATALOG.raw,), items, handing=handing)


class Memories:
    """What a machine keeps between visits, in memory as the outbox keeps it on disk."""

    def __init__(self) -> None:
        self.kept: dict[bytes, HandedBox] = {}
        self.heard_at = 0
        self.done: dict[Place, Outcome] = {}
        """What became of the reports that are settled."""

    def outgoing(self, count: int, now: int = BASE) -> VisitOutgoing:
        """Those of the first reports that are not settled, as they leave at a visit."""
        empty = outgoing_of(count)
        places = {item_id: Place(REPORT, n) for n, (item_id, _) in enumerate(empty.items)}
        handing = Handing(self.kept.values(), places, store=self.store, heard_at=self.heard_at)
        handing.now = now
        items = tuple(one for one in empty.items if places[one[0]] not in self.done)
        return replace(empty, items=items, handing=handing)

    async def store(self, boxes: Sequence[HandedBox]) -> None:
        await trio.lowlevel.checkpoint()
        self.kept |= {one.handle: one for one in boxes}

    def settle(self, handing: Handing) -> None:
        for handle in handing.asked:
            self.kept[handle] = replace(self.kept[handle], asked=handing.now)
        for handle, said in handing.said().items():
            self.kept[handle] = replace(self.kept[handle], said=said, secret=b"")
        for handle in handing.settled():
            del self.kept[handle]
        self.heard_at = handing.now if handing.answers else self.heard_at
        final = (Fate.ACKNOWLEDGED, Fate.REFUSED)
        self.done |= {place: one for place, one in handing.outcomes.items() if one.fate in final}


class Relay:
    """An entry and an exit. `say`: its answer to every report; `silent` for none to anybody,
    `deaf` for an exit that gives none, `garbage` for bytes that are no answer, `closed` for one
    that cannot open boxes, `full` for one that asks for patience before it opens any."""

    def __init__(
        self, number: int, say: Reason | str = Reason.OK, *, net: int | None = None
    ) -> None:
        self.seed = bytes([number + 1]) * 32
        self.id = bytes(SigningKey(self.seed).verify_key)
        place = number if net is None else net
        self.addr = f"/ip4/10.{place}.0.{number + 1}/tcp/1/p2p/relay{number}"
        self.key = ExitKey(1, self.seed)
        self.say = say
        self.operator = f"operator {number}"
        self.roles: tuple[str, ...] = ("entry", "exit")
        self.topics: tuple[str, ...] = (TOPIC,)
        self.knows = True
        self.records: list[bytes] = [RECORD.raw]
        self.takes_records = True
        self.time = BASE
        self.again = 600
        self.items: list[bytes] = []
        self.empties = 0
        """How many empty boxes it was handed."""
        self.questions: list[str] = []
        self.shows: list[bytes] | None = None
        """The descriptors that it shows, if they are not those of all relays."""
        self.forwarded: list[bytes] = []
        """The exits of the boxes that it forwarded."""
        self.visits = 0
        self.requests: list[VisitRequest] = []
        """The visits that were made to it."""
        self.answers: dict[bytes, bytes] = {}
        """The answers that it has and was not asked for, by handle."""
        self.refuses = 0
        """Seconds for which it wants to be left alone, if it takes no boxes."""
        self.slow = False
        """Whether it tells no answers now."""

    def told(self, asked: Sequence[bytes]) -> tuple[bytes, ...]:
        """The answers that it has, as it tells them once."""
        return tuple(self.answers.pop(handle, b"") for handle in asked)

    def descriptor(self, key: ExitKey | None = None) -> bytes:
        """Its descriptor of today, or one with another key."""
        config = encode_key_config((key or self.key).config)
        exit_ = "exit" in self.roles
        told = Descriptor(
            self.time // DAY,
            self.roles,
            (self.addr,),
            (config,) if exit_ else (),
            self.topics if exit_ else (),
            self.operator or None,
        )
        return sign_descriptor(told, self.seed).item.raw

    def serve(self, box: bytes, descriptors: Sequence[bytes]) -> bytes:
        """Open a box as an exit, and answer it."""
        try:
            opened = open_box(box, {1: self.key})
        except RefusedError:
            return b""
        question = inner.decode_question(opened.message)
        self.questions.append(question.resource)
        if self.say == "garbage":
            return b"\xff" * 200
        if self.say == "closed":
            return b""
        box_like = question.resource == inner.BOX
        answer = self.answer(question, descriptors)
        return opened.seal(inner.encode_answer(answer, box=box_like))

    def answer(self, question: inner.Question, descriptors: Sequence[bytes]) -> inner.Answer:
        if question.resource == inner.DESCRIPTORS:
            return inner.Answer(Reason.OK, self.time, items=tuple(descriptors))
        if question.resource == inner.RECORDS:
            return inner.Answer(Reason.OK, self.time, items=tuple(self.records))
        reason = self.take(question.content)
        again = self.again if reason is Reason.QUOTA else None
        return inner.Answer(reason, self.time, again)

    def take(self, raw: bytes) -> Reason:
        if not raw:
            self.empties += 1
            return Reason.OK
        if split(raw).kind is Kind.RECORD:
            self.records = [raw] if self.takes_records else self.records
            return Reason.OK if self.takes_records else Reason.UNKNOWN_KIND
        if raw == CATALOG.raw:
            self.knows = True
            return Reason.OK
        self.items.append(raw)
        if self.say == "hangs":
            return Reason.OK
        return Reason(self.say) if self.knows else Reason.UNKNOWN_CATALOG


HANG_TIME = 20.0
"""Seconds after which an entry gives up an exit that hangs."""


def serve_on(swarm: Swarm, relay: Relay, others: Sequence[Relay] = ()) -> None:
    """Let a relay answer on a swarm as an entry and an exit, which knows `others`. A relay that
    says `hangs` takes what it is handed, and then does not answer."""
    relay.addr = swarm.addrs[0]
    everybody = {one.id: one for one in (relay, *others)}

    def shown() -> list[bytes]:
        return [one.descriptor() for one in everybody.values()]

    async def descriptors(_peer: PeerId, _body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return doors.encode_descriptors(Descriptors(relay.time, tuple(shown())))

    async def forward(_peer: PeerId, body: bytes) -> bytes:
        asked = doors.decode_entry_request(body)
        return await answer(everybody[asked.exit], asked.boxes)

    async def take(_peer: PeerId, body: bytes) -> bytes:
        return await answer(relay, doors.decode_exit_request(body))

    async def answer(exit_: Relay, boxes: Sequence[bytes]) -> bytes:
        await trio.lowlevel.checkpoint()
        before = len(exit_.items)
        answers = tuple(exit_.serve(box, shown()) for box in boxes)
        if exit_.say == "hangs" and len(exit_.items) > before:
            await trio.sleep(HANG_TIME if exit_ is not relay else float("inf"))
            return doors.encode_reply(DoorReply((), 60))
        return doors.encode_reply(DoorReply(answers))

    async def visit(_peer: PeerId, body: bytes) -> bytes:
        asked = visits.decode_visit_request(body)
        relay.requests.append(asked)
        for one in asked.boxes:
            reply = doors.decode_reply(await answer(everybody[one.exit], [one.box]), boxes=1)
            relay.answers.update((visits.handle_of(one.box), said) for said in reply.answers)
        return visits.encode_visit_reply(VisitReply(relay.told(asked.asked), relay.time))

    swarm.serve(visits.VISIT, visit, request_max=visits.REQUEST_SIZE)
    swarm.serve(doors.DESCRIPTORS, descriptors, request_max=0)
    swarm.serve(doors.ENTRY, forward, request_max=doors.ENTRY_REQUEST_MAX)
    swarm.serve(doors.EXIT, take, request_max=doors.EXIT_REQUEST_MAX)


def route_over(
    swarm: Swarm,
    addrs: Sequence[str],
    *,
    seed: int = 1,
    timeout: float = 30,
    clock: Clock | None = None,
) -> WayRoute:
    """A route over a swarm, whose entry is one of the user's relays at `addrs`."""
    return WayRoute(
        lambda entry: Libp2pDoor(swarm, entry.address, timeout),
        Offer(user=tuple(addrs)),
        Memory(),
        clock=clock or TrioClock(),
        rng=random.Random(seed),
        worker=inline,
    )


class World:
    """All relays, and what an app sees of them."""

    def __init__(self, *relays: Relay) -> None:
        self.relays = relays
        self.memory = Memory()
        self.findings = Findings()
        self.opened: list[KeptEntry] = []
        self.before_forwarding: Callable[[], None] = lambda: None

    def route(
        self, seed: int = 1, *, user: Sequence[int] = (), app: Sequence[int] | None = None
    ) -> WayRoute:
        """A route whose entry is one of the user's relays (numbers), or else of the app's; by
        default the app names all."""
        named = range(len(self.relays)) if app is None else app
        offer = Offer(self.addrs(user), self.addrs(named))
        return WayRoute(
            self.open_door,
            offer,
            self.memory,
            clock=TrioClock(),
            rng=random.Random(seed),
            worker=inline,
            findings=self.findings,
        )

    async def visit(
        self,
        boxes: Memories,
        count: int = 1,
        seed: int = 1,
        *,
        now: int = BASE,
        **named: Sequence[int],
    ) -> list[Outcome]:
        """One visit with the first `count` reports, `now`; return their outcomes."""
        outgoing = boxes.outgoing(count, now)
        outcomes = await self.route(seed, **named).deliver(outgoing)
        boxes.settle(outgoing.handing)
        numbers = {report(number)[0]: Place(REPORT, number) for number in range(count)}
        return [boxes.done.get(place, outcomes.get(one, HELD)) for one, place in numbers.items()]

    def addrs(self, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.relays[number].addr for number in numbers)

    def open_door(self, entry: KeptEntry) -> Gate:
        self.opened.append(entry)
        found = [one for one in self.relays if one.addr == entry.address]
        return Gate(self, entry.address, found[0] if found else None)

    def descriptors(self, asked: Relay) -> list[bytes]:
        return [one.descriptor() for one in self.relays] if asked.shows is None else asked.shows


class Gate:
    """The door of one entry."""

    def __init__(self, world: World, addr: str, relay: Relay | None) -> None:
        self.addr = addr
        self._world = world
        self._relay = relay

    async def entry(self) -> Relay:
        await trio.sleep(0.01)
        if self._relay is None:
            raise UnreachableError("unreachable", "the peer does not answer at that address")
        if self._relay.say == "silent":
            await trio.sleep(30)
            raise UnreachableError("too-slow", "the relay did not answer in time")
        return self._relay

    async def descriptors(self) -> Descriptors:
        entry = await self.entry()
        entry.visits += 1
        return Descriptors(entry.time, tuple(self._world.descriptors(entry)))

    async def exchange(self, exit_id: bytes, boxes: Boxes) -> DoorReply:
        entry = await self.entry()
        going = await boxes_of(boxes)
        self._world.before_forwarding()
        entry.forwarded += [exit_id] * len(going)
        found = [one for one in self._world.relays if one.id == exit_id]
        if not found or found[0].say in ("silent", "deaf", "full"):
            return DoorReply((), found[0].again if found else 60)
        await trio.sleep(0.01)
        shown = self._world.descriptors(found[0])
        return DoorReply(tuple(found[0].serve(box, shown) for box in going))

    async def visit(self, request: Visiting) -> VisitReply:
        entry = await self.entry()
        going = await request()
        entry.requests.append(going)
        if entry.refuses:
            return VisitReply(entry.told(going.asked), entry.time, entry.refuses)
        for one in going.boxes:
            self._world.before_forwarding()
            entry.forwarded.append(one.exit)
            found = [relay for relay in self._world.relays if relay.id == one.exit]
            if found and found[0].say not in ("silent", "deaf", "full"):
                shown = self._world.descriptors(found[0])
                entry.answers[visits.handle_of(one.box)] = found[0].serve(one.box, shown)
            await trio.sleep(0.01)
        if entry.slow:
            return VisitReply((b"",) * len(going.asked), entry.time)
        return VisitReply(entry.told(going.asked), entry.time)

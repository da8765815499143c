"""A relay in a network in memory, with a peer that collects what it publishes, and submitters."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trio
import trio.testing
from tests.listing import listed_book, record_of

import methrics.schema
from methrics.node.clock import Clock
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal as seal_box
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.process.worker import inline
from methrics.node.relay import doors
from methrics.node.relay.door_service import DoorParts
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import (
    Report,
    encode_report,
)
from methrics.schema.wire.verdict import Decision, Reason

EXAMPLE = Path(methrics.schema.__file__).parent / "example" / "example.toml"
SOURCE = parse_source(EXAMPLE.read_text("utf-8"))
NAMESPACE = b"s" * 32
CATALOG = load(sign(SOURCE, NAMESPACE))
STRANGE = load(sign(SOURCE, b"x" * 32))
TOPIC = CATALOG.topic
KEY = ExitKey(7, b"k" * 32)
"""The key with which the relay opens boxes."""
BASE = 1_800_000_000
TODAY = BASE - BASE % 86_400


class TrioClock(Clock):
    """Wall time that moves with the simulated clock."""

    def now(self) -> int:
        return BASE + int(trio.current_time())


def report(number: int, catalog: Catalog = CATALOG, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "catalog": catalog.id,
        "type": "heartbeat",
        "time": TODAY,
        "values": {"os": "linux"},
    }
    payload = encode_report(Report(**(fields | changes)))  # type: ignore[arg-type]
    return seal(Kind.REPORT, payload, number.to_bytes(32, "big"))


class Scene:
    """One relay, one collecting peer, and as many submitters as a test opens."""

    def __init__(
        self, network: MemoryNetwork, relay: Relay, swarm: MemorySwarm, collector: MemorySwarm
    ) -> None:
        self.network = network
        self.collector = collector
        self.relay = relay
        self.swarm = swarm
        self.stop = trio.Event()
        self.messages: list[bytes] = []
        self.records: list[bytes] = []
        self.times: dict[bytes, float] = {}
        self.forwarders: list[PeerId] = []

    @property
    def collected(self) -> list[bytes]:
        return [raw for message in self.messages for raw in unpack(message).items]

    async def collect(self, peer: PeerId, message: bytes) -> Decision:
        self.forwarders.append(peer)
        about, items = unpack(message)
        self.times |= dict.fromkeys(items, trio.current_time())
        if not about and split(items[0]).kind is Kind.RECORD:
            self.records.append(items[0])
        else:
            self.messages.append(message)
        return Decision.ACCEPT


@asynccontextmanager
async def scene(
    *,
    book: CatalogBook | None = None,
    collector: bool = True,
    state: StateFolder | None = None,
    **changes: object,
) -> AsyncIterator[Scene]:
    fields: dict[str, object] = {
        "topics": (TOPIC,),
        "mix": MixLimits(batch_window=30, rest=0),
    }
    chosen = RelaySettings(**(fields | changes))  # type: ignore[arg-type]
    if book is None:
        book = listed_book(CATALOG, seed=NAMESPACE, topics={TOPIC})
    network = MemoryNetwork(rng=random.Random(7))
    async with (
        network.open_swarm() as swarm,
        network.open_swarm() as peer,
        trio.open_nursery() as nursery,
    ):
        stop = trio.Event()
        relay = await nursery.start(
            lambda task_status: run_relay(
                swarm,
                book,
                chosen,
                clock=TrioClock(),
                rng=random.Random(3),
                worker=inline,
                stop=stop,
                state=state,
                parts=DoorParts(keys=lambda: {KEY.key_id: KEY}),
                task_status=task_status,
            )
        )
        found = Scene(network, relay, swarm, peer)
        found.stop = stop
        if collector:
            await peer.join(TOPIC, found.collect)
            await peer.dial(swarm.addrs[0])
        yield found
        nursery.cancel_scope.cancel()


class Handed(NamedTuple):
    """The answers of an exit to items, by reason, and when to come back."""

    answers: tuple[Reason, ...]
    again: int | None = None


async def ask(swarm: MemorySwarm, relay: Scene, *items: bytes) -> list[Reason]:
    """Hand in the items; return the answers."""
    return list((await hand_over(swarm, relay, *items)).answers)


async def hand_over(swarm: MemorySwarm, relay: Scene, *items: bytes) -> Handed:
    """Hand the items to the exit, each in a box. An exit that takes none answers `quota`."""
    sealed = [seal_box(KEY.config, inner.encode_question(inner.BOX, item)) for item in items]
    reply = await exchange(swarm, relay, *(one.box for one in sealed))
    if not reply.answers:
        return Handed((Reason.QUOTA,) * len(items), reply.again)
    found = [
        inner.decode_answer(one.open(answer))
        for one, answer in zip(sealed, reply.answers, strict=True)
    ]
    again = [one.again for one in found if one.again is not None]
    return Handed(tuple(one.reason for one in found), max(again, default=None))


async def exchange(swarm: MemorySwarm, relay: Scene, *boxes: bytes) -> doors.DoorReply:
    """Hand boxes to the exit, as an entry does."""
    peer = await swarm.dial(relay.swarm.addrs[0])
    body = doors.encode_exit_request(boxes)
    reply = await swarm.request(peer, doors.EXIT, body, reply_max=doors.REPLY_MAX, timeout=9)
    return doors.decode_reply(reply, boxes=len(boxes))


async def hand_in(relay: Scene, *items: bytes) -> list[Reason]:
    """As an app does: from a swarm of its own that lives for this one request."""
    async with relay.network.open_swarm(listen=False) as app:
        return await ask(app, relay, *items)


def listing(*catalogs: Catalog, time: int = 0, **changes: object) -> bytes:
    return record_of(*catalogs, seed=NAMESPACE, time=time, **changes).raw  # type: ignore[arg-type]

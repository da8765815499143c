"""Exits and entries in a network in memory, with collecting peers and apps that seal boxes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import trio
from nacl.signing import SigningKey
from tests.listing import listed_book
from tests.node.relay_making import CATALOG, NAMESPACE, TOPIC, TrioClock

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import Sealed, seal
from methrics.node.ohttp.inner import Answer
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.process.worker import inline
from methrics.node.relay import doors
from methrics.node.relay.door_service import DoorParts
from methrics.node.relay.doors import DoorReply
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.verdict import Decision

EXIT_KEY = 7


def question(item: bytes = b"", resource: str = inner.BOX) -> bytes:
    return inner.encode_question(resource, item)


@dataclass
class Station:
    """One relay with its swarm. `key`: its id. `box_key`: with which its boxes open."""

    key: bytes
    swarm: MemorySwarm
    relay: Relay
    box_key: ExitKey
    scope: trio.CancelScope
    requests: list[bytes] = field(default_factory=list)
    """Bodies that came to its exit, as the swarm saw them."""
    told: list[PeerId] = field(default_factory=list)
    """Peers that asked its exit."""

    def seal(self, item: bytes = b"", resource: str = inner.BOX) -> Sealed:
        return seal(self.box_key.config, question(item, resource))

    def die(self) -> None:
        """End the process without notice."""
        self.scope.cancel()


@dataclass
class Doors:
    """Some relays, and one peer that collects what they publish."""

    network: MemoryNetwork
    stations: list[Station]
    messages: list[bytes] = field(default_factory=list)
    published: dict[bytes, float] = field(default_factory=dict)
    directory: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    arrived: trio.Event = field(default_factory=trio.Event)

    @property
    def collected(self) -> list[bytes]:
        return [raw for message in self.messages for raw in unpack(message).items]

    async def collect(self, peer: PeerId, message: bytes) -> Decision:
        about, items = unpack(message)
        if about:
            self.messages.append(message)
            self.published |= dict.fromkeys(items, trio.current_time())
            self.arrived.set()
            self.arrived = trio.Event()
        return Decision.ACCEPT

    async def wait_for(self, *items: bytes) -> None:
        while not set(items) <= set(self.collected):
            await self.arrived.wait()


def parts_of(key: ExitKey, directory: dict[bytes, tuple[str, ...]]) -> DoorParts:
    return DoorParts(
        keys=lambda: {key.key_id: key},
        addresses=directory.get,
        descriptors=lambda: [b"descriptor"],
    )


@asynccontextmanager
async def stations(
    count: int = 4,
    *,
    network: MemoryNetwork | None = None,
    origins: Sequence[bytes | None] = (),
    **changes: object,
) -> AsyncIterator[Doors]:
    """Open relays that know each other, and a peer that collects from all of them."""
    network = network or MemoryNetwork(rng=random.Random(7))
    fields: dict[str, object] = {
        "topics": (TOPIC,),
        "mix": MixLimits(batch_window=30, rest=0),
        "spread": 0,
    }
    settings = RelaySettings(**(fields | changes))  # type: ignore[arg-type]
    found = Doors(network, [])
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        for number in range(count):
            origin = origins[number] if number < len(origins) else None
            station = await nursery.start(_station, found, number, settings, origin)
            found.stations.append(station)
        collector = await stack.enter_async_context(network.open_swarm())
        await collector.join(TOPIC, found.collect)
        for station in found.stations:
            await collector.dial(station.swarm.addrs[0])
            await collector.wait_for_peers(TOPIC, 1)
        yield found
        nursery.cancel_scope.cancel()


async def _station(
    found: Doors,
    number: int,
    settings: RelaySettings,
    origin: bytes | None,
    task_status: trio.TaskStatus[Station],
) -> None:
    key = SigningKey(bytes((number + 1,)) * 32).verify_key.encode()
    box_key = ExitKey(EXIT_KEY, bytes((number + 101,)) * 32)
    parts = parts_of(box_key, found.directory)
    with trio.CancelScope() as scope:
        async with (
            found.network.open_swarm(key=key, origin=origin) as swarm,
            trio.open_nursery() as nursery,
        ):
            relay = await nursery.start(
                lambda task_status: run_relay(
                    swarm,
                    listed_book(CATALOG, seed=NAMESPACE, topics={TOPIC}),
                    settings,
                    clock=TrioClock(),
                    rng=random.Random(number),
                    worker=inline,
                    parts=parts,
                    task_status=task_status,
                )
            )
            found.directory[key] = swarm.addrs
            station = Station(key, swarm, relay, box_key, scope)
            _listen_in(station)
            task_status.started(station)
            await trio.sleep_forever()


def _listen_in(station: Station) -> None:
    """Note what passes the exit's method, and of whom."""
    if doors.EXIT not in station.swarm._handlers:
        return
    handler, request_max = station.swarm._handlers[doors.EXIT]

    async def noted(peer: PeerId, body: bytes) -> bytes:
        station.told.append(peer)
        station.requests.append(body)
        return await handler(peer, body)

    station.swarm._handlers[doors.EXIT] = (noted, request_max)


async def through(
    app: MemorySwarm, entry: Station, exit_id: bytes, *boxes: bytes, timeout: float = 29
) -> DoorReply:
    """Ask an entry, as an app does."""
    peer = await app.dial(entry.swarm.addrs[0])
    body = doors.encode_entry_request(exit_id, boxes)
    limit = doors.REPLY_MAX
    reply = await app.request(peer, doors.ENTRY, body, reply_max=limit, timeout=timeout)
    return doors.decode_reply(reply, boxes=len(boxes))


async def straight(app: MemorySwarm, exit_: Station, *boxes: bytes) -> DoorReply:
    """Ask an exit, as an entry does."""
    peer = await app.dial(exit_.swarm.addrs[0])
    body = doors.encode_exit_request(boxes)
    reply = await app.request(peer, doors.EXIT, body, reply_max=doors.REPLY_MAX, timeout=29)
    return doors.decode_reply(reply, boxes=len(boxes))


def read(sealed: Sealed, answer: bytes) -> Answer:
    return inner.decode_answer(sealed.open(answer))

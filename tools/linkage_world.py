"""A month of many installs through the real code, under a virtual clock.

Runs recorder, outbox, publisher, journal, boxes, four relays with their pools, gossip in memory,
and a watcher who records everything that appears on the topic.

Only people's habits are invented; the real code decides what leaves and when. `Leak` switches one
protection off, so a test can show that the measurement would notice.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest import mock

import trio
from linkage_people import DAY, HOUR, MINUTE, Habits, invent
from trio.testing import MockClock

import methrics.node
from methrics.node.clock import Clock
from methrics.node.consent import apps as known
from methrics.node.consent.ledger import grant
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import PeerId
from methrics.node.ohttp import envelope, hpke
from methrics.node.outbox import found
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import WEEK, week_start
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.process.worker import inline
from methrics.node.publish import publisher
from methrics.node.publish.doors.libp2p import Libp2pDoor
from methrics.node.publish.entries import KeptEntries, Offer
from methrics.node.publish.entry import Entry
from methrics.node.publish.routes import Route
from methrics.node.publish.way_route import WayRoute
from methrics.node.record import opening
from methrics.node.relay.descriptor_exchange import ExchangeLimits
from methrics.node.relay.doors import Descriptors
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.own_doors import OwnDoors
from methrics.node.relay.relay import RelaySettings, Started, run_relay
from methrics.node.report import identity, prepare
from methrics.node.spool.folder import read_due, spool_folder
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.descriptor import read_descriptor
from methrics.schema.wire.envelope import public_key, split
from methrics.schema.wire.items import Report, decode_report
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision

T = TypeVar("T")

RELAYS = 4
BEGIN = week_start(1_800_000_000)
NUDGE = 60
"""Seconds after which an app checks again whether to start a publisher (writer.NUDGE_EVERY)."""


class Leak(StrEnum):
    """One protection that a control switches off."""

    NONE = "none"
    REUSED_KEY = "one key signs all reports of an install"
    NO_REST = "relays publish at the next window"
    OWN_RELAY = "each install keeps to one of four relays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One report as seen on the topic: its time, its bundle, its position in it, its relay."""

    install: int
    report: Report
    raw: bytes
    id: bytes
    key: bytes
    seen: float
    bundle: int
    place: int
    bundle_items: int
    bundle_bytes: int
    relay: str


@dataclass(slots=True)
class World:
    """The result of a run: everything on the topic in order, with the true origin of each
    report."""

    catalog: Catalog
    installs: list[Habits]
    sightings: list[Sighting] = field(default_factory=list)
    made: int = 0


class _Clock(Clock):
    """The simulation's clock, as wall and steady clock of every install and relay."""

    def __init__(self, source: MockClock) -> None:
        self._source = source

    def now(self) -> int:
        return BEGIN + int(self._source.current_time())

    def monotonic(self) -> float:  # type: ignore[override]
        return self._source.current_time()


class Install:
    """One machine with the app on it."""

    def __init__(self, habits: Habits, home: Path, world: _Running) -> None:
        self.habits = habits
        self.world = world
        self.clock = world.clock
        self.rng = random.Random(f"{world.seed}/install/{habits.number}")
        self.paths: Paths = user_paths(home, policy=str(home / "policy.json"))
        catalog = world.catalog
        self.namespace = namespace_of(catalog.label, catalog.short_key)
        self._publishing = False
        self._timing = random.Random(f"timing {habits.number}").random
        self._nudged = -NUDGE * 1.0
        grant(self.paths, self.namespace, catalog.types, now=BEGIN)
        self._be_somebody()

    def _be_somebody(self) -> None:
        """The identity, drawn from the seed of the run instead of at random."""
        journal = Journal(self.paths.outbox(self.namespace), clock=self.clock)
        week = week_start(BEGIN) - self.habits.age_weeks * WEEK
        rows = {"seed": self.rng.randbytes(32), "next_index": 0, "install_week": week}
        with journal.database.transaction() as con:
            con.executemany("INSERT INTO meta VALUES (?, ?)", rows.items())
        journal.close()

    async def live(self, days: int) -> None:
        """Runs all the days of this install."""
        if self.habits.hour is None:
            await trio.sleep(self.rng.uniform(0, HOUR))
            with trio.move_on_at(days * DAY):
                async with trio.open_nursery() as machine:
                    await self._serve(machine)
            return
        for day in range(days):
            if self.rng.random() > self.habits.active:
                continue
            start = day * DAY + self.habits.hour * HOUR + self.rng.gauss(0, 40) * MINUTE
            await trio.sleep_until(max(start, trio.current_time() + MINUTE))
            length = self.habits.length * self.rng.uniform(0.4, 1.6)
            async with trio.open_nursery() as machine:
                await self._session(machine, length)
                # The machine stays on for a while after the app ends; then it is switched off.
                await trio.sleep(self.rng.uniform(0, 40) * MINUTE)
                machine.cancel_scope.cancel()

    def _open(self) -> methrics.node.Recorder:
        return methrics.node.open(
            self.world.catalog.raw,
            home=self.paths.home,
            policy=self.paths.policy,
            clock=self.clock,
            rng=self.rng.random,
            publisher="none",
            strict=True,
        )

    async def _serve(self, machine: trio.Nursery) -> None:
        """A server records its state at its own minute of every hour."""
        with self._open() as recorder:
            while True:
                hour = trio.current_time() // HOUR + 1
                await trio.sleep_until(hour * HOUR + self.habits.phase)
                self._record(recorder, machine, hour % 6 == 0)
                up = trio.current_time() / HOUR
                recorder.record("system", uptime=up, **self.habits.values["system"])
                recorder.record("runtime", **self.habits.values["runtime"])

    async def _session(self, machine: trio.Nursery, length: float) -> None:
        with self._open() as recorder:
            if self.rng.random() < 0.6:
                recorder.record("client", **self.habits.values["client"])
                with recorder.sequence("signin", **self.habits.values["signin"]) as signin:
                    for step in ("shown", "email_given", "code_sent", "code_given", "signed_in"):
                        signin.step(step)
                        await trio.sleep(self.rng.uniform(1, 30))
                        if self.rng.random() < 0.1:
                            break
            until = trio.current_time() + length
            while trio.current_time() < until:
                self._record(recorder, machine, True)
                await trio.sleep(self.rng.uniform(5, 25) * MINUTE)
        self._nudge(machine)

    def _record(self, recorder: methrics.node.Recorder, machine: trio.Nursery, more: bool) -> None:
        for sign in ("heartbeat", "retention", "assistive"):
            recorder.record(sign, **self.habits.values[sign])
        for module in self.habits.modules if more else ():
            n = self.rng.choice([1, 1, 2, 3])
            recorder.count("module", n, module=module, **self.habits.values["module"])
        if trio.current_time() >= self._nudged + NUDGE:
            self._nudge(machine)

    def _nudge(self, machine: trio.Nursery) -> None:
        """Like spawn.nudge, with a task instead of a process."""
        self._nudged = trio.current_time()
        now = self.clock.now()
        due = read_due(spool_folder(self.paths.outbox(self.namespace)), now)
        if not self._publishing and due is not None and due <= now:
            self._publishing = True
            machine.start_soon(self._publish)

    async def _publish(self) -> None:
        try:
            await publisher.run_publisher(
                self.paths,
                self.namespace,
                publisher.PublisherSettings(entry=Entry(relays=self.world.addrs)),
                clock=self.clock,
                rng=self.rng,
                open_route=self.world.open_route(self.rng, self.habits.number),
                worker=inline,
                entropy=bytes,
                timing=self._timing,
            )
        finally:
            self._publishing = False

    def ids(self) -> list[bytes]:
        """The ids of the reports of this install; only the evaluation uses them."""
        journal = Journal(self.paths.outbox(self.namespace), clock=self.clock)
        found = [receipt.id for receipt in journal.receipts()]
        journal.close()
        return found


class _Keep:
    """Keeps the entry of an install in memory."""

    def __init__(self) -> None:
        self._kept = KeptEntries()

    def update(self, change: Callable[[KeptEntries], tuple[KeptEntries, T]]) -> T:
        self._kept, value = change(self._kept)
        return value


class _Alone(Libp2pDoor):
    """The door of a relay that names no other, and so is entry and exit."""

    async def descriptors(self) -> Descriptors:
        told = await super().descriptors()
        own = key_of(self.addr.rpartition("/p2p/")[2])
        return replace(
            told, raws=tuple(raw for raw in told.raws if read_descriptor(raw).relay == own)
        )


@dataclass
class _Running:
    """One run: its network and the watcher's records."""

    catalog: Catalog
    seed: int
    network: MemoryNetwork
    clock: _Clock
    leak: Leak
    addrs: tuple[str, ...] = ()
    seen: list[tuple[float, str, bytes]] = field(default_factory=list)
    kept: dict[int, _Keep] = field(default_factory=dict)
    """The kept entry of each install, by its number."""

    def open_route(self, rng: random.Random, number: int) -> publisher.OpenRoute:
        """A fresh host for each pass, as `publisher.network_route` gives."""
        addrs, opening = self.addrs, Libp2pDoor
        if self.leak is Leak.OWN_RELAY:
            addrs, opening = (addrs[number % len(addrs)],), _Alone
        keep = self.kept.setdefault(number, _Keep())

        @asynccontextmanager
        async def opened() -> AsyncIterator[Route]:
            async with self.network.open_swarm(listen=False) as swarm:
                yield WayRoute(
                    lambda entry: opening(swarm, entry.address),
                    Offer(user=addrs),
                    keep,
                    clock=self.clock,
                    rng=rng,
                    worker=inline,
                )

        return opened

    async def note(self, peer: PeerId, message: bytes) -> Decision:
        """The watcher, an ordinary peer of the topic."""
        await trio.lowlevel.checkpoint()
        self.seen.append((trio.current_time(), peer, message))
        return Decision.ACCEPT


async def _run(
    running: _Running, installs: list[Install], days: int, mix: MixLimits, swarms: int
) -> None:
    topic = running.catalog.topic
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(running.network.open_swarm(key=public_key(_seed(n))))
            for n in range(swarms)
        ]
        watcher = await stack.enter_async_context(running.network.open_swarm())
        await watcher.join(topic, running.note)
        running.addrs = tuple(one.addrs[0] for one in opened)
        async with trio.open_nursery() as nursery:
            for number, swarm in enumerate(opened):
                await nursery.start(partial(_serve_relay, running, swarm, number, mix))
                for peer in (watcher, *opened[:number]):
                    await swarm.dial(peer.addrs[0])
            async with trio.open_nursery() as people:
                for install in installs:
                    people.start_soon(install.live, days)
            await trio.sleep(3 * DAY)
            nursery.cancel_scope.cancel()


async def _serve_relay(
    running: _Running, swarm: MemorySwarm, number: int, mix: MixLimits, *, task_status: Started
) -> None:
    book = CatalogBook({running.catalog.topic})
    book.add(running.catalog, given=True)
    record = sign_record([running.catalog.id], example_seed(), time=0, expires=TIME_MAX)
    book.records.add(record, decode_record(record.payload))
    spread = 0.0 if running.leak is Leak.NO_REST else RelaySettings(topics=()).spread
    settings = RelaySettings(topics=(running.catalog.topic,), mix=mix, spread=spread)
    rng = random.Random(f"{running.seed}/relay/{number}")
    own = OwnDoors(
        *(swarm, settings, _seed(number)),
        files=None,
        clock=running.clock,
        rng=rng,
        limits=CALM,
        entropy=rng.randbytes,
    )
    await run_relay(
        *(swarm, book, settings),
        clock=running.clock,
        rng=rng,
        worker=inline,
        own=own,
        task_status=task_status,
    )


def _seed(number: int) -> bytes:
    """The seed of a relay's key."""
    return number.to_bytes(32, "big")


CALM = ExchangeLimits(look_every=600, dial_every=3600, dial_sooner=3600)
"""Relays look for others so rarely that months pass quickly; all are connected from the start."""


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """A folder, in memory if the system has such a folder, because the disk is not measured."""
    memory = Path("/dev/shm")
    base = str(memory) if os.access(memory, os.W_OK) else None
    home = Path(tempfile.mkdtemp(prefix="methrics-linkage-", dir=base))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


_load = functools.cache(load)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws the keys of boxes from the seed: their hashes put boxes in order."""
    draw = random.Random(f"{seed}/boxes").randbytes
    with contextlib.ExitStack() as stack:
        for module in (hpke, envelope):
            stack.enter_context(mock.patch.object(module, "system_entropy", draw))
        yield


@contextlib.contextmanager
def _leaking(leak: Leak) -> Iterator[None]:
    """Switches one protection of the real code off."""
    with contextlib.ExitStack() as stack:
        # Cached, because it is pure and called thousands of times with the same bytes.
        for module in (found, known, opening):
            stack.enter_context(mock.patch.object(module, "load", _load))
        if leak is Leak.REUSED_KEY:
            same = lambda seed, *_: identity.report_seed(seed, 0, identity.NO_SALT)  # noqa: E731
            stack.enter_context(mock.patch.object(prepare, "report_seed", same))
        yield


def simulate(
    *,
    installs: int,
    days: int,
    seed: int,
    leak: Leak = Leak.NONE,
    catalog: Catalog | None = None,
) -> World:
    """Simulates `installs` for `days`; the same arguments give the same result."""
    rng = random.Random(f"{seed}/habits")
    habits = [invent(number, rng) for number in range(installs)]
    declared = catalog or example_catalog()
    mix = MixLimits(rest=0) if leak is Leak.NO_REST else MixLimits()
    network = MemoryNetwork(rng=random.Random(seed), latency=(0.02, 0.2))
    steady = MockClock(autojump_threshold=0)
    running = _Running(declared, seed, network, _Clock(steady), leak)
    environment = {"METHRICS": "on"}
    with _home() as home, mock.patch.dict(os.environ, environment), _leaking(leak), _seeded(seed):
        os.environ.pop("DO_NOT_TRACK", None)
        people = [Install(one, home / str(one.number), running) for one in habits]
        trio.run(_run, running, people, days, mix, RELAYS, clock=steady)
        owner = {item_id: one.habits.number for one in people for item_id in one.ids()}
    world = World(declared, habits, made=len(owner))
    known: set[bytes] = set()
    for bundle, (seen, relay, message) in enumerate(running.seen):
        items = unpack(message).items
        for place, raw in enumerate(items):
            item = split(raw)
            if item.id not in owner or item.id in known:
                continue
            known.add(item.id)
            world.sightings.append(
                Sighting(
                    install=owner[item.id],
                    report=decode_report(item.payload),
                    raw=raw,
                    id=item.id,
                    key=item.key,
                    seen=seen,
                    bundle=bundle,
                    place=place,
                    bundle_items=len(items),
                    bundle_bytes=len(message),
                    relay=relay,
                )
            )
    return world


def fingerprint(world: World) -> str:
    """A digest of the run; equal for two runs with the same seed."""
    digest = hashlib.sha256()
    for one in world.sightings:
        digest.update(one.raw + str(round(one.seen)).encode())
    return digest.hexdigest()


__all__ = ["Leak", "Sighting", "World", "fingerprint", "simulate"]

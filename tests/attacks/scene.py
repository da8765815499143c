"""A relay and an aggregator under attack, honest people around them, and the final count."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from tests.attacks import world
from tests.attacks.peer import HONEST, Peer, stranger, strangers
from tests.attacks.processes import PATIENCE, Service, aggregator, relay

from methrics.aggregate.read.dataset import open_dataset
from methrics.schema.wire.envelope import Item

MEMORY_MAX = 96.0
"""MiB by which an attack may raise a victim's memory: queues and pools are full at less."""


class Scene:
    """The victims, and what honest people sent. `spent` is what the attack cost them."""

    def __init__(self, folder: Path, relay: Service, aggregator: Service, record: Item) -> None:
        self.folder = folder
        self.record = record
        self._later = world.now() - 60
        self.relay = relay
        self.aggregator = aggregator
        self.relay_addr = self.aggregator_addr = ""
        self.sent: list[bytes] = []
        self.sybils: list[Peer] = []
        self.ends: dict[str, dict[str, Any]] = {}
        self.stored: set[bytes] = set()
        self._before: dict[str, tuple[float, int, int]] = {}

    @property
    def services(self) -> tuple[Service, Service]:
        return self.relay, self.aggregator

    def measure(self) -> None:
        """Note what the victims hold before the attack."""
        self._before = {
            one.name: (one.memory, one.descriptors, one.threads) for one in self.services
        }

    def later(self) -> int:
        """A time for the next record: after that of all before."""
        self._later += 1
        return self._later

    def check_alive(self) -> None:
        """Both run, with little more memory than before."""
        for one in self.services:
            assert one.alive, one.said()[-3000:]
            grown = one.memory - self._before[one.name][0]
            assert grown < MEMORY_MAX, f"{one.name} grew by {grown:.0f} MiB"

    async def submit(self, count: int) -> list[str]:
        """Honest people hand in reports over connections of their own, until they are taken."""
        said: list[str] = []
        for start in range(0, count, 10):
            items = world.reports(min(10, count - start))
            with trio.fail_after(PATIENCE):
                while True:
                    with contextlib.suppress(EOFError, OSError, trio.BrokenResourceError):
                        async with stranger(self.relay_addr, source=HONEST) as person:
                            said += await world.hand_in(person, items, self.relay_addr)
                            break
                    await trio.sleep(0.2)
            self.sent += items
        return said

    async def publish(self, peer: Peer, count: int) -> None:
        """An honest relay, which `peer` plays, publishes reports in bundles of ten."""
        for start in range(0, count, 10):
            items = world.reports(min(10, count - start))
            await peer.publish(world.TOPIC, world.bundle(items))
            self.sent += items

    def committed(self) -> int:
        """Reports that the aggregator has acknowledged."""
        return sum(int(one["reports"]) for one in self.aggregator.events("commit"))

    async def until_stored(self, count: int | None = None) -> None:
        """Wait until the aggregator has stored as many reports as honest people sent."""
        wanted = len(self.sent) if count is None else count
        await self.aggregator.until(f"store {wanted}", lambda: self.committed() >= wanted)

    async def stop(self) -> None:
        for one in self.services:
            self.ends[one.name] = await one.stop()
        with open_dataset(self.folder / f"{self.aggregator.name}.duckdb") as data:
            self.stored = {bytes(raw) for (raw,) in data.rows("SELECT raw FROM item")}

    def swarm(self, name: str) -> int:
        """A count of the victims' swarm statistics, both together, after `stop`."""
        return sum(int(self.ends[one.name]["swarm"][name]) for one in self.services)

    @property
    def delivered(self) -> float:
        """The share of honest reports that is stored, after `stop`."""
        return len(self.stored.intersection(self.sent)) / len(self.sent)


@contextlib.asynccontextmanager
async def started(*services: Service) -> AsyncIterator[None]:
    """Kill services at the end, whatever happens."""
    try:
        yield
    finally:
        for one in services:
            one.kill()


Behave = Callable[[list[Peer]], Awaitable[None]]


@contextlib.asynccontextmanager
async def scene(
    folder: Path, *, sybils: int = 0, behave: Behave | None = None
) -> AsyncIterator[Scene]:
    """An aggregator that dials a relay; at the end both are stopped, and all honest reports must be
    stored. `sybils` connect to the relay before anyone else, and `behave`."""
    record = world.record()
    given = world.given(folder, record)
    first = relay(folder, *given)
    async with started(first):
        addr = await first.address()
        async with strangers(addr, sybils) as peers:
            if behave is not None:
                await behave(peers)
            second = aggregator(folder, *given, "--peer", addr)
            async with started(second):
                found = Scene(folder, first, second, record)
                found.relay_addr, found.aggregator_addr = addr, await second.address()
                found.sybils = peers
                await second.until("join", lambda: second.events("joined"))
                await found.submit(2)
                await found.until_stored()
                found.measure()
                yield found
                await found.submit(10)
                await found.until_stored()
                found.check_alive()
                await found.stop()
                assert found.delivered == 1.0

"""Aggregators that run on a network in memory, for the tests of what they exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aggregate_making as making
import trio

from methrics.aggregate.collect.ingest import IngestSettings
from methrics.aggregate.collect.reconciling import Reconciled
from methrics.aggregate.collect.service import AggregatorSettings, Event, run_aggregator
from methrics.aggregate.reconcile.pacing import PacingSettings
from methrics.aggregate.store.digest import DayDigest
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.node.network.memory import MemoryNetwork, MemorySwarm

CATALOG = making.catalog()
RECORD = making.record(CATALOG)


class Running:
    """One running aggregator and what it told."""

    def __init__(self, swarm: MemorySwarm, store: Store) -> None:
        self.swarm = swarm
        self.store = store
        self.events: list[Event] = []

    @property
    def sessions(self) -> list[Reconciled]:
        return [one for one in self.events if isinstance(one, Reconciled)]

    async def digests(self) -> list[DayDigest]:
        return await trio.to_thread.run_sync(self.store.day_digests)

    async def count(self) -> int:
        """The number of reports in the file: those of a session come some time after its end."""
        return sum(day.count for day in await self.digests())

    async def until_count(self, count: int) -> None:
        """Return once the file has so many reports."""
        with trio.fail_after(60):
            while await self.count() != count:
                await trio.sleep(0.02)


@asynccontextmanager
async def aggregator(network: MemoryNetwork, path: Path, **more: object) -> AsyncIterator[Running]:
    given: dict[str, object] = {
        "catalogs": [CATALOG],
        "records": [RECORD],
        "pacing": PacingSettings(soon=0.3, every=0.6, look=0.02),
        "ingest": IngestSettings(threads=2, batch_seconds=0.02),
    }
    settings = AggregatorSettings(**(given | more))  # type: ignore[arg-type]
    with Store(path) as store:
        async with network.open_swarm() as swarm, trio.open_nursery() as nursery:
            running, stop = Running(swarm, store), trio.Event()
            clock = ManualClock(making.NOW)
            nursery.start_soon(
                run_aggregator, swarm, store, settings, clock, running.events.append, stop
            )
            yield running
            stop.set()


async def until(look: Callable[[], object]) -> None:
    with trio.fail_after(60):
        while not look():
            await trio.sleep(0.02)


async def equal(*running: Running) -> None:
    """Return once all have the same digests."""
    with trio.fail_after(60):
        while True:
            found = [await one.digests() for one in running]
            if all(one == found[0] for one in found) and found[0]:
                return
            await trio.sleep(0.05)

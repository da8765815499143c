"""The clock of a running aggregator jumps by years, both ways."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import pytest
import trio
from tests.aggregate.collect.test_aggregate_service import BEATS, CATALOG, bundle, settings

from methrics.aggregate.collect.service import Event, Joined, run_aggregator
from methrics.aggregate.collect.status import Status
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.node.network.memory import MemoryNetwork

YEARS = 6 * 365 * 86_400


class Jumping(ManualClock):
    """A clock that can be set wrong."""

    wrong = 0

    def now(self) -> int:
        return super().now() + self.wrong


@pytest.mark.parametrize("wrong", [YEARS, -YEARS])
async def test_attack_a_clock_that_jumps_deletes_nothing_and_collecting_goes_on(
    tmp_path: Path, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methrics.aggregate.collect.service.STATUS_EVERY", 1)
    making.store_all(tmp_path / "a.duckdb", [CATALOG.raw, *BEATS[:10]])
    clock, told, stop = Jumping(making.NOW), list[Event](), trio.Event()
    network = MemoryNetwork(latency=(0.0, 0.001))
    with Store(tmp_path / "a.duckdb") as store:
        async with network.open_swarm() as swarm, trio.open_nursery() as nursery:
            given = settings(export_every=0.05)
            nursery.start_soon(run_aggregator, swarm, store, given, clock, told.append, stop)
            with trio.fail_after(60):
                while not any(isinstance(one, Joined) for one in told):
                    await trio.sleep(0.01)
            clock.wrong = wrong
            with trio.fail_after(60):
                while not any(isinstance(one, Status) and one.jumped for one in told):
                    await trio.sleep(0.1)
            assert store.total == 10
            clock.wrong = 0
            async with network.open_swarm(listen=False) as app:
                await app.dial(swarm.addrs[0])
                await app.wait_for_peers(CATALOG.topic, 1)
                await app.publish(CATALOG.topic, bundle(BEATS[10:20]))
                with trio.fail_after(60):
                    while store.total != 20:
                        await trio.sleep(0.1)
            stop.set()
        assert store.total == 20

"""What the processes do that the harness kills: an aggregator's work, by the real code.

`keep` works on a file with the writer and the keeper of an aggregator, on a clock that is given.
`collect` is a whole aggregator on libp2p; `publish` is an app beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from tests.kills.items import CATALOG, Spec, batch, book, erasure, report

from methrics.aggregate.collect.clock_belief import ClockBelief
from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.collect.ingest import IngestSettings
from methrics.aggregate.collect.keeper import ExportFailed, Keeper, Upkeep, UpkeepFailed
from methrics.aggregate.collect.opening import open_file
from methrics.aggregate.collect.service import AggregatorSettings, Joined, run_aggregator
from methrics.aggregate.parquet import backup as backup_module
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.reconcile.pacing import PacingSettings
from methrics.aggregate.restore import restore as restore_module
from methrics.aggregate.store import store as store_module
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock, ManualClock
from methrics.node.network.libp2p import open_swarm
from methrics.schema.wire.bundle import pack

Say = Callable[[str], None]

GRACE = 5.0
"""Seconds that replaced Parquet files stay, by the clock of `keep`."""


@contextmanager
def opened(path: str, now: int, say: Say) -> Iterator[Store]:
    """The file, as an aggregator opens it. Whatever an operator would be told is printed."""
    with open_file(Path(path), now, lambda event: say(f"told {event.line()}")).store as store:
        yield store


def keep(say: Say, file: str, now: int, steps: Sequence[Sequence[Any]]) -> None:
    """Do steps, and again once they are done: `commit`, `erase`, `checkpoint`, `keep`, `wait`."""
    clock, known = ManualClock(now), book()
    with opened(file, now, say) as store:
        keepers: dict[float, Keeper] = {}

        def keeper(forget: float) -> Keeper:
            if forget not in keepers:
                keepers[forget] = Keeper(
                    *(store, clock, partial(_failed, say), Upkeep(60.0, forget, GRACE)),
                    *(Figures(Path(file), store.directory, clock), Freshness(), lambda: False),
                    ClockBelief(store, clock, 0).allows,
                )
            return keepers[forget]

        for step, *given in steps:
            if step == "commit":
                store.commit(batch(map(report, _specs(given)), known, clock.now()))
            elif step == "erase":
                store.commit(batch(map(erasure, _specs(given)), known, clock.now()))
            elif step == "checkpoint":
                store_module.checkpoint(store.cursor())
            elif step == "keep":
                trio.run(keeper(*given).once)
            else:
                clock.advance(*given)
        for one in keepers.values():
            one.close()
        say("done")


def _failed(say: Say, event: object) -> None:
    if isinstance(event, ExportFailed | UpkeepFailed):
        say(f"told {event.error}")


def _specs(given: Sequence[Sequence[int]]) -> list[Spec]:
    return [(number, time) for number, time in given]


def collect(say: Say, file: str, now: int, peers: Sequence[str] = ()) -> None:
    """An aggregator on libp2p that collects until it is killed."""

    began = Clock().monotonic()

    class Running(Clock):
        def now(self) -> int:
            return now + int(Clock().monotonic() - began)

    async def run() -> None:
        record = book().records.newest(CATALOG.key)
        assert record is not None
        settings = AggregatorSettings(
            catalogs=[CATALOG],
            records=[record.item.raw],
            peers=peers,
            export_every=0.3,
            ingest=IngestSettings(threads=1, batch_seconds=0.02),
            pacing=PacingSettings(soon=0.1, every=0.5, look=0.05),
        )
        async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]) as swarm:

            def notify(event: object) -> None:
                _failed(say, event)
                if isinstance(event, Joined):
                    say(f"listening {swarm.addrs[0]}")

            await run_aggregator(swarm, store, settings, Running(), notify, trio.Event())

    with opened(file, now, say) as store:
        trio.run(run)


def publish(say: Say, addr: str, bundles: Sequence[Sequence[Sequence[int]]]) -> None:
    """Publish reports to the aggregator at `addr`, as fast as it takes them."""

    async def run() -> None:
        async with open_swarm() as swarm:
            await swarm.dial(addr)
            await swarm.wait_for_peers(CATALOG.topic, 1)
            for specs in bundles:
                await swarm.wait_for_room(CATALOG.topic)
                raws = [report(spec) for spec in _specs(specs)]
                await swarm.publish(CATALOG.topic, pack(CATALOG.id, raws))
            await trio.sleep(30)

    trio.run(run)


def restore(say: Say, file: str, now: int, source: str) -> None:
    """Take a directory of Parquet into the file."""
    with opened(file, now, say) as store, open_dataset(source) as dataset:
        restore_module.restore(dataset, store, lambda: now)
    say("done")


def migrate(say: Say, file: str, now: int) -> None:
    """Open a file of layout 3."""
    with opened(file, now, say):
        pass
    say("done")


def backup(say: Say, file: str, folder: str) -> None:
    """Copy the Parquet beside the file."""
    backup_module.back_up(Path(file).with_suffix(".parquet"), Path(folder))
    say("done")


JOBS: dict[str, Callable[..., None]] = {
    "keep": keep,
    "collect": collect,
    "publish": publish,
    "restore": restore,
    "migrate": migrate,
    "backup": backup,
}
"""role -> the function of the child"""

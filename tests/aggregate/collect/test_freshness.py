"""Exports that readers ask for: soon, and within a share of the time."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from methrics.aggregate.collect.freshness import LEAST, SHARE, Freshness


class Exporter:
    """Exports in a loop; each export takes `took` seconds."""

    def __init__(self, freshness: Freshness, took: float) -> None:
        self.freshness = freshness
        self.took = took
        self.began: list[float] = []

    async def run(self) -> None:
        while True:
            self.began.append(self.freshness.begin())
            await trio.sleep(self.took)
            self.freshness.end(self.began[-1])
            await self.freshness.wait(60)


async def test_a_reader_gets_an_export_that_began_after_it_asked(autojump_clock: MockClock) -> None:
    freshness = Freshness()
    exporter = Exporter(freshness, took=0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.run)
        await trio.sleep(30)
        asked = trio.current_time()
        assert await freshness.ask(10)
        assert exporter.began[-1] >= asked
        assert trio.current_time() - asked <= 1
        nursery.cancel_scope.cancel()


async def test_a_reader_that_asks_during_an_export_waits_for_the_next(
    autojump_clock: MockClock,
) -> None:
    freshness = Freshness()
    exporter = Exporter(freshness, took=0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.run)
        await trio.sleep(0.1)
        asked = trio.current_time()
        assert await freshness.ask(10)
        assert exporter.began[-1] >= asked
        nursery.cancel_scope.cancel()


async def test_attack_by_readers_that_ask_all_the_time(autojump_clock: MockClock) -> None:
    """Exports take no more than their share of the time."""
    freshness = Freshness()
    exporter = Exporter(freshness, took=0.5)

    async def ask() -> None:
        while True:
            await freshness.ask(2)
            await trio.sleep(0.3)

    with trio.move_on_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exporter.run)
            for _ in range(5):
                nursery.start_soon(ask)
    busy = len(exporter.began) * exporter.took / 100
    assert SHARE / 2 < busy < SHARE * 1.2


async def test_without_an_exporter_a_reader_waits_only_so_long(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert not await Freshness().ask(2)
    assert trio.current_time() - began == 2


async def test_a_moment_after_an_export_nobody_waits(autojump_clock: MockClock) -> None:
    freshness = Freshness()
    freshness.end(freshness.begin())
    began = trio.current_time()
    assert await freshness.ask(5)
    assert trio.current_time() == began
    await trio.sleep(LEAST)
    assert not await freshness.ask(1)

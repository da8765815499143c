"""Two real shards and a whole aggregator: a lost shard is rebuilt, the lake equals the whole."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import pytest
import trio
from test_aggregate_process import Aggregator, feed, make_bundles, running

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.digest import digests
from methrics.node.network.libp2p import open_swarm

pytestmark = pytest.mark.wire

BUNDLES, SIZE = 8, 25


def days(path: Path) -> object:
    """The digests of all days, and whether everything is valid."""
    with open_dataset(path) as dataset:
        dataset.bring("item", "catalog")
        found = sorted(
            (one.key, one.day, one.count, one.digest) for one in digests(dataset.connection)
        )
        assert verify(dataset).mismatches == []
        return found


async def committed(total: int, *aggregators: Aggregator) -> None:
    """Return when these have committed so many reports together."""

    async def follow(one: Aggregator) -> None:
        while await one.event() is not None:
            pass

    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            for one in aggregators:
                nursery.start_soon(follow, one)
            while sum(one.acknowledged for one in aggregators) < total:
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()


async def stopped(*aggregators: Aggregator) -> None:
    for one in aggregators:
        one.process.send_signal(signal.SIGINT)
    for one in aggregators:
        assert await one.end() == 0


@pytest.mark.shows("NEW-2")
async def test_a_lost_shard_is_rebuilt_and_the_lake_equals_the_whole(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    bundles = make_bundles(BUNDLES, SIZE, int(time.time()))

    def shard(number: int, *more: str) -> contextlib.AbstractAsyncContextManager[Aggregator]:
        options = ["--shard", f"{number}/2", "--lake", str(lake), *more]
        return running(tmp_path / f"{number}.duckdb", *options)

    async with running(tmp_path / "whole.duckdb") as whole:
        peer = ["--peer", await whole.listening()]
        async with shard(1, *peer) as first, shard(2, *peer) as second:
            async with open_swarm(listen=()) as swarm:
                for one in (first, second):
                    await one.listening()
                await feed(swarm, peer[1], bundles)
                with trio.fail_after(120):  # the shards ask for what the whole one offers
                    await committed(BUNDLES * SIZE, whole)
                    await committed(BUNDLES * SIZE, first, second)
            lost = second.acknowledged
            assert 0 < lost < BUNDLES * SIZE
            second.process.kill()
            await stopped(first)
        for path in (*tmp_path.glob("2.*"), *lake.glob("manifest.2-of-2.json")):
            path.unlink()
        async with shard(2, *peer) as second:
            await second.listening()
            with trio.fail_after(120):
                await committed(lost, second)
            await stopped(second, whole)
    assert days(lake) == days(tmp_path / "whole.duckdb")

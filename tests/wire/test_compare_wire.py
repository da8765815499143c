"""Real aggregators: a key that lasts, `methrics compare` with one that runs, and who is trusted."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
import trio
from tests.wire.test_aggregate_process import MAIN, Aggregator, feed, make_bundles, running

from methrics.node.clock import Clock
from methrics.node.network.libp2p import open_swarm

pytestmark = pytest.mark.wire


async def compare(*arguments: str) -> tuple[int, dict[str, object]]:
    """The exit code and the answer of `methrics compare --json`."""
    command = [sys.executable, "-c", MAIN, "compare", "--json", *arguments]
    done = await trio.run_process(command, capture_stdout=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.shows("NEW-2")
async def test_two_running_aggregators_are_compared_and_keep_their_peer_ids(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one.duckdb", tmp_path / "other.duckdb"
    bundles = make_bundles(4, 25, Clock().now())
    with trio.fail_after(120):
        async with (
            running(one) as first,
            running(other, "--export-every", "0.5s") as second,
            open_swarm() as swarm,
            open_swarm() as another,
        ):
            addr, peer = await first.listening(), await second.listening()
            await feed(swarm, addr, bundles)
            await feed(another, peer, bundles)
            for aggregator in (first, second):
                await until(aggregator, 100)
            code, found = await compare(addr, await exported(other))
            assert (code, found["equal"]) == (0, True)
            await feed(swarm, addr, make_bundles(3, 25, Clock().now()))
            await until(first, 175)
            code, found = await compare(addr, str(other.with_suffix(".parquet")))
            assert (code, found["equal"]) == (1, False)
        key = one.with_suffix(".key")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        async with running(one) as again:
            assert (await again.listening()).rpartition("/")[2] == addr.rpartition("/")[2]


async def until(one: Aggregator, total: int) -> None:
    """Return when it has committed `total` reports."""
    with trio.fail_after(60):
        while one.acknowledged < total:
            assert await one.event() is not None, "the aggregator has ended"


async def exported(file: Path) -> str:
    """The directory beside a file, once it has the 100 reports."""
    directory = file.with_suffix(".parquet")
    with trio.fail_after(60):
        while True:
            if (directory / "manifest.json").exists():
                days = json.loads((directory / "manifest.json").read_bytes())["days"]
                if sum(one["count"] for own in days.values() for one in own.values()) >= 100:
                    return str(directory)
            await trio.sleep(0.2)

"""Three real aggregators that each heard only a part end with the same set (NEW-2)."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from pathlib import Path

import pytest
import trio
from test_aggregate_process import CATALOG, Aggregator, check, feed, make_bundles, running

from methrics.node.network.libp2p import open_swarm
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import split

pytestmark = pytest.mark.wire

LOSS = 0.3


async def heard(file: Path, bundles: list[bytes], *, killed: bool) -> set[bytes]:
    """Feed one aggregator, which is connected to no other; return the ids that it was sent. A
    killed one may lose what it had not committed."""
    async with running(file) as one, open_swarm(listen=()) as swarm:
        addr = await one.listening()
        await feed(swarm, addr, bundles)
        wanted = {split(raw).id for bundle in bundles for raw in unpack(bundle).items}
        with trio.fail_after(60):
            while one.acknowledged < (1 if killed else len(wanted)):
                await one.event("commit")
        if not killed:
            one.process.send_signal(signal.SIGINT)
            await one.end()
    return wanted


async def until(one: Aggregator, total: int) -> None:
    """Return when the aggregator has committed `total` reports."""
    while one.acknowledged != total:
        assert await one.event() is not None, "the aggregator has ended"


async def digests(one: Aggregator) -> object:
    """Stop an aggregator and return what it says of its set."""
    one.process.send_signal(signal.SIGINT)
    with trio.fail_after(60):
        event = await one.event("stopped")
    assert event is not None
    return event["namespaces"]


@pytest.mark.shows("NEW-2")
async def test_three_aggregators_with_different_thirds_end_equal(tmp_path: Path) -> None:
    rng = random.Random(1)
    bundles = make_bundles(36, 25, int(time.time()))
    sent: set[bytes] = set()
    files = [tmp_path / f"{name}.duckdb" for name in "abc"]
    for i, file in enumerate(files):
        own = [
            bundle
            for n, bundle in enumerate(bundles)
            if n % 3 == i or (n % 3 == (i + 1) % 3 and rng.random() > LOSS)
        ]
        part = [bundle for bundle in own if rng.random() > LOSS]
        sent |= await heard(file, part, killed=False)
    assert len(sent) < 36 * 25
    async with running(files[0]) as first:
        peer = ["--peer", await first.listening()]
        async with running(files[1], *peer) as second:
            async with running(files[2], *peer) as third:
                await third.listening()
                with trio.move_on_after(2.5):  # in the middle, as a rule
                    await third.event("reconciled")
                third.process.kill()
                await third.end()
            had = await trio.to_thread.run_sync(check, files[2])
            async with running(files[2], *peer) as third:
                third.acknowledged = had  # if it lacks nothing, it tells of no commit
                with trio.fail_after(120):
                    for one in (first, second, third):
                        await until(one, len(sent))
                found = [await digests(one) for one in (first, second, third)]
    assert found[0] == found[1] == found[2]


async def test_what_was_not_committed_when_it_was_killed_comes_from_a_peer(tmp_path: Path) -> None:
    bundles = make_bundles(12, 25, int(time.time()))
    files = [tmp_path / f"{name}.duckdb" for name in "ab"]
    await heard(files[0], bundles, killed=False)
    await heard(files[1], bundles, killed=True)
    async with running(files[0]) as first, contextlib.AsyncExitStack() as stack:
        peer = ["--peer", await first.listening()]
        second = await stack.enter_async_context(running(files[1], *peer))
        with trio.fail_after(60):
            while (event := await second.event("reconciled")) is not None and not event["same"]:
                pass
        assert await digests(second) == await digests(first)
        assert CATALOG.label

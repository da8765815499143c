"""The live endpoint of a real aggregator process, over loopback."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from tests.wire.real_network import wait_until
from tests.wire.test_aggregate_process import check, feed, make_bundles, running

from methrics.aggregate.read.live import LiveDataset, live_beside, live_status, open_live
from methrics.aggregate.read.live_file import live_file_beside, read_live_file
from methrics.node.clock import Clock
from methrics.node.network.libp2p import open_swarm
from methrics.schema.errors import StoreError

pytestmark = pytest.mark.wire

SERVE = ("--http", "127.0.0.1:0", "--export-every", "1h")


async def address_of(file: Path) -> str:
    """The address of the endpoint, once there is one."""
    with trio.fail_after(60):
        while (live := read_live_file(file)) is None:
            await trio.sleep(0.05)
    return live.address


def stalled_reader(address: str) -> socket.socket:
    """A connection that asks for much and reads nothing."""
    parts = urlsplit(address)
    body = json.dumps({"sql": "FROM range(100_000_000)"}).encode()
    head = f"POST /query HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def stored(data: LiveDataset) -> int:
    """The number of reports that the endpoint shows; 0 while their table does not exist."""
    try:
        return int(data.rows("SELECT count(*) FROM example.heartbeat")[0][0])
    except StoreError:
        return 0


def workers_of(file: Path) -> list[Path]:
    """The worker processes of the aggregator that writes `file` (Linux)."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = line.read_bytes()
            if b"serve.worker" in text and bytes(file.with_suffix(".parquet")) in text:
                found.append(line)
    return found


def ask(address: str) -> None:
    """Ask for data and for what is refused."""
    with open_live(address) as data:
        wait_until("show all reports", lambda: stored(data) == 200)
        with pytest.raises(StoreError, match="cannot be used"):
            data.rows("FROM read_text('/etc/hostname')")
    status = live_status(address)
    assert status is not None
    assert status["reports"] == status["counts"]["reports"] == 200
    assert status["commits"]["count"] > 0
    assert status["network"]["accepted"] == 8


@pytest.mark.shows("METH-1")
async def test_live_data_arrive_long_before_the_next_export(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    bundles = make_bundles(8, 25, Clock().now())
    async with running(file, *SERVE) as aggregator, open_swarm() as swarm:
        address = await address_of(file)
        await feed(swarm, await aggregator.listening(), bundles)
        with trio.fail_after(60):
            while aggregator.acknowledged < 200:
                await aggregator.event("commit")
        await trio.to_thread.run_sync(ask, address)
        # A reader that stalls delays no end.
        reader = await trio.to_thread.run_sync(stalled_reader, address)
        await trio.sleep(0.5)
        aggregator.process.send_signal(signal.SIGTERM)
        assert await aggregator.end() == 0
        reader.close()
    assert not live_file_beside(file).exists()
    assert check(file) == 200


async def test_a_killed_aggregator_takes_its_questions_with_it(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    async with running(file, *SERVE) as aggregator:
        await aggregator.listening()
        address = await address_of(file)
        reader = await trio.to_thread.run_sync(stalled_reader, address)
        if Path("/proc/self/cmdline").exists():
            await trio.to_thread.run_sync(wait_until, "start a worker", lambda: workers_of(file))
        aggregator.process.kill()
        await aggregator.end()
        reader.close()
    await trio.to_thread.run_sync(wait_until, "end the workers", lambda: not workers_of(file))
    assert live_file_beside(file).exists()
    assert live_beside(file) is None
    async with running(file) as aggregator:
        await aggregator.listening()
        assert not live_file_beside(file).exists()

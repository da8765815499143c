"""Real aggregators on a file that a notebook has open, and on one that gets damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from tests.ports import free_port
from tests.wire.test_aggregate_process import (
    MAIN,
    Aggregator,
    check,
    feed,
    given,
    make_bundles,
    running,
)

from methrics.node.clock import Clock
from methrics.node.network.libp2p import open_swarm

pytestmark = pytest.mark.wire

HOLD = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.read()
"""


async def until(aggregator: Aggregator, reports: int) -> None:
    with trio.fail_after(60):
        while aggregator.acknowledged < reports:
            assert await aggregator.event("commit") is not None, "it ended"


async def stop(aggregator: Aggregator) -> None:
    aggregator.process.send_signal(signal.SIGTERM)
    assert await aggregator.end() == 0


def piped(folder: Path) -> Path:
    """A key that comes through a pipe, once."""
    pipe = folder / "piped.key"
    os.mkfifo(pipe, 0o600)
    threading.Thread(target=pipe.write_text, args=[bytes(range(32)).hex()], daemon=True).start()
    return pipe


async def test_a_notebook_holds_the_file_and_no_report_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    now = Clock().now()
    async with running(file) as aggregator, open_swarm() as swarm:
        await feed(swarm, await aggregator.listening(), make_bundles(4, 25, now))
        await until(aggregator, 100)
        await stop(aggregator)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=pipe, stdout=pipe, text=True
    ) as notebook:
        assert notebook.stdout is not None
        assert notebook.stdin is not None
        notebook.stdout.readline()
        async with (
            running(file, "--key", str(piped(tmp_path)), port=free_port()) as aggregator,
            open_swarm() as swarm,
        ):
            with trio.fail_after(60):
                busy = await aggregator.event("busy")
            assert busy is not None
            assert f"by process {notebook.pid} (" in str(busy["message"])
            addr = await aggregator.listening()
            await feed(swarm, addr, make_bundles(5, 25, now))
            await until(aggregator, 125)
            notebook.stdin.close()
            with trio.fail_after(60):
                taken = await aggregator.event("taken-over")
            assert taken is not None
            assert (taken["reports"], taken["refused"], taken["unreadable"]) == (125, {}, [])
            assert await aggregator.listening() == addr, "it has the same address again"
            await stop(aggregator)
    assert check(file) == 225
    assert list(tmp_path.glob("*.side*")) == []


async def test_a_second_aggregator_is_refused_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    async with running(file) as aggregator:
        await aggregator.listening()
        command = [sys.executable, "-c", MAIN, "aggregate", str(file), *given(tmp_path)]
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode == 3
        (line,) = done.stderr.decode().splitlines()
        assert f"another aggregator (process {aggregator.process.pid}) writes {file}" in line
        assert list(tmp_path.glob("*.side*")) == []
        await stop(aggregator)


async def test_a_damaged_file_is_set_aside_and_collecting_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    now = Clock().now()
    async with running(file) as aggregator, open_swarm() as swarm:
        await feed(swarm, await aggregator.listening(), make_bundles(4, 25, now))
        await until(aggregator, 100)
        await stop(aggregator)
    with file.open("r+b") as damaged:
        damaged.seek(12_288)
        damaged.write(bytes(4096))
    async with running(file) as aggregator, open_swarm() as swarm:
        with trio.fail_after(60):
            aside = await aggregator.event("set-aside")
            taken = await aggregator.event("taken-over")
        assert aside is not None
        assert taken is not None
        assert taken["reports"] == 100, "the Parquet had them"
        await feed(swarm, await aggregator.listening(), make_bundles(5, 25, now))
        await until(aggregator, 225)
        await stop(aggregator)
    assert check(file) == 225
    assert Path(str(aside["aside"])).exists()

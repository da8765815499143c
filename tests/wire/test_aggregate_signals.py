"""Signals and lines of a real aggregator and a real relay."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from tests.listing import record_of
from tests.wire.test_aggregate_process import CATALOG, MAIN, feed, given, make_bundles, running

from methrics.node.clock import Clock
from methrics.node.network.libp2p import open_swarm
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_seed, example_source

pytestmark = pytest.mark.wire

LATER = load(sign(parse_source(example_source()), example_seed(), CATALOG))
TIMED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S.*")


async def test_sighup_reads_the_files_again_and_refuses_a_bad_one(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    async with running(file) as aggregator:
        await aggregator.listening()
        record = record_of(CATALOG, LATER, seed=example_seed(), time=Clock().now() - 60)
        (tmp_path / "record.cbor").write_bytes(record.raw)
        (tmp_path / "catalog.cbor").write_bytes(b"no catalog")
        aggregator.process.send_signal(signal.SIGHUP)
        with trio.fail_after(60):
            done = await aggregator.event("reloaded")
        assert done is not None
        assert done["changed"] == [f"the record in {tmp_path / 'record.cbor'}"]
        (refused,) = done["refused"]  # type: ignore[misc]
        assert refused["path"] == str(tmp_path / "catalog.cbor")
        (tmp_path / "catalog.cbor").write_bytes(LATER.raw)
        aggregator.process.send_signal(signal.SIGHUP)
        with trio.fail_after(60):
            done = await aggregator.event("reloaded")
        assert done is not None
        assert (len(done["changed"]), done["refused"]) == (1, [])  # type: ignore[arg-type]
        aggregator.process.send_signal(signal.SIGTERM)
        assert await aggregator.end() == 0


PEER = """
import sys, trio
from methrics.node.network.libp2p import open_swarm
from methrics.schema.wire.verdict import Decision
async def accept(peer, message):
    return Decision.ACCEPT
async def main():
    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]) as swarm:
        await swarm.join(sys.argv[2], accept)
        await swarm.dial(sys.argv[1])
        await swarm.wait_for_peers(sys.argv[2], 1)
        print("there", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_attack_a_peer_that_hangs_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    async with running(file) as aggregator, open_swarm() as swarm:
        addr = await aggregator.listening()
        command = [sys.executable, "-c", PEER, addr, CATALOG.topic]
        hanging = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        try:
            assert hanging.stdout is not None
            with trio.fail_after(60):
                said = b""
                while not said.endswith(b"\n"):  # `print` may write the text and its end apart
                    said += (part := await hanging.stdout.receive_some())
                    assert part, "it has ended"
            assert said == b"there\n"
            hanging.send_signal(signal.SIGSTOP)
            await feed(swarm, addr, make_bundles(40, 25, Clock().now()))
            with trio.fail_after(60):
                while aggregator.acknowledged < 1000:
                    await aggregator.event("commit")
            aggregator.process.send_signal(signal.SIGTERM)
            assert await aggregator.end() == 0  # within the minute that `end` allows
        finally:
            hanging.kill()
            await hanging.wait()
            await hanging.stdout.aclose()  # type: ignore[union-attr]


@pytest.mark.parametrize("command", ["relay", "aggregate"])
def test_every_line_has_a_time_and_nothing_else_is_printed(tmp_path: Path, command: str) -> None:
    target = [str(tmp_path / "a.duckdb")] if command == "aggregate" else []
    options = ["--listen", "/ip4/127.0.0.1/tcp/0", "--peer", f"/ip4/127.0.0.1/tcp/9/p2p/{DEAD}"]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, command, *target, *options, *given(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "no peer is connected" in line:
                process.send_signal(signal.SIGHUP)
            if "no file has changed" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert len(lines) > 4
    assert [line for line in lines if not TIMED.fullmatch(line.rstrip("\n"))] == []


@pytest.mark.parametrize("command", ["relay", "aggregate"])
def test_sighup_does_not_wait_for_what_came_through_pipes(tmp_path: Path, command: str) -> None:
    _, catalog, _, record = given(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    target = [str(tmp_path / "a.duckdb")] if command == "aggregate" else []
    options = ["--listen", "/ip4/127.0.0.1/tcp/0", "--catalog", "/dev/stdin"]
    options += ["--record", str(tmp_path / "fifo")]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, command, *target, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(Path(catalog).read_bytes())
        process.stdin.close()
        (tmp_path / "fifo").write_bytes(Path(record).read_bytes())
        refused = []
        for line in map(bytes.decode, process.stdout):
            if "listening on" in line:
                process.send_signal(signal.SIGHUP)
            if "not reloaded: " in line:
                refused.append(line.partition("not reloaded: ")[2])
                if len(refused) == 2:
                    process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        guard.cancel()
    assert code == 0
    assert refused[0].startswith("/dev/stdin is no regular file, and is read at the start only")
    assert refused[1].startswith(f"{tmp_path / 'fifo'} is no regular file")


DEAD = "12D3KooWPvxYPzkQzjY7hQ9cGx2bQ6pqxnqKUVn1Fr5rqCxW5BZm"
"""The id of a peer that does not run."""

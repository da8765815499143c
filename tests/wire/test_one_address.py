"""Real processes: an aggregator that was given one relay's address, and nothing else."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.listing import record_of

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.peer_ids import peer_id_of
from methrics.node.network.swarm import Swarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal as seal_box
from methrics.node.ohttp.key_config import decode_key_config
from methrics.node.relay import doors
from methrics.schema.example import example_bytes, example_catalog, example_seed
from methrics.schema.wire.descriptor import SignedDescriptor, read_descriptor
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Reason

pytestmark = pytest.mark.wire

CATALOG = example_catalog()
MAIN = "import sys; from methrics.aggregate.cli.main import main; sys.exit(main())"
LISTEN = ["--json", "--listen", "/ip4/127.0.0.1/tcp/0"]


class Running:
    """A `methrics ... --json` process."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._rest = b""

    async def event(self, name: str) -> dict[str, Any]:
        """Return the next event of that name."""
        assert self.process.stdout is not None
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if not newline:
                data = await self.process.stdout.receive_some()
                assert data, f"the process ended before {name}"
                self._rest += data
                continue
            self._rest = rest
            found: dict[str, Any] = json.loads(line)
            if found["event"] == name:
                return found


@contextlib.asynccontextmanager
async def running(*words: str) -> AsyncIterator[Running]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", MAIN, *words, *LISTEN],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


@contextlib.asynccontextmanager
async def a_relay(folder: Path, name: str, *more: str) -> AsyncIterator[tuple[Running, str]]:
    catalog, record = folder / "catalog.cbor", folder / "record.cbor"
    if not catalog.exists():
        catalog.write_bytes(example_bytes())
        record.write_bytes(record_of(CATALOG, seed=example_seed()).raw)
    given = ["--catalog", str(catalog), "--record", str(record), "--state", str(folder / name)]
    quick = ["--rest", "0s", "--batch-window", "1s"]
    async with running("relay", *given, *quick, *more) as relay:
        yield relay, (await relay.event("listening"))["addrs"][0]


async def told(app: Swarm, address: str) -> list[SignedDescriptor]:
    """Return the descriptors of today that the node at an address tells."""
    peer = await app.dial(address)
    limit = doors.DESCRIPTORS_SIZE
    reply = await app.request(peer, doors.DESCRIPTORS, b"", reply_max=limit, timeout=60)
    found = [read_descriptor(raw) for raw in doors.decode_descriptors(reply).raws]
    return [one for one in found if one.descriptor.day == int(time.time()) // DAY]


async def hand(app: Swarm, exit_: SignedDescriptor, n: int) -> None:
    """Hand a report to an exit."""
    values: dict[str, object] = {"os": "linux", "version": f"1.{n}"}
    report = Report(CATALOG.id, "heartbeat", int(time.time()) // DAY * DAY, values)
    raw = seal(Kind.REPORT, encode_report(report), bytes([n]) * 32)
    config = decode_key_config(exit_.descriptor.keys[0])
    box = seal_box(config, inner.encode_question(inner.BOX, raw))
    body = doors.encode_exit_request([box.box])
    peer, limit = peer_id_of(exit_.relay), doors.REPLY_MAX
    reply = await app.request(peer, doors.EXIT, body, reply_max=limit, timeout=60)
    (answer,) = doors.decode_reply(reply, boxes=1).answers
    assert inner.decode_answer(box.open(answer)).reason is Reason.OK


async def test_attack_the_bootstrap_relay_is_killed_and_reports_still_arrive(
    tmp_path: Path,
) -> None:
    """The aggregator gets no topic, no catalog and no second address: it learns all of them."""
    file = tmp_path / "a.duckdb"
    with trio.fail_after(300):
        async with contextlib.AsyncExitStack() as stack:
            first, address = await stack.enter_async_context(a_relay(tmp_path, "first"))
            _, other = await stack.enter_async_context(
                a_relay(tmp_path, "second", "--peer", address)
            )
            collector = await stack.enter_async_context(
                running("aggregate", str(file), "--peer", address)
            )
            where = (await collector.event("listening"))["addrs"][0]
            assert (await collector.event("joined"))["topic"] == CATALOG.topic
            app = await stack.enter_async_context(open_swarm())
            second = other.rpartition("/p2p/")[2]
            while second not in {peer_id_of(one.relay) for one in await told(app, where)}:
                await trio.sleep(1)
            first.process.kill()
            await first.process.wait()
            (exit_,) = [one for one in await told(app, other) if peer_id_of(one.relay) == second]
            for n in range(1, 4):
                await hand(app, exit_, n)
            total = 0
            while total < 3:
                total = int((await collector.event("commit"))["total"])
    with open_dataset(file) as dataset:
        assert verify(dataset).reports == 3

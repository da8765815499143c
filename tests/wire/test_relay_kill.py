"""A relay that is killed, at any moment, loses nothing that it acknowledged."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from tests.listing import record_of

import methrics.schema
from methrics.node.clock import Clock
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.ohttp import inner
from methrics.node.publish.exit_client import ExitClient
from methrics.node.relay.rest_file import SqliteRest
from methrics.schema.catalog.catalog import load
from methrics.schema.example import example_seed
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.verdict import Decision, Reason

pytestmark = pytest.mark.wire

SIGNED = Path(methrics.schema.__file__).parent / "example" / "example.cbor"
CATALOG = load(SIGNED.read_bytes())
LISTEN = "/ip4/127.0.0.1/tcp/0"
KILLS = 40

WRITER = """
import hashlib, sys
import trio
from methrics.node.clock import Clock
from methrics.node.relay.rest_file import Changes, Resting, SqliteRest
from methrics.node.relay.rest_store import RestStore

def item(number):
    name = hashlib.sha256(b"%d" % number).digest()
    return Resting(name, "topic", b"c" * 32, name * 8, number)

async def main(path, number):
    store = RestStore(SqliteRest(path), clock=Clock())
    waiting = [one.leaves for one in store.resting]

    async def put(number):
        await store.commit(Changes(puts={item(number).id: item(number)}))
        print("put", number, flush=True)
        waiting.append(number)

    while True:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                number += 1
                nursery.start_soon(put, number)
        gone, waiting = waiting[:-9], waiting[-9:]
        for one in gone:
            print("dropping", one, flush=True)
        await store.commit(Changes(drops={item(one).id for one in gone}))
        for one in gone:
            print("dropped", one, flush=True)
        if number % 5 == 0:
            await store.tidy()

trio.run(main, sys.argv[1], int(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_store_that_is_killed_at_any_moment_has_what_it_acknowledged(tmp_path: Path) -> None:
    path, draw, began = str(tmp_path / "rest.db"), random.Random(4), 0
    put: set[int] = set()
    dropping: set[int] = set()
    dropped: set[int] = set()
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-P", "-c", WRITER, path, str(began)],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in range(draw.randrange(1, 120))]
            child.kill()
            said += child.stdout.readlines()
        for line in said:
            if line.endswith("\n"):
                what, number = line.split()
                {"put": put, "dropping": dropping, "dropped": dropped}[what].add(int(number))
        file = SqliteRest(path)
        there = {one.leaves for one in file.load()[0]}
        file.close()
        assert put - dropping <= there
        assert not dropped & there
        began = max(put | there | {began})
        put |= there
    assert len(put) > KILLS


class Ears:
    """A peer of the topic that keeps every report it gets."""

    def __init__(self) -> None:
        self.reports: Counter[bytes] = Counter()

    async def __call__(self, _peer: PeerId, message: bytes) -> Decision:
        items = unpack(message).items
        self.reports.update(raw for raw in items if split(raw).kind is Kind.REPORT)
        return Decision.ACCEPT


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "record.cbor").write_bytes(record_of(CATALOG, seed=example_seed()).raw)
    main = "import sys; from methrics.aggregate.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", main, "relay", "--catalog", str(SIGNED), "--json"]
    command += ["--record", str(folder / "record.cbor"), "--state", str(folder / "state")]
    command += ["--listen", LISTEN, "--rest", "0s", "--spread", "0s", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


async def address(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    while True:  # a relay whose port has changed says first that its descriptor is older
        said = json.loads(await trio.to_thread.run_sync(child.stdout.readline))
        if "addrs" in said:
            return str(said["addrs"][0])


def report(number: int) -> bytes:
    time = Clock().now() // 86_400 * 86_400
    payload = encode_report(Report(CATALOG.id, "heartbeat", time, {"os": "linux"}))
    return seal(Kind.REPORT, payload, number.to_bytes(32, "big"))


async def hand_in(swarm: Swarm, addr: str, items: list[bytes]) -> tuple[Reason, ...]:
    answers = await ExitClient(addr, swarm).ask(inner.BOX, items)
    return tuple(one.reason for one in answers)


@pytest.mark.shows("MARS-2", "DEB-9")
async def test_a_killed_relay_publishes_what_it_acknowledged_once(tmp_path: Path) -> None:
    ears, reports = Ears(), [report(number) for number in range(24)]
    for start in (0, 8, 16):
        with serving(tmp_path, "--batch-window", "1h") as relay:
            async with open_swarm() as app:
                answers = await hand_in(app, await address(relay), reports[start : start + 8])
            assert answers == (Reason.OK,) * 8
            relay.send_signal(signal.SIGKILL)
            await trio.to_thread.run_sync(relay.wait)
    with serving(tmp_path, "--batch-window", "0.3s") as relay:
        async with open_swarm(listen=[LISTEN]) as peer:
            await peer.join(CATALOG.topic, ears)
            peer.keep(await address(relay))
            with trio.fail_after(60):
                while len(ears.reports) < len(reports):
                    await trio.sleep(0.05)
        relay.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(lambda: relay.wait(60)) == 0
    assert ears.reports == Counter(reports)
    left = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert [raw for raw in reports if raw in left or split(raw).id in left] == []
    said = [one for one in (tmp_path / "state").iterdir() if one.name.startswith("descriptor")]
    assert said, "what the relay says of itself has its own address"
    left = b"".join(one.read_bytes() for one in {*(tmp_path / "state").iterdir()} - {*said})
    assert b"127.0.0.1" not in left
    assert b"/ip4/" not in left
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "state").iterdir()} == {0}
    assert os.listdir(tmp_path / "state").count("rest.db") == 1

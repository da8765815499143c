"""A real aggregator process: killed during ingest, stopped, with a full or read-only disk."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from tests.listing import record_of

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.node.network.libp2p import open_swarm
from methrics.node.network.swarm import Swarm
from methrics.schema.errors import UnreachableError
from methrics.schema.example import example_bytes, example_catalog, example_seed
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report

pytestmark = pytest.mark.wire

CATALOG = example_catalog()
MAIN = "import sys; from methrics.aggregate.cli.main import main; sys.exit(main())"


def make_bundles(count: int, size: int, now: int) -> list[bytes]:
    """`count` bundles of `size` heartbeats each, all of them different."""
    rng = random.Random(count)
    bundles = []
    for _ in range(count):
        reports = []
        for _ in range(size):
            values: dict[str, object] = {"os": "linux", "version": f"1.{rng.randrange(10)}"}
            report = Report(CATALOG.id, "heartbeat", now // 86_400 * 86_400, values)
            reports.append(seal(Kind.REPORT, encode_report(report), rng.randbytes(32)))
        bundles.append(pack(CATALOG.id, reports))
    return bundles


class Aggregator:
    """A `methrics aggregate --json` process and the events that it has printed."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.acknowledged = 0
        self.commits = 0
        self._rest = b""

    async def event(self, wanted: str | None = None) -> dict[str, object] | None:
        """The next event (of that name); None at the end of its output."""
        assert self.process.stdout is not None
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                event: dict[str, object] = json.loads(line)
                if event["event"] == "commit":
                    self.commits += 1
                    self.acknowledged = int(str(event["total"]))
                if wanted in (None, event["event"]):
                    return event
            data = await self.process.stdout.receive_some()
            if not data:
                return None
            self._rest += data

    async def listening(self) -> str:
        """The address of the process, once it has joined the topic."""
        with trio.fail_after(60):
            event = await self.event("listening")
            assert event is not None, "the process ended before it listened"
            await self.event("joined")
        return str(event["addrs"][0])  # type: ignore[index]

    async def end(self) -> int:
        """Read what is left of its output and return its exit code."""
        with trio.fail_after(60):
            while await self.event() is not None:
                pass
            return await self.process.wait()


def given(folder: Path) -> list[str]:
    """The options that give an aggregator the catalog, and the record that lists it."""
    catalog, record = folder / "catalog.cbor", folder / "record.cbor"
    if not catalog.exists():
        catalog.write_bytes(example_bytes())
        record.write_bytes(record_of(CATALOG, seed=example_seed()).raw)
    return ["--catalog", str(catalog), "--record", str(record)]


@contextlib.asynccontextmanager
async def running(
    file: Path, *options: str, start: str = MAIN, port: int = 0
) -> AsyncIterator[Aggregator]:
    command = [sys.executable, "-c", start, "aggregate", str(file), "--json"]
    command += ["--listen", f"/ip4/127.0.0.1/tcp/{port}", *given(file.parent), *options]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield Aggregator(process)
    finally:
        process.kill()
        await process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                await pipe.aclose()


async def feed(swarm: Swarm, addr: str, bundles: list[bytes], pause: float = 0.0) -> None:
    """Publish to the aggregator at `addr` until all is sent or it is gone."""
    with contextlib.suppress(UnreachableError):
        await swarm.dial(addr)
        with trio.fail_after(60):
            await swarm.wait_for_peers(CATALOG.topic, 1)
        for bundle in bundles:
            await swarm.wait_for_room(CATALOG.topic)
            await swarm.publish(CATALOG.topic, bundle)
            await trio.sleep(pause)


def check(file: Path) -> int:
    """Check that the file opens and has each report once and valid; returns their number."""
    with open_dataset(file) as dataset:
        assert dataset.source == "file"
        found = verify(dataset)
        assert found.mismatches == []
        return found.reports


@pytest.mark.slow
async def test_attack_sigkill_in_mid_ingest_twenty_times(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    rng = random.Random(4)
    bundles = make_bundles(200, 25, _now())
    stored = grown = 0
    for round_ in range(20):
        # Earlier rounds stored some of these reports already; none may be stored twice. On a slow
        # machine, one commit may have all of these, so others follow until the kill.
        sent = rng.sample(bundles[: 10 + 3 * round_], 10)
        sent += [one for one in bundles if one not in sent]
        async with running(file) as aggregator, open_swarm() as swarm:
            addr = await aggregator.listening()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed, swarm, addr, sent, 0.2)
                with trio.fail_after(60):
                    for _ in range(round_ % 3):
                        await aggregator.event("commit")
                await trio.sleep(rng.uniform(0.0, 0.3))
                aggregator.process.kill()
                await aggregator.end()
                nursery.cancel_scope.cancel()
        found = check(file)
        assert found >= max(stored, aggregator.acknowledged), f"round {round_} lost reports"
        grown += found > stored
        stored = found
    assert grown >= 7, "the kills came too early to interrupt an ingest"


async def test_sigterm_stores_arrived_reports_and_prints_the_digest(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    bundles = make_bundles(8, 25, _now())
    async with running(file, "--export-every", "0.2s") as aggregator, open_swarm() as swarm:
        await feed(swarm, await aggregator.listening(), bundles)
        with trio.fail_after(60):
            while aggregator.acknowledged < 200:
                await aggregator.event("commit")
        with trio.fail_after(60):  # the commit may have come before the first export
            while not (file.with_suffix(".parquet") / "manifest.json").exists():
                await trio.sleep(0.05)
        with open_dataset(file) as dataset:
            assert dataset.source == "parquet"
        aggregator.process.send_signal(signal.SIGTERM)
        with trio.fail_after(60):
            stopped = await aggregator.event("stopped")
        assert await aggregator.end() == 0
    assert stopped is not None
    assert stopped["reports"] == 200
    assert check(file) == 200
    with open_dataset(file.with_suffix(".parquet")) as parquet:
        assert verify(parquet).reports == 200


@contextlib.contextmanager
def mounted(where: Path, options: str) -> Iterator[Path]:
    """A small file system mounted at `where`; skips the test if this process may not mount."""
    where.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "methrics-test", str(where)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("this machine does not let root mount")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


async def said(aggregator: Aggregator) -> str:
    """The whole standard error of the process, after its end."""
    assert aggregator.process.stderr is not None
    text = b""
    while data := await aggregator.process.stderr.receive_some():
        text += data
    return text.decode()


async def until_held(aggregator: Aggregator) -> None:
    """Return when the aggregator has said that it cannot store."""
    with trio.fail_after(60):
        held = await aggregator.event("held")
    assert held is not None, "it ended"
    assert "cannot grow" in str(held["message"])


ANY = ("--keep-free", "0")


async def ends_full(aggregator: Aggregator) -> None:
    """Stop an aggregator that cannot store: it ends with one line."""
    aggregator.process.send_signal(signal.SIGTERM)
    code = await aggregator.end()
    errors = await said(aggregator)
    assert code == 3
    assert errors.count("\n") == 1, errors
    assert "cannot grow" in errors


async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=3m") as disk:
        async with (
            running(disk / "a.duckdb", "--keep-free", "0") as aggregator,
            open_swarm() as swarm,
        ):
            addr = await aggregator.listening()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed, swarm, addr, make_bundles(100, 100, _now()))
                await until_held(aggregator)
                await ends_full(aggregator)
                nursery.cancel_scope.cancel()
        for left in disk.glob("a.duckdb*"):
            (tmp_path / left.name).write_bytes(left.read_bytes())
    assert aggregator.acknowledged <= check(tmp_path / "a.duckdb") < 10_000


async def test_it_goes_on_when_a_full_disk_has_room_again(tmp_path: Path) -> None:
    bundles = make_bundles(100, 100, _now())
    with mounted(tmp_path / "disk", "size=16m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(13 << 20))
        async with (
            running(disk / "a.duckdb", "--keep-free", "0") as aggregator,
            open_swarm() as swarm,
        ):
            addr = await aggregator.listening()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed, swarm, addr, bundles)
                await until_held(aggregator)
                ballast.unlink()
                with trio.fail_after(60):
                    resumed = await aggregator.event("resumed")
                assert resumed is not None
                assert resumed["cause"] == "store"
                nursery.cancel_scope.cancel()
            # What was refused comes again.
            await feed(swarm, addr, bundles)
            with trio.fail_after(60):
                while aggregator.acknowledged < 10_000:
                    await aggregator.event("commit")
            aggregator.process.send_signal(signal.SIGTERM)
            assert await aggregator.end() == 0
        assert check(disk / "a.duckdb") == 10_000


async def test_it_stops_accepting_before_the_disk_is_full(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=100m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(60 << 20))
        async with running(disk / "a.duckdb", "--keep-free", "50MiB") as aggregator:
            with trio.fail_after(60):
                held = await aggregator.event("held")
                assert held is not None
                assert held["cause"] == "disk"
                ballast.unlink()
                resumed = await aggregator.event("resumed")
            assert resumed is not None
            aggregator.process.send_signal(signal.SIGTERM)
            assert await aggregator.end() == 0


async def test_a_file_at_its_size_limit_loses_nothing_too(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20)); "
    file = tmp_path / "a.duckdb"
    async with running(file, start=limited + MAIN) as aggregator, open_swarm() as swarm:
        addr = await aggregator.listening()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed, swarm, addr, make_bundles(100, 100, _now()))
            await until_held(aggregator)
            await ends_full(aggregator)
            nursery.cancel_scope.cancel()
    assert aggregator.acknowledged <= check(file) < 10_000


async def test_a_read_only_disk_is_one_clear_line(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro"):
        catalog = tmp_path / "catalog.cbor"
        catalog.write_bytes(example_bytes())
        command = ["aggregate", str(tmp_path / "disk" / "a.duckdb"), "--catalog", str(catalog)]
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *command], capture_output=True, text=True, check=False
        )
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1


def _now() -> int:
    from methrics.node.clock import Clock

    return Clock().now()

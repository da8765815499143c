"""Runs `methrics aggregate` and a replaying publisher as processes, and measures the aggregator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methrics.aggregate.read.dataset import open_dataset
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_seed
from methrics.schema.wire.record import sign_record

PROGRAM = "import sys; from methrics.aggregate.cli.main import main; sys.exit(main())"
IN_PYTHON = "import sys; sys.modules['methrics_native'] = None; " + PROGRAM
"""The same, as if the verifier in C were not installed."""


@dataclass
class Sample:
    """The state of the aggregator at one commit: seconds since the start, reports so far, CPU
    seconds of the process, and its memory in MiB."""

    wall: float
    total: int
    cpu: float
    memory: float


@dataclass
class Run:
    """What was measured: from the publisher's first frame until the last report is on disk."""

    wall: float
    cpu: float
    publisher_cpu: float
    items: int
    rows: int
    size: int
    samples: list[Sample] = field(default_factory=list)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """The resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def read_event(process: subprocess.Popen[str], wanted: str) -> dict[str, Any]:
    """The next event of that name from the aggregator's output."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            raise SystemExit(f"the aggregator printed {line!r}, which is no event") from None
        if event["event"] == wanted:
            return event
    raise SystemExit(f"the aggregator ended before its event {wanted}")


def start_aggregator(
    folder: Path, catalog: Catalog, *, native: bool, more: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start an aggregator of `catalog` on the file `bench.duckdb` in `folder`, with `more`
    options."""
    signed, listed = folder / "catalog.cbor", folder / "record.cbor"
    signed.write_bytes(catalog.raw)
    now = int(time.time())
    record = sign_record([catalog.id], example_seed(), time=now, expires=now + 86_400)
    listed.write_bytes(record.raw)
    options = ["--listen", "/ip4/127.0.0.1/tcp/0", "--json", "--export-every", "0s"]
    options += ["--catalog", str(signed), "--record", str(listed), "--keep-free", "0", *more]
    program = PROGRAM if native else IN_PYTHON
    return subprocess.Popen(
        [sys.executable, "-c", program, "aggregate", str(folder / "bench.duckdb"), *options],
        stdout=subprocess.PIPE,
        text=True,
    )


def run(
    folder: Path,
    catalog: Catalog,
    frames: Path,
    count: int,
    *,
    native: bool,
    more: Sequence[str] = (),
) -> Run:
    """Send the frames, which have `count` reports, to a new aggregator in the empty `folder`, which
    has `more` options."""
    aggregator = start_aggregator(folder, catalog, native=native, more=more)
    try:
        addr = str(read_event(aggregator, "listening")["addrs"][0])
        read_event(aggregator, "joined")
        found = send(aggregator, addr, frames, count)
        aggregator.terminate()
        read_event(aggregator, "stopped")
        aggregator.wait(60)
    finally:
        aggregator.kill()
        aggregator.wait()
    file = folder / "bench.duckdb"
    with open_dataset(file) as dataset:
        found.items = dataset.rows("SELECT count(DISTINCT id) FROM item WHERE kind = 1")[0][0]
        found.rows = dataset.rows("SELECT count(*) FROM example.heartbeat")[0][0]
    found.size = file.stat().st_size
    return found


def send(aggregator: subprocess.Popen[str], addr: str, frames: Path, count: int) -> Run:
    """Let a publisher replay the frames, until the aggregator has committed `count` reports."""
    replay = Path(__file__).with_name("ingest_replay.py")
    publisher = subprocess.Popen(
        [sys.executable, replay, addr, str(frames)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "start\n"
        start, cpu, own = time.perf_counter(), cpu_seconds(aggregator.pid), publisher.pid
        publisher_cpu, samples = cpu_seconds(own), [Sample(0, 0, 0, memory_mib(aggregator.pid))]
        while samples[-1].total < count:
            total = int(read_event(aggregator, "commit")["total"])
            used = cpu_seconds(aggregator.pid) - cpu
            wall, memory = time.perf_counter() - start, memory_mib(aggregator.pid)
            samples.append(Sample(wall, total, used, memory))
        last = samples[-1]
        return Run(last.wall, last.cpu, cpu_seconds(own) - publisher_cpu, 0, 0, 0, samples)
    finally:
        publisher.kill()
        publisher.wait()

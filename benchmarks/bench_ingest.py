"""Ingest: signed reports over real gossip into DuckDB, against libsodium's bare verify rate.

Two processes on loopback, TCP with Noise and Yamux: one publishes bundles of reports that were
signed before, the other is `methrics aggregate`. The clock runs from the first publish until the
aggregator logs that the last report is committed. Before and after, one thread verifies reports of
the same size with bare libsodium. Both rates are measured on this machine in this run, so their
ratio shows the cost of everything else on the path.

    python benchmarks/bench_ingest.py [--quick | --smoke] [--reports N]

verify_ratio   reports per second / bare verifies per second (aim 0.6)
cpu_ratio      reports per CPU second of the aggregator / bare verifies per CPU second (aim 0.45)
mars_ratio     reports per second / 1,653 per second, a billion users (aim 3)
lost           reports published that are not in the file (aim 0)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio
from nacl.bindings import crypto_sign_open

from methrics.aggregate.read.dataset import open_dataset
from methrics.schema.catalog import regions
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_bytes, example_catalog, example_seed
from methrics.schema.wire.bundle import Packer, unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import sign_record
from sizes import choose, parser_of

SHOWS = ("MARS-14",)

COUNTRIES = sorted(regions.COUNTRIES)[::4]

MARS = 1653
"""Reports per second from a billion users (MARS-14)."""

AGGREGATE = "import sys; from methrics.aggregate.cli.main import main; sys.exit(main())"


def make_reports(catalog: Catalog, count: int, rng: random.Random, now: int) -> list[bytes]:
    """Heartbeats of the example catalog from the last three days, each signed with its own key.

    Values are as uneven as those of real users: most use a few versions and systems, most reports
    are the first of their day and week, and one user in three shares a country.
    """
    versions = rng.choices([f"{a}.{b}" for a in range(4) for b in range(10)], k=40)
    reports = []
    for _ in range(count):
        values: dict[str, object] = {
            "version": versions[min(39, int(rng.expovariate(0.3)))],
            "os": rng.choices(("linux", "windows", "macos", "android"), (6, 3, 2, 1))[0],
            "daily": rng.random() < 0.97,
            "weekly": rng.random() < 0.8,
            "monthly": rng.random() < 0.25,
            "age": rng.choices(range(4), (1, 2, 6, 11))[0],
        }
        if rng.random() < 1 / 3:
            values["country"] = COUNTRIES[min(59, int(rng.expovariate(0.1)))]
        time_ = (now - rng.randrange(3 * 86_400)) // 86_400 * 86_400
        payload = encode_report(Report(catalog.id, "heartbeat", time_, values))
        reports.append(seal(Kind.REPORT, payload, rng.randbytes(32)))
    return reports


def make_bundles(catalog: Catalog, reports: list[bytes]) -> list[bytes]:
    """The reports of the catalog, packed as a relay packs them."""
    packer, bundles = Packer(catalog.id), []
    for raw in reports:
        if packer.add(raw):
            bundles.append(packer.take())  # noqa: PERF401 - take() empties the packer
    if len(packer):
        bundles.append(packer.take())
    return bundles


def raw_rate(reports: list[bytes]) -> tuple[float, float]:
    """Bare verifies per second of one thread: by the wall clock, and by CPU time."""
    items = [split(raw) for raw in reports]
    signed = [(item.raw[-64:] + item.signed, item.key) for item in items]
    wall, cpu = time.perf_counter(), time.process_time()
    for message, key in signed:
        crypto_sign_open(message, key)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return len(signed) / wall, len(signed) / cpu


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def publish(addr: str, topic: str, bundles: list[bytes]) -> None:
    """The publishing process: sends all bundles as fast as the receiver takes them."""
    from methrics.node.network.libp2p import open_swarm

    async with open_swarm(listen=[]) as swarm:
        await swarm.dial(addr)
        await swarm.wait_for_peers(topic, 1)
        print("start", flush=True)
        for bundle in bundles:
            await swarm.wait_for_room(topic)
            await swarm.publish(topic, bundle)
        print("published", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)  # stay until the parent closes the pipe


def read_event(process: subprocess.Popen[str], wanted: str) -> dict[str, object]:
    """The next event of that name from the aggregator's output."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == wanted:
            return dict(event)
    raise SystemExit(f"the aggregator ended before its event {wanted}")


def measure(folder: Path, catalog: Catalog, bundles: list[bytes], count: int) -> dict[str, float]:
    """Run both processes; rates, CPU seconds and rows."""
    file, signed, listed = (folder / one for one in ("bench.duckdb", "catalog.cbor", "record.cbor"))
    signed.write_bytes(example_bytes())
    wire = folder / "bundles"
    now = int(time.time())
    record = sign_record([catalog.id], example_seed(), time=now, expires=now + 86_400)
    listed.write_bytes(record.raw)
    wire.write_bytes(b"".join(len(one).to_bytes(4, "big") + one for one in bundles))
    options = ["--listen", "/ip4/127.0.0.1/tcp/0", "--json"]
    options += ["--catalog", str(signed), "--record", str(listed)]
    aggregator = subprocess.Popen(
        [sys.executable, "-c", AGGREGATE, "aggregate", str(file), *options, "--export-every", "0s"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        addr = str(read_event(aggregator, "listening")["addrs"][0])  # type: ignore[index]
        read_event(aggregator, "joined")
        publisher = subprocess.Popen(
            [sys.executable, __file__, "--publish", addr, catalog.topic, str(wire)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "start\n"
            wall, cpu, total = time.perf_counter(), cpu_seconds(aggregator.pid), 0
            while total < count:
                total = int(read_event(aggregator, "commit")["total"])  # type: ignore[call-overload]
            wall = time.perf_counter() - wall
            cpu = cpu_seconds(aggregator.pid) - cpu
            publisher_cpu = cpu_seconds(publisher.pid)
        finally:
            publisher.kill()
            publisher.wait()
        aggregator.terminate()
        read_event(aggregator, "stopped")
        aggregator.wait(30)
    finally:
        aggregator.kill()
        aggregator.wait()
    with open_dataset(file) as dataset:
        items = dataset.rows("SELECT count(DISTINCT id) FROM item WHERE kind = 1")[0][0]
        rows = dataset.rows("SELECT count(*) FROM example.heartbeat")[0][0]
    size = file.stat().st_size
    return {
        "wall": wall,
        "cpu": cpu,
        "items": items,
        "rows": rows,
        "publisher_cpu": publisher_cpu,
        "size": size,
    }


def main() -> None:
    parser = parser_of(__doc__, "less than a minute")
    parser.add_argument("--reports", type=int, help="how many reports")
    parser.add_argument("--publish", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        addr, topic, wire = arguments.publish
        data, bundles = memoryview(Path(wire).read_bytes()), []
        while data:
            size = 4 + int.from_bytes(data[:4], "big")
            bundles.append(bytes(data[4:size]))
            data = data[size:]
        trio.run(publish, addr, topic, bundles)
        return
    count = arguments.reports or choose(arguments, full=250_000, quick=60_000, smoke=2000)
    catalog = example_catalog()
    reports = make_reports(catalog, count, random.Random(1), int(time.time()))
    bundles = make_bundles(catalog, reports)
    assert sum(len(unpack(bundle).items) for bundle in bundles) == count
    sample = reports[:6000]
    before = raw_rate(sample)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), catalog, bundles, count)
    after = raw_rate(sample)
    raw_wall, raw_cpu = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
    rate, cpu_rate = count / found["wall"], count / found["cpu"]
    result = {
        "verify_ratio": round(rate / raw_wall, 3),
        "cpu_ratio": round(cpu_rate / raw_cpu, 3),
        "lost": int(count - found["items"]),
        "reports_per_s": round(rate),
        "mars_ratio": round(rate / MARS, 2),
        "reports_per_cpu_s": round(cpu_rate),
        "raw_verify_per_s": round(raw_wall),
        "rows": int(found["rows"]),
        "reports": count,
        "bundles": len(bundles),
        "bytes_per_report": round(sum(map(len, reports)) / count, 1),
        "file_bytes_per_report": round(found["size"] / count, 1),
        "aggregator_cpu_s": round(found["cpu"], 2),
        "publisher_cpu_s": round(found["publisher_cpu"], 2),
        "wall_s": round(found["wall"], 2),
    }
    for name, value in result.items():
        print(f"{name:22} {value:>12,}")
    print(json.dumps(result))
    if found["rows"] != count or found["items"] != count:
        raise SystemExit("not every report is in the file exactly once")


if __name__ == "__main__":
    main()

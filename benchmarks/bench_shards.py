"""Shards: the same gossip to 1, 2 and 4 aggregators, each of which stores its part of the ids.

Each shard is a `methrics aggregate --shard I/N` process on loopback. Each gets all frames from a
replaying publisher of its own, as in `bench_ingest.py`. The clock runs from the first frame until
the last shard has committed its part. All processes share this machine: with as many cores as
shards and publishers, the rate by the clock would follow the CPU time. So the time of the CPU is
measured for each shard, and what a core for each shard would do is computed from it.

    python benchmarks/bench_shards.py [--quick | --smoke] [--reports N] [--shards 1,2,4]

Keys end in the number of shards; there are more with `--shards`. A report is one that arrives: each
shard gets all of them.

reports_per_s_1, _2  reports per second by the clock, on this machine
shard_us_1, _2       CPU microseconds of one shard per report that arrives, on average
per_core_1, _2       reports per second if each shard had a core of its own (computed: 1 / shard_us)
speedup_1, _2        per_core / per_core_1 (computed)
split_us             CPU microseconds for a report of another shard: received, unpacked, its id
                     computed (computed from the largest N: what shard_us_N has beyond its own
                     part, shard_us_1 / N, divided by the part of the others, 1 - 1 / N)
lost                 reports that are in no file, over all runs (aim 0)
doubled              reports that are in more than one file (aim 0)
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from bench_ingest import make_frames, make_reports
from ingest_run import cpu_seconds, read_event, start_aggregator
from methrics.aggregate.read.dataset import open_dataset
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog
from methrics.schema.wire.shard import COUNTS, shards_of
from sizes import choose, parser_of

SHOWS = ("MARS-14",)

TIME_MAX = 900.0
"""Seconds for one run."""

REPLAY = Path(__file__).with_name("ingest_replay.py")


def publish(addr: str, frames: Path) -> subprocess.Popen[str]:
    """Start a publisher that is connected, and sends the frames."""
    made = subprocess.Popen(
        [sys.executable, REPLAY, addr, str(frames)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "start\n"
    return made


class Watched:
    """A shard's process, whose commits a thread reads."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.addr = str(read_event(process, "listening")["addrs"][0])
        read_event(process, "joined")
        self.total = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "commit":
                self.total = event["total"]

    def stop(self) -> None:
        """Let the process end, and wait for that."""
        self.process.terminate()
        self.process.wait(60)
        self._thread.join()


def measure(
    folder: Path, catalog: Catalog, frames: Path, count: int, reports: int
) -> dict[str, float]:
    """Send the frames to `count` shards; return seconds, CPU seconds of all, and what they have."""
    shards = shards_of(count)
    with ExitStack() as stack:
        started: list[Watched] = []
        for shard in shards:
            place = folder / shard.folder
            place.mkdir()
            process = start_aggregator(place, catalog, native=True, more=["--shard", str(shard)])
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(Watched(process))
        pids = [one.process.pid for one in started]
        cpu, begun = sum(map(cpu_seconds, pids)), time.perf_counter()
        for one in started:
            publisher = publish(one.addr, frames)
            stack.callback(publisher.wait)
            stack.callback(publisher.kill)
        while sum(one.total for one in started) < reports:
            time.sleep(0.05)
            if time.perf_counter() - begun > TIME_MAX:
                raise SystemExit("not every report arrived in time")
        wall, used = time.perf_counter() - begun, sum(map(cpu_seconds, pids)) - cpu
        for one in started:
            one.stop()
    ids: list[bytes] = []
    for shard in shards:
        with open_dataset(folder / shard.folder / "bench.duckdb") as dataset:
            ids += [one for (one,) in dataset.rows("SELECT id FROM item WHERE kind = 1")]
    return {"wall": wall, "cpu": used, "rows": len(ids), "ids": len(set(ids))}


def figures(runs: dict[int, dict[str, float]], reports: int) -> dict[str, float]:
    """The figures of the runs, by number of shards."""
    found: dict[str, float] = {}
    lost = doubled = 0.0
    for count, one in runs.items():
        us = 1e6 * one["cpu"] / count / reports
        found[f"reports_per_s_{count}"] = reports / one["wall"]
        found[f"shard_us_{count}"] = us
        found[f"per_core_{count}"] = 1e6 / us
        lost += reports - one["ids"]
        doubled += one["rows"] - one["ids"]
    if 1 in runs:
        for count in runs:
            found[f"speedup_{count}"] = found[f"per_core_{count}"] / found["per_core_1"]
        most = max(runs)
        if most > 1:
            own = 1 / most
            found["split_us"] = (found[f"shard_us_{most}"] - found["shard_us_1"] * own) / (1 - own)
    return {**found, "lost": lost, "doubled": doubled}


def main() -> None:
    parser = parser_of(__doc__, "a minute")
    parser.add_argument("--reports", type=int, help="how many reports")
    parser.add_argument("--shards", help="the numbers of shards, such as 1,2,4")
    arguments = parser.parse_args()
    reports = arguments.reports or choose(arguments, full=200_000, quick=40_000, smoke=2000)
    numbers = arguments.shards or choose(arguments, full="1,2,4", quick="1,2,4", smoke="1,2")
    counts = [int(one) for one in numbers.split(",")]
    if not counts or not set(counts) <= set(COUNTS):
        raise SystemExit(f"--shards: numbers out of {', '.join(map(str, COUNTS))}")
    catalog = example_catalog()
    with tempfile.TemporaryDirectory() as name:
        folder, frames = Path(name), Path(name) / "frames"
        made = make_frames(frames, reports)
        runs = {}
        for count in counts:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                runs[count] = measure(Path(place), catalog, frames, count, reports)
    sample = make_reports(catalog, 1000, random.Random(1), int(time.time()))
    found = figures(runs, reports)
    result = {
        **{key: round(value, 3 if value < 100 else 1) for key, value in found.items()},
        "reports": reports,
        "bundles": made,
        "bytes_per_report": round(sum(map(len, sample)) / len(sample), 1),
        "shards": counts,
    }
    for key, value in result.items():
        print(f"{key:22} {value}")
    print(json.dumps(result))
    if result["lost"] or result["doubled"]:
        raise SystemExit("not every report is in exactly one file")


if __name__ == "__main__":
    main()

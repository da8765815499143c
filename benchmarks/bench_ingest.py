"""Ingest: signed reports over real gossip into DuckDB, against libsodium's bare verify rate.

Two processes on loopback, TCP with Noise and Yamux: one replays gossip frames that were made
before, the other is `methrics aggregate`. The clock runs from the first frame until the aggregator
logs that the last report is committed. Before and after each round, one thread verifies reports of
the same size with bare libsodium. All rates are measured on this machine in this run, so their
ratio shows the cost of everything else on the path. Compare runs on a quiet machine only.

    python benchmarks/bench_ingest.py [--quick | --smoke] [--reports N] [--rounds N] [--python]
    python benchmarks/bench_ingest.py --sustained N [--memory SIZE]

`--python` measures without the verifier in C. `--sustained N` sends N reports in one round.
`--memory` is that of `methrics aggregate`. Figures are medians over the rounds.

verify_ratio         reports per second / bare verifies per second (aim 1.0)
cpu_ratio            the same per CPU second, of the aggregator and of the verify (aim 0.65)
mars_ratio           reports per second / 1,653 per second, a billion users (aim 3)
lost                 reports published that are not in a file, over all rounds (aim 0)
aggregator_us        CPU microseconds of the aggregator per report
publisher_us         the same of the publisher
publisher_busy       CPU time of the publisher / time: below 1, it waited for the aggregator
verify_us            CPU microseconds of a bare verify
native               whether the verifier in C was used
sustained_ratio      reports per second, the last block / the first (a million, or a fifth of all)
sustained_cpu_ratio  the same per CPU second, which depends less on what else the machine does
memory_mib           most resident memory of the aggregator
memory_first_mib     the same until the first block was stored
memory_half_mib      the same until half of the reports were stored
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from nacl.bindings import crypto_sign_open

from ingest_replay import frames_of, write_frames
from ingest_run import Run, Sample, run
from methrics.schema.catalog import regions
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog
from methrics.schema.wire.bundle import Packer
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.signatures import is_native
from sizes import choose, parser_of

SHOWS = ("MARS-14",)

COUNTRIES = sorted(regions.COUNTRIES)[::4]

MARS = 1653
"""Reports per second from a billion users (MARS-14)."""

BLOCK = 1_000_000
"""Reports of a sustained run whose rates are compared, at most a fifth of all."""

PART = 50_000
"""Reports that one process makes at a time."""

SAMPLE = 6000
"""Reports that are verified for the bare rate."""


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


def make_part(part: tuple[int, int, int]) -> list[bytes]:
    """The bundles of one part: its number, its size, and the time."""
    number, count, now = part
    catalog = example_catalog()
    return make_bundles(catalog, make_reports(catalog, count, random.Random(number), now))


def make_frames(file: Path, count: int) -> int:
    """Write the gossip frames of `count` reports. Returns the number of frames."""
    now, made = int(time.time()), 0
    sizes = [min(PART, count - start) for start in range(0, count, PART)]
    parts = [(number, size, now) for number, size in enumerate(sizes)]

    def bundles() -> Iterator[bytes]:
        nonlocal made
        with ProcessPoolExecutor(2) as pool:
            for some in pool.map(make_part, parts):
                made += len(some)
                yield from some

    with file.open("wb") as out:
        write_frames(out, frames_of(example_catalog().topic, bundles()))
    return made


def raw_rate(reports: list[bytes]) -> tuple[float, float]:
    """Bare verifies per second of one thread: by the wall clock, and by CPU time."""
    items = [split(raw) for raw in reports]
    signed = [(item.raw[-64:] + item.signed, item.key) for item in items]
    wall, cpu = time.perf_counter(), time.process_time()
    for message, key in signed:
        crypto_sign_open(message, key)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return len(signed) / wall, len(signed) / cpu


def between(samples: list[Sample], first: int, last: int) -> tuple[float, float]:
    """Reports per second and per CPU second from the commit that reached `first` to that which
    reached `last`."""
    start = next(one for one in samples if one.total >= first)
    end = next(one for one in samples if one.total >= last)
    done = end.total - start.total
    return done / max(end.wall - start.wall, 1e-9), done / max(end.cpu - start.cpu, 1e-9)


def sustained(found: Run, count: int) -> dict[str, float]:
    """How the last block of a run compares with the first."""
    block = min(BLOCK, count // 5)
    first = between(found.samples, 0, block)
    last = between(found.samples, count - block, count)
    return {
        "sustained_ratio": last[0] / first[0],
        "sustained_cpu_ratio": last[1] / first[1],
        "memory_mib": most_memory(found.samples, count),
        "memory_first_mib": most_memory(found.samples, block),
        "memory_half_mib": most_memory(found.samples, count // 2),
    }


def most_memory(samples: list[Sample], total: int) -> float:
    """The most resident memory until `total` reports were stored, in MiB."""
    return max(one.memory for one in samples if one.total <= total)


def figures(found: Run, count: int, raws: list[tuple[float, float]]) -> dict[str, float]:
    """The figures of one round. `raws` are the bare rates before and after it."""
    raw_wall, raw_cpu = (statistics.mean(rates) for rates in zip(*raws, strict=True))
    rate, cpu_rate = count / found.wall, count / found.cpu
    return {
        "verify_ratio": rate / raw_wall,
        "cpu_ratio": cpu_rate / raw_cpu,
        "mars_ratio": rate / MARS,
        "reports_per_s": rate,
        "aggregator_us": 1e6 / cpu_rate,
        "publisher_us": 1e6 * found.publisher_cpu / count,
        "publisher_busy": found.publisher_cpu / found.wall,
        "verify_us": 1e6 / raw_cpu,
        "raw_verify_per_s": raw_wall,
        "wall_s": found.wall,
        "file_bytes_per_report": found.size / count,
        **sustained(found, count),
    }


def measure(
    folder: Path, count: int, rounds: int, *, native: bool, more: Sequence[str]
) -> dict[str, object]:
    """The medians over all rounds, each with a new aggregator, which has `more` options."""
    catalog, frames = example_catalog(), folder / "frames"
    sample = make_reports(catalog, SAMPLE, random.Random(1), int(time.time()))
    made = make_frames(frames, count)
    found: list[dict[str, float]] = []
    lost = doubled = 0
    raws = [raw_rate(sample)]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            result = run(Path(place), catalog, frames, count, native=native, more=more)
        raws.append(raw_rate(sample))
        found.append(figures(result, count, raws[-2:]))
        lost += count - result.items
        doubled += result.rows - result.items
    medians = {key: statistics.median(one[key] for one in found) for key in found[0]}
    return {
        **{key: round(value, 3 if value < 10 else 1) for key, value in medians.items()},
        "lost": lost,
        "doubled": doubled,
        "native": native and is_native(),
        "reports": count,
        "rounds": rounds,
        "bundles": made,
        "bytes_per_report": round(sum(map(len, sample)) / len(sample), 1),
        "verify_ratios": [round(one["verify_ratio"], 3) for one in found],
        "cpu_ratios": [round(one["cpu_ratio"], 3) for one in found],
    }


def main() -> None:
    parser = parser_of(__doc__, "less than a minute")
    parser.add_argument("--reports", type=int, help="how many reports")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--python", action="store_true", help="without the verifier in C")
    parser.add_argument("--sustained", type=int, help="one round of so many reports")
    parser.add_argument("--memory", metavar="SIZE", help="memory that the file may take")
    arguments = parser.parse_args()
    count = choose(arguments, full=250_000, quick=60_000, smoke=2000)
    rounds = choose(arguments, full=5, quick=3, smoke=1)
    count = arguments.sustained or arguments.reports or count
    rounds = 1 if arguments.sustained else arguments.rounds or rounds
    with tempfile.TemporaryDirectory() as folder:
        more = ["--memory", arguments.memory] if arguments.memory else []
        result = measure(Path(folder), count, rounds, native=not arguments.python, more=more)
    for name, value in result.items():
        print(f"{name:22} {value:>12,}" if not isinstance(value, list) else f"{name:22} {value}")
    print(json.dumps(result))
    if result["lost"] or result["doubled"]:
        raise SystemExit("not every report is in the file exactly once")


if __name__ == "__main__":
    main()

"""`make fuzz`: looks for bytes that a reader neither takes nor refuses, for FUZZ_SECONDS.

Prints what each target has run, and each finding as hex. The exit code is 1 if there is one.
FUZZ_SEED repeats a run; FUZZ_TARGET chooses one target.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

SLICE = 2.0
"""Seconds for one target before the next has its turn."""

TIME_MAX = 5.0
"""Seconds after which one input counts as a finding: it holds up a node."""

KEPT = 200
"""Mutants that were taken, kept for each target and changed further."""

ADVICE = """\
A finding is a bug of the reader, or a refusal that the table in tests/fuzz/targets.py lacks.
Mend the reader, then keep the bytes: a file schema/vectors/v1/<reason>-<name>.json, which
tools/vectors.py writes (tools/vector_content.py for items, vector_bundles.py for bundles,
vector_requests.py for requests), so that every implementation is tested with them."""


class TooSlowError(Exception):
    """One input took longer than `TIME_MAX`."""


@dataclass
class Tally:
    """What one target has run."""

    runs: int = 0
    taken: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: int = 0


@contextmanager
def limited() -> Iterator[None]:
    """Raise TooSlowError in code that runs for longer than `TIME_MAX`."""

    def stop(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, TIME_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_one(target: Target, data: bytes, tally: Tally) -> bool:
    """Run one input; whether it was taken. A finding is printed."""
    start = time.perf_counter()
    tally.runs += 1
    try:
        with limited():
            target.read(data)
    except TooSlowError:
        report(f"takes longer than {TIME_MAX:g} s", data, tally)
    except target.refusals:
        return False
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        report("".join(traceback.format_exception(error)), data, tally)
    finally:
        tally.slowest = max(tally.slowest, time.perf_counter() - start)
    tally.taken += 1
    return True


def report(what: str, data: bytes, tally: Tally) -> None:
    """Print a finding, the first five of each target."""
    tally.findings += 1
    if tally.findings <= 5:
        print(f"\nFINDING\n{what}\nbytes: {data.hex()}\n{ADVICE}\n", flush=True)


def run_slice(
    target: Target, tally: Tally, grown: list[bytes], seeds: list[bytes], rng: random.Random
) -> None:
    """Run mutants of the seeds, and of mutants that were taken, for one slice of time."""
    start = time.perf_counter()
    while time.perf_counter() < start + SLICE:
        data = mutate(rng.choice(rng.choice((seeds, seeds, grown or seeds))), rng, seeds)
        if run_one(target, data, tally):
            grown.append(data)
            if len(grown) > KEPT:
                del grown[rng.randrange(KEPT)]
    tally.seconds += time.perf_counter() - start


def main() -> int:
    seconds = float(os.environ.get("FUZZ_SECONDS", "600"))
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().getrandbits(32))
    wanted = os.environ.get("FUZZ_TARGET")
    targets = {name: one for name, one in TARGETS.items() if wanted in (None, "", name)}
    print(f"{len(targets)} targets for {seconds:g} s, FUZZ_SEED={seed}", flush=True)
    rng, end = random.Random(seed), time.monotonic() + seconds
    tallies = {name: Tally() for name in targets}
    grown: dict[str, list[bytes]] = {name: [] for name in targets}
    while time.monotonic() < end:
        for name, target in targets.items():
            if time.monotonic() < end:
                run_slice(target, tallies[name], grown[name], target.seeds(), rng)
    print(f"{'target':18}{'runs':>10}{'taken':>10}{'runs/s':>9}{'slowest ms':>12}{'findings':>10}")
    for name, one in tallies.items():
        rate = one.runs / one.seconds if one.seconds else 0
        print(
            f"{name:18}{one.runs:10,}{one.taken:10,}{rate:9,.0f}"
            f"{one.slowest * 1000:12.1f}{one.findings:10}"
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"most memory: {memory} MiB")
    return 1 if any(one.findings for one in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

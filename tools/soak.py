"""`make soak`: runs a network with 50 publishers and kills for SOAK_SECONDS, and looks for leaks.

Prints what was sent, stored and lost, and how memory, descriptors and threads grew. The exit code
is 1 if an acknowledged report is lost, or if a process grows. SOAK_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.soak.run import Plan, Result, soak

SLOPE_MAX = 0.5
"""MiB per minute after the warm-up, at any number of reports."""

REPORT_MAX = 3400
"""Most bytes that a process grows by for each report, until its caches are full: a node remembers
the report's ids, and DuckDB keeps its rows in memory until they are merged into the file. At 300
reports a minute, this and SLOPE_MAX allow less than 1.5 MiB/min."""

LEFT_MAX = 8
"""Descriptors and threads at the end, above those after the warm-up: workers come and go."""


def is_flat(result: Result, seconds: float) -> bool:
    """Whether no process has grown by more than the reports that came in `seconds` explain."""
    slope_max = SLOPE_MAX + REPORT_MAX * result.stored * 60 / seconds / 2**20
    pairs = (*result.descriptors.values(), *result.threads.values())
    return max(result.slopes.values()) < slope_max and all(
        after <= before + LEFT_MAX for before, after in pairs
    )


def main() -> int:
    seconds = float(os.environ.get("SOAK_SECONDS", "1800"))
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().getrandbits(32))
    print(f"soak for {seconds:g} s, SOAK_SEED={seed}", flush=True)
    plan = Plan(seconds=seconds, warm_up=min(300.0, seconds / 3), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        result = trio.run(partial(soak, Path(folder), plan))
    print("\n".join(result.lines()))
    bad = result.lost or result.uncommitted or not is_flat(result, seconds)
    print("FAILED" if bad else "flat, and nothing lost")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every benchmark runs to its end, and its last line is one JSON object with its documented keys.

Nothing here looks at a figure: `make bench` measures.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.needed import IN_CI

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
BENCHMARKS = sorted(FOLDER.glob("bench_*.py"))

LINE = re.compile(r"^([a-z0-9_]+)((?:, [a-z0-9_]+)*) {2,}\S", re.MULTILINE)
"""A line of a benchmark's docstring: one key or several, two spaces, what it means."""
ON_REQUEST = {"bench_query": {"alone_cpu_s"}}
"""Keys that come with an option of their own."""


def documented(path: Path) -> set[str]:
    """The keys that a benchmark's docstring lists. `a_p50, _p99` are two, with one stem."""
    found = set()
    docstring = path.read_text("utf-8").split('"""')[1]
    for first, more in LINE.findall(docstring):
        found.add(first)
        stem = first.rpartition("_")[0]
        found |= {stem + one if one[0] == "_" else one for one in more.split(", ")[1:]}
    return found - ON_REQUEST.get(path.stem, set())


@pytest.mark.wire
@pytest.mark.slow
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_runs_and_gives_the_figures_it_documents(path: Path, nobody: Path) -> None:
    done = subprocess.run(
        [sys.executable, path, "--smoke"],
        env={**os.environ, "METHRICS": "on"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    assert documented(path)
    assert documented(path) <= set(result)
    if IN_CI:
        assert result.get("left_out", []) == [], "the group `bench` is not installed"


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_documents_its_figures_and_its_sizes(path: Path) -> None:
    assert len(documented(path)) >= 3
    assert f"benchmarks/{path.name} [--quick | --smoke]" in path.read_text("utf-8")

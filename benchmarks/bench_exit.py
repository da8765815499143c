"""How much methrics delays the exit of an app: from its last statement to the end of its process.

A short command runs with and without methrics, in turns. Each run prints the monotonic clock as its
last statement; the benchmark reads the same clock when the process has ended. If something is due,
the app also starts the publisher at exit, and does not wait for it.

    python benchmarks/bench_exit.py [--quick | --smoke]

plain_exit_ms_p50, _p99   without methrics
off_..., on_..., due_...  with it: no consent; consent, nothing due; consent, a publisher to start
exit_delay_ms             the largest of those medians above plain (aim 50, DEB-4)
<kind>_whole_ms_p50       the whole run of the process, import and record() included
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sizes import choose, parser_of

SHOWS = ("DEB-4",)

ROOT = Path(__file__).resolve().parent.parent
CATALOG = ROOT / "docs" / "examples" / "app.cbor"
DAY = 86_400
NO_RELAY = "12D3KooWJcrdD88SqHwZ4vqkaD2GK8dZzgsNh74PUwVEzkyYhiev"

PLAIN = "import sys, time"
MEASURED = f"""
import sys, time
import methrics.node
if sys.argv[1:]:
    from methrics.node.clock import Clock
    Clock.now = lambda self: int(time.time()) - int(sys.argv[1])
recorder = methrics.node.open({str(CATALOG)!r}, app_version="1.4")
recorder.record("command", name="search", worked=True, seconds=0.2)
"""
LAST = "\nsys.stdout.write(str(time.monotonic())); sys.stdout.flush()\n"

KINDS = ("plain", "off", "on", "due")


def environment(home: Path, folder: Path) -> dict[str, str]:
    """The environment without a person's settings; bytecode is cached, as after an install."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("METHRICS")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env.pop("DO_NOT_TRACK", None)
    return env | {
        "METHRICS": "on",
        "METHRICS_HOME": str(home),
        # No relay listens at this address: the publisher that is started finds none.
        "METHRICS_RELAYS": f"/ip4/127.0.0.1/tcp/9/p2p/{NO_RELAY}",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }


def run(code: str, env: dict[str, str], *arguments: str) -> tuple[float, float]:
    """(milliseconds from the last statement to the end, milliseconds in all) of one process."""
    begun = time.monotonic()
    command = [sys.executable, "-c", code + LAST, *arguments]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        process.wait()
        ended = time.monotonic()
        assert process.stdout is not None
        left = float(process.stdout.read())
    return (ended - left) * 1e3, (ended - begun) * 1e3


def prepare(kind: str, home: Path, env: dict[str, str]) -> None:
    """Consent, and for `due` an event of two days ago."""
    from methrics.node.consent.ledger import grant
    from methrics.node.paths import namespace_of, user_paths
    from methrics.schema.catalog.catalog import load

    catalog = load(CATALOG.read_bytes())
    namespace = namespace_of(catalog.label, catalog.short_key)
    if kind in ("on", "due"):
        grant(user_paths(home), namespace, list(catalog.types), now=0)
    if kind == "due":
        run(MEASURED, env, str(2 * DAY))


def stop_publisher(home: Path) -> None:
    """End the publisher that a run started: it would retry for hours."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "methrics.node.publisher" in words and str(home) in words:
            os.kill(int(entry.parent.name), 9)


def measure(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The figures of every run of each kind. Each run has a new home folder."""
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for turn in range(rounds + 1):
        for kind in KINDS:
            home = folder / f"{kind}-{turn}"
            env = environment(home, folder)
            if kind != "plain":
                prepare(kind, home, env)
            figures = run(PLAIN if kind == "plain" else MEASURED, env)
            if turn:  # the first compiles, and warms the file cache
                seen[kind].append(figures)
            if kind == "due":
                time.sleep(0.3)  # let the publisher start, then end it: it would slow the next run
                stop_publisher(home)
    return seen


def report(seen: dict[str, list[tuple[float, float]]]) -> None:
    """The table, and one JSON object as the last line."""
    result: dict[str, float] = {}
    print(f"{'app':<10}{'exit p50 ms':>14}{'exit p99 ms':>14}{'whole p50 ms':>14}")
    for kind, runs in seen.items():
        exits = sorted(one[0] for one in runs)
        result[f"{kind}_exit_ms_p50"] = statistics.median(exits)
        result[f"{kind}_exit_ms_p99"] = exits[min(len(exits) - 1, int(len(exits) * 0.99))]
        result[f"{kind}_whole_ms_p50"] = statistics.median(one[1] for one in runs)
        row = [result[f"{kind}_{name}"] for name in ("exit_ms_p50", "exit_ms_p99", "whole_ms_p50")]
        print(f"{kind:<10}" + "".join(f"{value:>14.1f}" for value in row))
    plain = result["plain_exit_ms_p50"]
    result["exit_delay_ms"] = max(result[f"{kind}_exit_ms_p50"] for kind in KINDS[1:]) - plain
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


def main() -> None:
    """Runs the bench."""
    arguments = parser_of(__doc__, "under half a minute").parse_args()
    folder = Path(tempfile.mkdtemp(prefix="methrics-bench-"))
    try:
        report(measure(folder, choose(arguments, full=40, quick=10, smoke=1)))
    finally:
        for kind in folder.glob("due-*"):
            stop_publisher(kind)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

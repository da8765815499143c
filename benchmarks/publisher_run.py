"""What the publisher's process costs: `bench_network.py` measures it with a real relay.

`costs` starts `methrics relay`, records an event for each of several apps' homes, and runs
`python -m methrics.node.publisher` for each, over HTTP and over libp2p.
"""

from __future__ import annotations

import hashlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import namespace_of, user_paths
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.wire.record import sign_record

CATALOG = Path(__file__).resolve().parent.parent / "docs" / "examples" / "app.cbor"
SEED = hashlib.sha256(b"the published key of the examples").digest()
"""As in docs/examples/sign.py."""

DAY = 86_400
START_MAX = 60
"""Seconds until the relay must listen."""

WAYS = {
    "libp2p_": re.compile(r"/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+"),
    "": re.compile(r"http://127\.0\.0\.1:\d+/"),
}
"""Which address in the relay's output each way uses, by the middle of its keys' names."""

RECORD = f"""
import sys, time
from methrics.node.clock import Clock
Clock.now = lambda self: int(time.time()) - {2 * DAY}
import methrics.node
recorder = methrics.node.open({str(CATALOG)!r}, app_version="1.4")
recorder.record("command", name="search", worked=True, seconds=0.2)
"""
"""Records an event two days ago."""

PUBLISH = """
import atexit, runpy, sys, time
def tell():
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(time.process_time(), peak / 1024)
atexit.register(tell)
runpy.run_module("methrics.node.publisher", run_name="__main__", alter_sys=True)
"""
"""Runs the publisher, and at its end prints its CPU seconds and its largest memory (MiB)."""


def costs(folder: Path, rounds: int) -> dict[str, float]:
    """The CPU seconds and MiB of a publisher that sends one report, medians of `rounds` runs."""
    catalog = load(CATALOG.read_bytes())
    found: dict[str, float] = {}
    with _relay(folder, catalog) as addresses:
        for name, address in addresses.items():
            env = _environment(folder) | {"METHRICS_RELAYS": address}
            runs = [
                _publisher(folder / f"{name}home-{turn}", catalog, env)
                for turn in range(rounds + 1)
            ]
            del runs[0]  # the first compiles, and warms the file cache
            found[f"publisher_{name}cpu_s"] = statistics.median(one[0] for one in runs)
            found[f"publisher_{name}rss_mib"] = statistics.median(one[1] for one in runs)
    return found


def _publisher(home: Path, catalog: Catalog, env: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and MiB of one publisher that sends one report. Fails if no exit took it."""
    paths, env = user_paths(home), env | {"METHRICS_HOME": str(home)}
    namespace = namespace_of(catalog.label, catalog.short_key)
    grant(paths, namespace, list(catalog.types), now=0)
    # Two days ago it was recorded without relays, so that no publisher was started for it.
    _run(["-c", RECORD], env | {"METHRICS_RELAYS": ""})
    said = _run(["-c", PUBLISH, "--app", namespace, "--once"], env)
    journal = Journal(paths.outbox(namespace))
    try:
        states = [one.state for one in journal.receipts()]
    finally:
        journal.close()
    if states != [ACKNOWLEDGED]:
        raise SystemExit(f"the publisher did not send its report: {states}")
    cpu, memory = said.split()
    return float(cpu), float(memory)


def _run(arguments: Sequence[str], env: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    """The environment without a person's settings; bytecode is cached, as after an install."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("METHRICS")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env.pop("DO_NOT_TRACK", None)
    return env | {"METHRICS": "on", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


@contextmanager
def _relay(folder: Path, catalog: Catalog) -> Iterator[dict[str, str]]:
    """A relay's addresses for each of `WAYS`, while it runs."""
    now, record, log = int(time.time()), folder / "record", folder / "relay.log"
    record.write_bytes(sign_record([catalog.id], SEED, time=now, expires=now + 30 * DAY).raw)
    command = [sys.executable, "-m", "methrics.aggregate", "relay"]
    command += ["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--spread", "0s"]
    command += ["--catalog", str(CATALOG), "--record", str(record)]
    env = _environment(folder) | {
        "METHRICS_HOME": str(folder / "relay"),
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out)
    try:
        yield _addresses(process, log)
    finally:
        process.kill()
        process.wait()


def _addresses(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_MAX
    while process.poll() is None and time.monotonic() < deadline:
        said = log.read_text("utf-8")
        found = {name: one[0] for name, way in WAYS.items() if (one := way.search(said))}
        if len(found) == len(WAYS):
            return found
        time.sleep(0.05)
    raise SystemExit("the relay did not start")

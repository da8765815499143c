"""The cost for an app of `record()`, with and without consent, and of the import, beside others.

Each figure comes from its own process, and the clients take turns for several rounds, so that a
busy moment of the machine affects all of them. Each records the same event with four attributes in
its usual way. Only `record` has it on disk, safe against a kill -9, when the call returns; Glean
writes later, the others keep it in memory or send it to a socket. Nothing leaves the machine:
statsd sends to a closed port on loopback, and the uploaders of Glean and PostHog are disabled.

    python benchmarks/bench_record.py [--quick | --smoke]

record_on_us_p50, _p99   microseconds of one record() with consent (aim 6 at the median, p99 12)
count_on_us_p50, _p99    the same of one count() (aim 4)
record_off_us_p50        one record() without consent (aim 0.3)
import_ms                import methrics.node and open(), net of the bare interpreter (aim 35)
import_rss_mib           memory of that process in all (aim 16)
libp2p_loaded            1 if the import loads libp2p, nacl or trio (aim 0)
sqlite_us_p50            a bare INSERT of the same row into SQLite, not synced, for comparison
record_to_sqlite         record_on_us_p50 over sqlite_us_p50 (aim 0.75)
<peer>_us_p50, ...       the same figures of each peer
left_out                 peers that are not measured because they are not installed
*_cpu_us, *_cpu_ms       CPU time of the process, its threads included
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sizes import choose, parser_of

SOURCE = """
[catalog]
label = "bench"
contact = "https://example.org/bench"

[types.signin]
kind = "event"
question = "How do people sign in?"
why = "Decides which way to sign in is kept."
owner = "Bench"
review = "https://example.org/bench"
expires = 2099-01-01
retention_days = 30
entropy_bits = 20
chart = "bar:variant"

[types.signin.release]
delay = 600
jitter = 3600

[types.signin.fields.variant]
type = "enum"
values = ["a", "b"]
says = "Which of two designs you were shown."

[types.signin.fields.browser]
type = "enum"
values = ["chrome", "edge", "firefox", "safari"]
says = "Which browser you use."

[types.signin.fields.screen]
type = "bucket"
edges = [600, 1024, 1920]
unit = "pixels"
says = "Roughly how wide your screen is."

[types.signin.fields.new_account]
type = "flag"
says = "Whether an account was made."
"""
# The same fields, counted.
SOURCE += (
    SOURCE[SOURCE.index("[types.signin]") :]
    .replace("types.signin", "types.signins")
    .replace('kind = "event"', 'kind = "count"')
    + "\n[types.signins.count]\nmax = 1000\nwindow = 86400\n"
)

VARIANTS, BROWSERS = ("a", "b"), ("chrome", "edge", "firefox", "safari", "lynx")
WARM_UP = 300
Call = Callable[[int], object]


EVENTS: list[dict[str, object]] = [
    {
        "variant": VARIANTS[i % 2],
        "browser": BROWSERS[i % 5],
        "screen": 400 + i * 37 % 3000,
        "new_account": i % 7 == 0,
    }
    for i in range(210)
]


OFF_BATCH = 50
"""Calls of a disabled `record()` per reading: the clock itself takes as long as one call."""


def values(i: int) -> dict[str, object]:
    """The i-th event; made beforehand, and the same dictionary again after 210."""
    return EVENTS[i % 210]


def methrics_on(home: Path) -> Call:
    """`record()` with consent, into a new spool."""
    from methrics.node.spool import spool

    recorder = _recorder(home)
    spool.FOLDER_MAX = 1 << 30  # full spools are not what is measured
    return lambda i: recorder.record("signin", **values(i))


def methrics_count(home: Path) -> Call:
    """`count()` with consent: the sum of the values is on disk when the call returns."""
    recorder = _recorder(home)
    return lambda i: recorder.count("signins", **values(i))


def methrics_off(home: Path) -> Call:
    """`record()` as it is by default."""
    record = _recorder(home, grant=False).record

    def batch(_: int) -> None:
        for _ in range(OFF_BATCH):
            record("signin", variant="a", browser="edge", screen=800)

    return batch


def sqlite_floor(home: Path) -> Call:
    """An INSERT of the same row, without fsync: as durable as `record()`."""
    import sqlite3

    con = sqlite3.connect(home / "floor.db", isolation_level=None)
    con.execute("PRAGMA page_size = 1024")
    con.execute("PRAGMA journal_mode = WAL")
    con.execute("PRAGMA synchronous = NORMAL")
    con.execute("CREATE TABLE event (n INTEGER PRIMARY KEY, c INT, t TEXT, a INT, d INT, f BLOB)")
    insert, row = "INSERT INTO event (c, t, a, d, f) VALUES (?,?,?,?,?)", (1 << 47, "signin")
    cursor = con.cursor()
    return lambda i: cursor.execute(insert, (*row, 1_800_000_000, 1_800_000_900 + i, b"x" * 48))


def statsd_incr(home: Path) -> Call:
    """statsd: a counter per combination, as a datagram to loopback."""
    import statsd

    client = statsd.StatsClient("127.0.0.1", 8125)
    return lambda i: client.incr("signin.{variant}.{browser}".format(**values(i)))


def prometheus_inc(home: Path) -> Call:
    """prometheus_client: a labelled counter in memory."""
    from prometheus_client import Counter

    counter = Counter("signin", "bench", ["variant", "browser", "screen", "new_account"])

    def call(i: int) -> None:
        event = {**values(i), "screen": i % 4}
        counter.labels(**event).inc()

    return call


def opentelemetry_add(home: Path) -> Call:
    """OpenTelemetry SDK: a counter with attributes, in memory."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    meter = MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("bench")
    counter = meter.create_counter("signin")

    def call(i: int) -> None:
        event = {**values(i), "screen": i % 4}
        counter.add(1, event)

    return call


def glean_record(home: Path) -> Call:
    """Glean: an event with extras; its uploader is replaced by one that refuses."""
    from glean import Configuration, Glean, load_metrics
    from glean.net.base_uploader import BaseUploader
    from glean.net.ping_uploader import UploadResult

    class Nowhere(BaseUploader):
        def do_upload(self, request: object) -> object:
            return UploadResult.UNRECOVERABLE_FAILURE(0)

    definition = home / "metrics.yaml"
    extras = "".join(
        f"      {name}: {{description: bench, type: {kind}}}\n"
        for name, kind in (
            ("variant", "string"),
            ("browser", "string"),
            ("screen", "quantity"),
            ("new_account", "boolean"),
        )
    )
    definition.write_text(
        "$schema: moz://mozilla.org/schemas/glean/metrics/2-0-0\n"
        "bench:\n  signin:\n    type: event\n    description: bench\n    bugs: [https://x.org]\n"
        "    data_reviews: [https://x.org]\n    notification_emails: [a@example.org]\n"
        f"    expires: never\n    extra_keys:\n{extras}"
    )
    Glean.initialize(
        application_id="bench",
        application_version="1",
        upload_enabled=True,
        data_dir=home / "glean",
        configuration=Configuration(
            server_endpoint="http://127.0.0.1:9",
            ping_uploader=Nowhere(),
            allow_multiprocessing=False,
        ),
    )
    metrics = load_metrics(definition)
    return lambda i: metrics.bench.signin.record(metrics.bench.SigninExtra(**values(i)))


def posthog_capture(home: Path) -> Call:
    """PostHog: capture into its queue; the consumer is given a dead port on loopback."""
    import logging

    from posthog import Posthog

    logging.disable(logging.CRITICAL)
    client = Posthog(
        "bench",
        host="http://127.0.0.1:9",
        max_retries=0,
        max_queue_size=1_000_000,
        flush_interval=3600.0,
        flush_at=1_000_000,
    )
    return lambda i: client.capture("signin", distinct_id="someone", properties=values(i))


CONTESTANTS: dict[str, tuple[Callable[[Path], Call], str]] = {
    "record_on": (methrics_on, "methrics.node"),
    "count_on": (methrics_count, "methrics.node"),
    "record_off": (methrics_off, "methrics.node"),
    "sqlite": (sqlite_floor, "sqlite3"),
    "statsd": (statsd_incr, "statsd"),
    "prometheus": (prometheus_inc, "prometheus_client"),
    "opentelemetry": (opentelemetry_add, "opentelemetry.sdk"),
    "glean": (glean_record, "glean"),
    "posthog": (posthog_capture, "posthog"),
}
"""Name -> how to prepare one call, and the module that it needs."""

IMPORTS = {
    "methrics": "import methrics.node; methrics.node.open({catalog!r})",
    "statsd": "import statsd; statsd.StatsClient('127.0.0.1', 8125)",
    "prometheus": "import prometheus_client",
    "opentelemetry": "import opentelemetry.metrics, opentelemetry.sdk.metrics",
    "glean": "import glean",
    "posthog": "import posthog",
    "mixpanel": "import mixpanel",
}
NEEDS = {name: code.split()[1].strip(";,") for name, code in IMPORTS.items()}


def _recorder(home: Path, *, grant: bool = True):  # type: ignore[no-untyped-def]
    import methrics.node
    from methrics.node.consent.ledger import grant as allow
    from methrics.node.paths import user_paths

    raw = (home.parent / "bench.cbor").read_bytes()
    with contextlib.suppress(KeyError):
        del os.environ["DO_NOT_TRACK"]
    os.environ["METHRICS"] = "on"  # record even where CI is set
    recorder = methrics.node.open(raw, home=home, publisher="none")
    if grant:
        allow(user_paths(home), recorder.namespace, ["signin", "signins"], now=0)
    recorder.statistics()
    return recorder


def contestant(name: str, home: Path, calls: int) -> None:
    """Measures one contestant and prints its figures as JSON; the parent reads them."""
    call = CONTESTANTS[name][0](home)
    for i in range(WARM_UP):
        call(i)
    clock = time.perf_counter_ns
    batch = OFF_BATCH if name == "record_off" else 1
    taken = []
    cpu = time.process_time()
    for start in range(0, calls, batch):
        before = clock()
        call(start)
        taken.append((clock() - before) / batch)
    cpu = time.process_time() - cpu
    taken.sort()
    figures = {
        "us_p50": taken[len(taken) // 2] / 1e3,
        "us_p99": taken[int(len(taken) * 0.99)] / 1e3,
        "cpu_us": cpu / calls * 1e6,
    }
    sys.stdout.write("\n" + json.dumps(figures) + "\n")
    sys.stdout.flush()
    os._exit(0)  # some clients flush for seconds on exit


_FOOTER = """
import sys, time
cpu = time.process_time()
rss = next((int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')), 0)
loaded = any(name in sys.modules for name in ('methrics._vendor', 'nacl', 'trio'))
print(); print(cpu * 1e3, rss / 1024, int(loaded))
import os; sys.stdout.flush(); os._exit(0)
"""


def run_child(argv: list[str], folder: Path) -> str | None:
    """The last line a child prints, or None if it failed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("METHRICS")}
    # Cache bytecode, as after an install, wherever the sources are.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    env["HOME"] = str(folder)
    done = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, env=env, check=False
    )
    if done.returncode != 0 or not done.stdout.strip():
        sys.stderr.write(done.stderr[-600:])
        return None
    return done.stdout.strip().splitlines()[-1]


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def measure_calls(folder: Path, rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds of each contestant's figures."""
    seen: dict[str, list[dict[str, float]]] = {}
    for turn in range(rounds):
        for name, (_, module) in CONTESTANTS.items():
            if not installed(module):
                continue
            home = folder / f"{name}-{turn}"
            home.mkdir()
            line = run_child([__file__, "--contestant", name, str(home), str(calls)], folder)
            if line is not None:
                seen.setdefault(name, []).append(json.loads(line))
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in seen.items()
    }


def measure_imports(catalog: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Import figures of each client, net of the bare interpreter; memory of the whole process."""
    codes = {"bare": "pass"}
    for name, code in IMPORTS.items():
        if installed(NEEDS[name]):
            codes[name] = code.format(catalog=str(catalog))
    seen: dict[str, list[tuple[float, float, float, int]]] = {}
    for turn in range(rounds + 1):
        for name, code in codes.items():
            before = time.perf_counter()
            line = run_child(["-c", code + _FOOTER], catalog.parent)
            wall = (time.perf_counter() - before) * 1e3
            if line is not None and turn:  # the first turn compiles and warms the file cache
                cpu, rss, loaded = line.split()
                seen.setdefault(name, []).append((wall, float(cpu), float(rss), int(loaded)))
    middle = {
        name: [statistics.median(column) for column in zip(*runs, strict=True)]
        for name, runs in seen.items()
    }
    bare = middle.pop("bare")
    return {
        name: {
            "import_ms": row[0] - bare[0],
            "import_cpu_ms": row[1] - bare[1],
            "import_rss_mib": row[2],
            "heavy": row[3],
        }
        for name, row in middle.items()
    }


def sign_catalog(folder: Path) -> Path:
    """A signed catalog for the bench."""
    from methrics.schema.catalog.catalog import sign
    from methrics.schema.catalog.source import parse_source

    path = folder / "bench.cbor"
    path.write_bytes(sign(parse_source(SOURCE), bytes(32)))
    return path


def report(calls: dict[str, dict[str, float]], imports: dict[str, dict[str, float]]) -> None:
    """The tables, and one JSON object as the last line."""
    print(f"{'call':<16}{'p50 us':>10}{'p99 us':>10}{'CPU us':>10}")
    for name in CONTESTANTS:
        row = calls.get(name)
        cells = "".join(f"{value:>10.2f}" for value in row.values()) if row else "  not installed"
        print(f"{name:<16}{cells}")
    print(f"\n{'import':<16}{'wall ms':>10}{'CPU ms':>10}{'RSS MiB':>10}")
    for name in IMPORTS:
        row = imports.get(name)
        cells = (
            "".join(f"{value:>10.1f}" for value in list(row.values())[:3])
            if row
            else "  not installed"
        )
        print(f"{name:<16}{cells}")
    result: dict[str, object] = {}
    for name, row in calls.items():
        result.update({f"{name}_{key}": round(value, 3) for key, value in row.items()})
    for name, row in imports.items():
        prefix = "" if name == "methrics" else f"{name}_"
        keys = ("import_ms", "import_cpu_ms", "import_rss_mib")
        result.update({f"{prefix}{key}": round(row[key], 2) for key in keys})
    result["record_to_sqlite"] = round(calls["record_on"]["us_p50"] / calls["sqlite"]["us_p50"], 3)
    result["libp2p_loaded"] = int(imports["methrics"]["heavy"])
    result["left_out"] = sorted({*CONTESTANTS, *IMPORTS} - {*calls, *imports})
    print(json.dumps(result))


def main() -> None:
    """Runs the bench, or one contestant for it."""
    parser = parser_of(__doc__, "under a minute")
    parser.add_argument("--contestant", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        name, home, calls = arguments.contestant
        contestant(name, Path(home), int(calls))
        return
    folder = Path(tempfile.mkdtemp(prefix="methrics-bench-"))
    try:
        catalog = sign_catalog(folder)
        rounds, calls, turns = choose(
            arguments, full=(7, 10_000, 15), quick=(3, 2000, 5), smoke=(1, 200, 1)
        )
        report(measure_calls(folder, rounds, calls), measure_imports(catalog, turns))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""A hundred SIGKILLs of recorders and publishers lose no report and duplicate none (KPI-7).

The kills come at random times and at each step. Recorders, publishers, relay and aggregator are
real processes."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from real_network import RealNetwork, environment
from test_publisher_kill import SOURCE

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.node.clock import Clock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY, month_number
from methrics.node.outbox.rows import ACKNOWLEDGED, Receipt
from methrics.node.paths import namespace_of, user_paths
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report

pytestmark = [pytest.mark.wire, pytest.mark.slow]

RAW = sign(parse_source(SOURCE.replace("max = 999", "max = 65535")), b"k" * 32)
CATALOG = load(RAW)
NAMESPACE = namespace_of(CATALOG.label, CATALOG.short_key)

KILLS = 100
HOMES = 6
DAYS = 18
"""Simulated days of each home: fewer than the lateness of 21 days."""
CLICKS = 40
"""Events that a recorder tries to keep in each round."""

STEPS = {
    "start": 0.02,
    "journal": 0.003,
    "attempt": 0.0015,
    "deliver": 0.02,
    "hand": 0.01,
    "mark": 0.003,
    "forget": 0.001,
}
"""Step at which a publisher is killed -> seconds at most after it has come there."""


VISITS_MAX = 60
"""Visits that may be needed for what is left of one outbox."""


class Host:
    """A `kill_host.py` process and the lines that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.kept: list[int] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._line() == "ready"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._reader.join()

    def _line(self, timeout: float = 60) -> str:
        return self._lines.get(timeout=timeout)

    def begin(self, **job: object) -> int:
        """Start a child and return its pid."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        word, _, pid = self._line().partition(" ")
        assert word == "pid"
        return int(pid)

    def end(self, pid: int, step: str, after: float) -> str | int:
        """Kill the child `after` seconds after it prints `step` ("at start": now; "": never).

        Returns its exit code, or the last step it had come to if it was killed."""
        last = "start"
        deadline = time.monotonic() + after if step == "at start" else None
        while True:
            wait = 60.0 if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                line = self._line(wait)
            except queue.Empty:
                assert deadline is not None, "a child hangs"
                with suppress(ProcessLookupError):  # it has just ended, and its line is on the way
                    os.kill(pid, signal.SIGKILL)
                deadline = None
                continue
            word, _, what = line.partition(" ")
            if word == "ended":
                status = int(what)
                return last if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
            if word == "kept":
                self.kept.append(int(what))
            last = what if word == "at" else last
            if line == step:
                step, deadline = "", time.monotonic() + after


@contextmanager
def hosting(catalog: Path) -> Iterator[Host]:
    command = [sys.executable, str(Path(__file__).with_name("kill_host.py")), str(catalog)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment()) as host:
        found = Host(host)
        try:
            yield found
        finally:
            found.close()


class Home:
    """One person: the paths of their files, and their simulated time."""

    def __init__(self, folder: Path, number: int) -> None:
        self.paths = user_paths(folder / f"home-{number}")
        self.shift = -(DAYS + 1) * DAY
        self.round = 0
        grant(self.paths, NAMESPACE, ["beat", "click"], now=0)

    def receipts(self) -> list[Receipt]:
        journal = Journal(self.paths.outbox(NAMESPACE))
        try:
            return journal.receipts()
        finally:
            journal.close()


def kill_a_hundred(
    rng: random.Random, homes: list[Home], relay: str, hosts: tuple[Host, Host]
) -> tuple[Counter[str], int]:
    """Run and kill recorders and publishers on their outboxes, in rounds; count kills per step."""
    publishers, recorders = hosts
    dead: Counter[str] = Counter()
    tried = 0
    wanted = {*STEPS, "record"}
    advance = DAYS * DAY // (KILLS // (2 * HOMES) + 6)
    while dead.total() < KILLS or (wanted - dead.keys() and tried < 5 * KILLS * CLICKS):
        home = homes[tried // CLICKS % HOMES]
        home.shift = min(home.shift + advance, -DAY)
        step = rng.choice(list(STEPS))
        paths = {"home": home.paths.data}
        recorder = recorders.begin(
            role="record", shift=home.shift - 3600, first=tried, count=CLICKS, **paths
        )
        publisher = publishers.begin(role="publish", shift=home.shift, relay=relay, **paths)
        kept = str(tried + rng.randrange(CLICKS + 2))
        tried += CLICKS
        with ThreadPoolExecutor(1) as beside:
            recording = beside.submit(recorders.end, recorder, f"kept {kept}", rng.uniform(0, 1e-3))
            last = publishers.end(publisher, f"at {step}", rng.uniform(0, STEPS[step]))
        if isinstance(recording.result(), str):
            dead["record"] += 1
        if isinstance(last, str):
            dead[last] += 1
        else:
            assert last == 0, "a publisher failed by itself"
    return dead, tried


@pytest.mark.shows("KPI-7")
def test_kpi_7_a_hundred_kills(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when the test fails
    (tmp_path / "killed.cbor").write_bytes(RAW)
    homes = [Home(tmp_path, number) for number in range(HOMES)]
    with (
        RealNetwork(tmp_path, [tmp_path / "killed.cbor"], b"k" * 32) as network,
        hosting(tmp_path / "killed.cbor") as publishers,
        hosting(tmp_path / "killed.cbor") as recorders,
    ):
        dead, tried = kill_a_hundred(
            random.Random(seed), homes, network.relay, (publishers, recorders)
        )
        print(dead)  # noqa: T201
        for home in homes:
            # Later, the postponed reports are due, and after three days those whose box did not
            # leave or was not answered. A visit has room for 16. These publishers are not killed.
            for later in (DAY, *[4 * DAY] * VISITS_MAX):
                last = publishers.begin(
                    role="publish",
                    shift=home.shift + later,
                    relay=network.relay,
                    home=home.paths.data,
                )
                assert publishers.end(last, "", 0) == 0
                if {one.state for one in home.receipts()} == {ACKNOWLEDGED}:
                    break
        network.stop()
        kept = recorders.kept
    receipts = {one.id: (home, one) for home in homes for one in home.receipts()}
    with open_dataset(network.file) as data:
        assert verify(data).mismatches == []
        stored = Counter(bytes(row[0]) for row in data.rows("SELECT id FROM item WHERE kind = 1"))

    assert dead.total() >= KILLS
    assert min(dead[step] for step in (*STEPS, "record")) >= 1, "nothing was killed at some step"
    assert {one.state for _, one in receipts.values()} == {ACKNOWLEDGED}
    assert receipts.keys() - stored.keys() == set(), "acknowledged and lost"
    assert stored.keys() - receipts.keys() == set(), "a report is not in the journal"
    assert set(stored.values()) == {1}, "stored twice"
    reports = [(home, body(one)) for home, one in receipts.values()]
    clicks = Counter(one.values["serial"] for _, one in reports if one.type == "click")
    assert set(clicks.values()) == {1}, "one event in two reports"
    assert set(kept) - clicks.keys() == set(), "kept by the recorder and lost"
    assert clicks.keys() <= set(range(tried))
    beats = [(home, one) for home, one in reports if one.type == "beat"]
    assert len(beats) > HOMES
    assert max(Counter((home, one.time // DAY) for home, one in beats).values()) == 1
    months = {(home, month_number(one.time)) for home, one in beats}
    firsts = Counter((home, month_number(one.time)) for home, one in beats if one.values["monthly"])
    assert firsts == dict.fromkeys(months, 1), "only one report per month is marked as the first"
    assert Clock().now() > max(one.time for _, one in reports)


def body(receipt: Receipt) -> Report:
    """The decoded payload of a journaled report."""
    return decode_report(split(receipt.raw).payload)

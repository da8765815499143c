"""Kills aggregators in the middle of what they do, and checks their file after each kill.

The harness knows every item that it gave, and which of them a process has acknowledged. After a
kill it looks at a copy of what is on disk, so that the next process starts from what the killed one
left: the copy opens, has all that was acknowledged and no report twice, and nothing that was
erased; its digests are those of the ids that it has, and its Parquet is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
from tests.kills.items import CATALOG, DAY, NOW, RETENTION, Spec, erasure, id_of, report

from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.store import Store
from methrics.schema.wire.manifest import reports_digest

ROOT = Path(__file__).resolve().parents[2]
LAYOUT_3 = ROOT / "tests/aggregate/store/migrations/layout_3.sql"

PATIENCE = 120.0
"""Seconds after which a child counts as hanging."""

OPERATIONS = (
    *("ingest", "checkpoint", "export", "settle", "compaction", "erasure", "retention"),
    *("reconcile", "import", "migration", "backup"),
)
"""What is killed while it runs."""

STEP = 45 * DAY
"""By how much the time moves on, so that months settle and reports become over."""

AGES = 8
"""How often it moves on before a new file is begun: the catalog ends some day."""


class Host:
    """A `host.py` process, and the lines of the child that runs in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        assert self.line()[1] == "ready"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put((time.monotonic(), line.strip()))

    def begin(self, **job: Any) -> int:
        """Start a child, and return its process number."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        word, _, pid = self.line()[1].partition(" ")
        assert word == "pid"
        return int(pid)

    def line(self, timeout: float = PATIENCE) -> tuple[float, str]:
        """Return the next line, and when it came. Raises queue.Empty."""
        return self._lines.get(timeout=max(0.0, timeout))

    def end(self, pid: int) -> None:
        """Kill a child that is only there for another one."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        while not self.line()[1].startswith("ended"):
            pass


@contextmanager
def hosting() -> Iterator[Host]:
    """Run a host; end it afterwards."""
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/aggregate"), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "tests.kills.host"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT
    ) as process:
        try:
            yield Host(process)
        finally:
            process.kill()


@dataclass
class Known:
    """What the harness knows of one data set."""

    sent: dict[str, Spec] = field(default_factory=dict)
    """id -> a report that some process was given"""
    erasures: dict[str, str] = field(default_factory=dict)
    """id of an erasure that some process was given -> id of its report"""
    acknowledged: set[str] = field(default_factory=set)
    """Ids of items that are on disk."""
    gone: dict[str, bytes] = field(default_factory=dict)
    """Reports whose bytes have left the disk for good."""

    def hear(self, ids: Sequence[str]) -> None:
        self.acknowledged.update(ids)

    def over(self, now: int) -> set[str]:
        """The reports that retention may delete at `now`."""
        first = now // DAY - RETENTION
        return {one for one, (_, when) in self.sent.items() if when // DAY < first}

    def erased(self, *, surely: bool) -> set[str]:
        """The reports with an erasure that was acknowledged, or that was given to a process."""
        given = self.erasures.items()
        return {of for one, of in given if not surely or one in self.acknowledged}


@dataclass
class Tally:
    """What the kills have hit."""

    kills: int = 0
    landed: Counter[str] = field(default_factory=Counter)
    """operation -> kills while it ran"""
    between: int = 0
    """Kills while none of them ran."""
    missed: int = 0
    """Jobs that were done before the kill came."""
    checks: int = 0
    rows: int = 0
    """Most reports that a checked file had."""

    def lines(self) -> Iterator[str]:
        """Say it in words."""
        hits = ", ".join(f"{op} {self.landed[op]}" for op in OPERATIONS)
        yield f"{self.kills} kills landed in: {hits}; between operations {self.between}"
        yield f"{self.checks} checks, at most {self.rows} reports; {self.missed} jobs ended first"


class Scene:
    """One folder with a file, its peer, and its backup, at a simulated time."""

    def __init__(
        self, folder: Path, rng: random.Random, main: Host, side: Host, tally: Tally
    ) -> None:
        self.folder = folder
        self.file = folder / "live" / "a.duckdb"
        self.file.parent.mkdir(parents=True)
        self.rng = rng
        self.main = main
        self.side = side
        self.now = NOW
        self.known = Known()
        self.tally = tally
        self.ages = 0
        """How often the time has moved on."""
        self.number = 0
        self.lasts: dict[str, float] = {}
        """operation -> how long it takes, in seconds"""
        self.calls: dict[str, int] = {}
        """operation -> how often it was seen in one job, up to 3"""

    def specs(self, count: int) -> list[Spec]:
        """New reports, of the last days."""
        made = []
        for _ in range(count):
            self.number += 1
            made.append((self.number, self.now - 7200 - self.rng.randrange(3) * DAY))
        self.known.sent.update({id_of(report(spec)): spec for spec in made})
        return made

    def erasing(self, count: int) -> list[Spec]:
        """Stored reports that are to be erased."""
        over, erased = self.known.over(self.now), self.known.erased(surely=False)
        alive = sorted((self.known.acknowledged & self.known.sent.keys()) - erased - over)
        chosen = self.rng.sample(alive, min(count, len(alive)))
        specs = [self.known.sent[one] for one in chosen]
        given = zip(specs, chosen, strict=True)
        self.known.erasures.update({id_of(erasure(spec)): one for spec, one in given})
        return specs

    def job(self, op: str) -> dict[str, Any]:
        """A job in which the operation comes, with data to do it on."""
        commit = [["commit", *self.specs(40)] for _ in range(3)]
        keep = ["keep", 3600.0]
        steps: list[list[Any]] = [commit[0], keep]
        if op == "ingest":
            steps = [*commit, keep]
        elif op == "checkpoint":
            steps = [commit[0], ["checkpoint"], commit[1], ["checkpoint"]]
        elif op == "export":
            steps = [commit[0], keep, commit[1], keep]
        elif op in ("settle", "retention"):
            self.now += STEP
            self.ages += 1
            steps = [["commit", *self.specs(40)], keep, ["wait", 10], keep, ["wait", 10], keep]
        elif op == "erasure":
            steps = [commit[0], ["erase", *self.erasing(15)], keep, ["erase", *self.erasing(9)]]
        elif op == "compaction":
            forget = ["keep", 1.0]
            steps = [commit[0], ["erase", *self.erasing(12)], ["wait", 2], forget, ["wait", 2]]
            steps += [commit[1], ["erase", *self.erasing(5)], ["wait", 2], forget]
        return {"role": "keep", "file": str(self.file), "now": self.now, "steps": steps}

    def kill_in(self, op: str) -> None:
        """Kill a process at a random moment of an operation, and check what it leaves."""
        if op == "migration":
            self.kill_migrating()
        elif op == "reconcile" or (op == "ingest" and self.rng.random() < 0.5):
            self.kill_collecting(op)
        elif op == "backup":
            self.unharmed(self.job("export"))
            folder = str(self.folder / "backup")
            self.run(op, {"role": "backup", "file": str(self.file), "folder": folder})
            self.check()
        elif op == "import":
            source = str(self.other(80).with_suffix(".parquet"))
            job = {"role": "restore", "file": str(self.file), "now": self.now}
            self.run(op, job | {"source": source})
            self.check()
        else:
            self.run(op, self.job(op))
            self.check()

    def unharmed(self, job: dict[str, Any]) -> None:
        """Run a job to its end."""
        self.main.begin(**job)
        while not (line := self.main.line()[1]).startswith("ended"):
            assert not line.startswith("told"), line
            if line.startswith("ack"):
                self.known.hear(line.split()[1:])
        assert line == "ended 0"

    def kill_collecting(self, op: str) -> None:
        """Kill a whole aggregator on libp2p, while an app publishes to it, or while it fetches from
        another aggregator what it lacks."""
        job: dict[str, Any] = {"role": "collect", "file": str(self.file), "now": self.now}
        beside = None
        if op == "reconcile":
            other = {"role": "collect", "file": str(self.other(120)), "now": self.now}
            beside = self.side.begin(**other)
            while not (line := self.side.line()[1]).startswith("listening"):
                assert not line.startswith("ended"), "the other aggregator has ended"
            job["peers"] = [line.partition(" ")[2]]
        try:
            self.run(op, job, feeding=beside is None)
        finally:
            if beside is not None:
                self.side.end(beside)
        self.check()

    def finish(self) -> None:
        """The last check: nothing is left of what was erased, and every row is valid."""
        if self.file.exists():
            self.clean()
            self.verify()

    def kill_migrating(self) -> None:
        """Kill an aggregator that opens a file of layout 3; then open the file."""
        path = self.folder / "old" / "a.duckdb"
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        with memory() as con:
            con.execute(f"ATTACH '{path}' AS m (STORAGE_VERSION 'v1.5.0')")
            con.execute("USE m")
            con.execute(LAYOUT_3.read_text("utf-8"))
            before = con.execute("SELECT raw FROM item ORDER BY n").fetchall()
        self.run("migration", {"role": "migrate", "file": str(path), "now": self.now})
        with Store(path) as store:
            assert store.cursor().execute("SELECT raw FROM item ORDER BY n").fetchall() == before
            assert sum(one.count for one in store.day_digests()) == store.total
        self.tally.checks += 1

    def other(self, count: int) -> Path:
        """Another aggregator's file with reports of its own, and its Parquet."""
        path = self.folder / "other" / "b.duckdb"
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        steps = [["commit", *self.specs(count)], ["keep", 3600.0]]
        pid = self.side.begin(role="keep", file=str(path), now=self.now, steps=steps)
        assert pid
        while not (line := self.side.line()[1]).startswith("ended"):
            assert not line.startswith("told"), line
        assert line == "ended 0"
        return path

    def run(self, op: str, job: dict[str, Any], *, feeding: bool = False) -> None:
        """Run a job and kill it in the operation, at a random one of its first calls."""
        pid = self.main.begin(**job)
        call, calls = self.rng.randrange(self.calls.get(op, 1)), 0
        began, open_ops = 0.0, list[str]()
        deadline: float | None = None
        feeder = None
        killed = False
        while True:
            wait = PATIENCE if deadline is None else deadline - time.monotonic()
            try:
                when, line = self.main.line(wait)
            except queue.Empty:
                assert deadline is not None, f"the job {job['role']} hangs"
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed, deadline = True, None
                continue
            word, _, rest = line.partition(" ")
            if word == "in":
                open_ops.append(rest)
                if rest == op and deadline is None and not killed:
                    began, calls = when, calls + 1
                    self.calls[op] = max(min(calls, 3), self.calls.get(op, 1))
                    if calls > call:
                        lasts = self.lasts.get(op, 0.02)
                        deadline = time.monotonic() + self.rng.uniform(0, lasts)
            elif word == "out":
                open_ops.remove(rest)
                if rest == op and began:
                    self.lasts[op] = 0.7 * self.lasts.get(op, 0.02) + 0.3 * (when - began)
            elif word == "ack":
                self.known.hear(rest.split())
            elif word == "listening" and feeding:
                bundles = [self.specs(40) for _ in range(12)]
                feeder = self.side.begin(role="publish", addr=rest, bundles=bundles)
            elif word == "told":
                raise AssertionError(f"an operator would be told: {rest}")
            elif word == "ended":
                break
        if feeder is not None:
            self.side.end(feeder)
        status = int(rest)
        if not os.WIFSIGNALED(status):
            assert status == 0, f"the job {job['role']} failed by itself"
            self.tally.missed += 1
            return
        self.tally.kills += 1
        self.tally.landed.update(set(open_ops))
        self.tally.between += not open_ops

    def check(self) -> None:
        """Check a copy of what is on disk."""
        self.tally.checks += 1
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.file.parent, copy, copy_function=_link_parquet)
        path = copy / self.file.name
        if not path.exists():
            assert not self.known.acknowledged
            return
        with Store(path) as store:
            rows = (
                store.cursor()
                .execute(
                    "SELECT id, date_diff('day', DATE '1970-01-01', time::DATE) "
                    f"FROM {store.items_sql()} WHERE kind = 1"
                )
                .fetchall()
            )
            digests = {one.day: (one.count, one.digest) for one in store.day_digests()}
            total = store.total
        self._check_rows([(bytes(one).hex(), day) for one, day in rows], digests)
        assert total == len(rows)
        _check_directory(path.with_suffix(".parquet"))
        backup = self.folder / "backup"
        if (backup / "manifest.json").exists():
            _check_directory(backup)
        self._check_gone()
        self.tally.rows = max(self.tally.rows, len(rows))

    def _check_rows(
        self, rows: list[tuple[str, int]], digests: dict[int, tuple[int, bytes]]
    ) -> None:
        known, ids = self.known, {one for one, _ in rows}
        assert len(ids) == len(rows), "a report is stored twice"
        assert ids <= known.sent.keys(), "a report that nobody sent"
        assert not ids & known.erased(surely=True), "an erased report is back"
        reports = known.acknowledged & known.sent.keys()
        lost = reports - ids - known.erased(surely=False) - known.over(self.now)
        assert not lost, f"{len(lost)} acknowledged reports are lost"
        known.acknowledged |= ids
        days: dict[int, list[bytes]] = {}
        for one, day in rows:
            days.setdefault(day, []).append(bytes.fromhex(one))
        assert digests == {
            day: reports_digest(CATALOG.key, day, sorted(own)) for day, own in days.items()
        }, "the digests are not those of the rows"

    def clean(self) -> None:
        """Let an aggregator run unharmed until what was erased, or is over, has left the disk."""
        keep = ["keep", 1.0]
        steps = [["commit", *self.specs(5)], *(3 * [["wait", 10], keep])]
        self.unharmed({"role": "keep", "file": str(self.file), "now": self.now, "steps": steps})
        gone = self.known.erased(surely=True) | self.known.over(self.now)
        for one in self.known.acknowledged & gone:
            self.known.gone.setdefault(one, report(self.known.sent[one])[-64:])
        self.check()

    def _check_gone(self) -> None:
        """Look for the signatures of reports that have left the disk in every file, also in the
        cells of Parquet."""
        gone = sorted(self.known.gone.values())
        chosen = self.rng.sample(gone, min(40, len(gone)))
        for path in self.file.parent.rglob("*") if chosen else ():
            if path.is_file():
                data = _cells(path) if path.suffix == ".parquet" else path.read_bytes()
                assert not any(one in data for one in chosen), f"erased bytes are in {path.name}"

    def verify(self) -> None:
        """Verify every stored row of a copy."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.file.parent, copy)
        Store(copy / self.file.name).close()
        for path in (copy / self.file.name, copy / "a.parquet"):
            with open_dataset(path) as dataset:
                assert verify(dataset).mismatches == []


def _link_parquet(old: str, new: str) -> None:
    """Copy a file; Parquet never changes, so a link will do."""
    if old.endswith(".parquet"):
        os.link(old, new)
    else:
        shutil.copy2(old, new)


def _cells(path: Path) -> bytes:
    """The signatures in a Parquet file, which may be compressed in it."""
    table = pq.read_table(path)
    if "raw" not in table.column_names:
        return b""
    return b"".join(cell for cell in table["raw"].to_pylist() if cell)


def _check_directory(folder: Path) -> None:
    """Check that a Parquet directory is whole: every file that its manifest names, to the byte."""
    if not (folder / "manifest.json").exists():
        return
    for one in read_directory(folder).files:
        data = (folder / one.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one.size, one.sha256), one.name

"""Kills relays while apps publish by them, and checks that each report reaches its row, once.

Two relays, each an entry and an exit, keep what rests in their folders. A relay is killed in the
middle of a commit, of publishing, of tidying its file, or at any moment, and starts again with the
same folder. Apps are real publishers; a pass that a kill has cut short is repeated by a later one.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.kills.scene import PATIENCE, ROOT, Host
from tests.lab.namespaces import wait_until
from tests.lab.scene import CATALOG, NAMESPACE, RAW, SEED, stored_in
from tests.listing import record_of
from tests.ports import free_port

from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import user_paths

RELAYS = 2
HOMES = 4
CLICKS = 5
"""Events of a round."""

OPERATIONS = ("commit", "publish", "tidy", "any")
"""What is killed; `any`: a random moment after the app has started."""

DELAY = 0.01
"""Most seconds from the beginning of an operation to the kill."""

MOMENT = 1.5
"""Most seconds from the start of the app to a kill at any moment, and most seconds for which a kill
waits for its operation."""

REST = "1s"
AHEAD = 3600
"""Seconds by which the clock of a publisher is ahead of the one before: what was put off is due."""
UNANSWERED = 4 * 86_400
"""Seconds after which a report is handed over again whose answer was lost with a killed relay."""


@dataclass
class Tally:
    """What the kills have hit."""

    landed: Counter[str] = field(default_factory=Counter)
    """operation -> kills while it ran, or shortly after"""
    acknowledged: int = 0
    rows: int = 0

    @property
    def kills(self) -> int:
        """Kills in all."""
        return self.landed.total()

    def line(self) -> str:
        """Say it in words."""
        hits = ", ".join(f"{op} {self.landed[op]}" for op in OPERATIONS)
        end = f"; {self.acknowledged} reports acknowledged, {self.rows} rows" if self.rows else ""
        return f"{self.kills} kills landed in: {hits}{end}"


@contextmanager
def hosting() -> Iterator[Host]:
    """Run a host of relays and apps; end it and its child afterwards."""
    paths = [str(ROOT), str(ROOT / "tests"), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "tests.kills.relay_host"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT
    ) as process:
        try:
            yield Host(process)
        finally:
            process.kill()


class KilledRelay:
    """One relay, which starts again after each kill at the same port with the same folder."""

    def __init__(self, folder: Path, number: int, host: Host, given: Sequence[str]) -> None:
        self._host = host
        self._log = folder / f"relay-{number}.log"
        self._log.touch()
        listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
        self._arguments = ["--json", "--listen", listen, "--state", str(folder / f"relay-{number}")]
        self._arguments += ["--rest", REST, "--spread", "0s", "--batch-window", "0.2s", *given]
        self._pid = 0
        self._starts = 0
        self.start()
        self.address = self._log.read_text().partition('"addrs": ["')[2].partition('"')[0]

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._pid = self._host.begin(role="relay", log=str(self._log), arguments=self._arguments)
        self._starts += 1
        wait_until("listen", lambda: self._log.read_text().count('"listening"') >= self._starts)

    def kill_in(self, op: str, rng: random.Random) -> str:
        """Kill it shortly after it begins `op`, or at a random moment; return what was hit."""
        hit, nth = "any", rng.randint(1, 3)
        with suppress(queue.Empty):
            while True:  # what it did before is no news
                self._host.line(0)
        if op == "any":
            with suppress(queue.Empty):
                self._host.line(rng.uniform(0, MOMENT))
        else:
            with suppress(queue.Empty):
                while nth:
                    nth -= self._host.line(MOMENT)[1] == f"in {op}"
                hit = op
                with suppress(queue.Empty):
                    self._host.line(rng.uniform(0, DELAY))
        self.kill()
        return hit

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            while not self._host.line()[1].startswith("ended"):
                pass
            self._pid = 0


class Apps:
    """Apps of some people, of which one at a time records and publishes."""

    def __init__(self, folder: Path, host: Host, relays: Sequence[str]) -> None:
        self._catalog = folder / "lab.cbor"
        self._host = host
        self._relays = relays
        self._turn = 0
        self._homes = [folder / f"home-{number}" for number in range(HOMES)]
        for home in self._homes:
            grant(user_paths(home), NAMESPACE, ["click"], now=0)

    def begin(self, count: int = CLICKS, *, later: int = 0) -> None:
        """Let the next app record and publish; `later`: so many seconds later than it would."""
        home, first = self._homes[self._turn % HOMES], self._turn * CLICKS
        ahead = self._turn // HOMES * AHEAD + later
        self._turn += 1
        self._host.begin(
            role="publish",
            home=str(home),
            catalog=str(self._catalog),
            relays=self._relays,
            first=first,
            count=count,
            ahead=ahead,
        )

    def recorded(self) -> None:
        """Wait until the app begins to publish."""
        while self._host.line()[1] != "recorded":
            pass

    def end(self) -> None:
        """Wait for the end of the app. It may have failed: relays are killed beside it."""
        while not self._host.line(PATIENCE)[1].startswith("ended"):
            pass

    def reports(self) -> tuple[set[str], set[str]]:
        """The ids of all reports, and of those that were acknowledged."""
        known, taken = set[str](), set[str]()
        for home in self._homes:
            journal = Journal(user_paths(home).outbox(NAMESPACE))
            if journal.exists():
                receipts = journal.receipts()
                known |= {one.id.hex() for one in receipts}
                taken |= {one.id.hex() for one in receipts if one.state == ACKNOWLEDGED}
            journal.close()
        return known, taken


def kill_relays(
    folder: Path,
    times: int,
    seed: int,
    say: Callable[[str], None] = lambda line: None,
    operations: Sequence[str] = OPERATIONS,
) -> Tally:
    """Kill relays `times` times. Raises AssertionError if an acknowledged report is lost, or comes
    twice."""
    rng, tally = random.Random(seed), Tally()
    with ExitStack() as stack:
        relays, apps, file = _network(folder, stack)
        while tally.kills < times:
            op = operations[tally.kills % len(operations)]
            apps.begin()
            apps.recorded()
            victim = rng.choice(relays)
            tally.landed[victim.kill_in(op, rng)] += 1
            victim.start()
            apps.end()
            if tally.kills % 10 == 0:
                say(tally.line())
        for _ in range(20 * HOMES):
            known, taken = apps.reports()
            if known == taken:
                break
            apps.begin(0, later=UNANSWERED)
            apps.end()
        tally.acknowledged = len(taken)
        assert known == taken, "not everything is acknowledged after the kills"
        wait_until("store what was acknowledged", lambda: taken <= stored_in(file), 120)
        assert stored_in(file) == known, "a row that no app has journaled"
        tally.rows = len(known)
    return tally


def _network(folder: Path, stack: ExitStack) -> tuple[list[KilledRelay], Apps, Path]:
    """Start an aggregator, relays and the host of the apps."""
    from tests.attacks.processes import aggregator

    (folder / "lab.cbor").write_bytes(RAW)
    (folder / "lab.record").write_bytes(record_of(CATALOG, seed=SEED).raw)
    known = ["--catalog", str(folder / "lab.cbor"), "--record", str(folder / "lab.record")]
    sink = aggregator(folder, "--export-every", "0.5s", *known)
    stack.callback(sink.kill)
    wait_until("listen", lambda: sink.events("listening"))
    peers = ["--peer", str(sink.events("listening")[-1]["addrs"][0])]
    relays: list[KilledRelay] = []
    for number in range(RELAYS):
        host = stack.enter_context(hosting())
        relays.append(KilledRelay(folder, number, host, [*known, *peers]))
        stack.callback(relays[-1].kill)
        peers += ["--peer", relays[-1].address]
    apps = Apps(folder, stack.enter_context(hosting()), [one.address for one in relays])
    return relays, apps, folder / "aggregate.duckdb"

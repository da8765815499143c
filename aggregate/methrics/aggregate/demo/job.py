"""The demo job: starts the services, runs the apps, waits for all reports, stops everything.

Every step waits for a condition with a deadline, never for a fixed time. A service is up when its
log contains its address. All reports have arrived when the Parquet of each aggregator has as many
reports as the relays acknowledged. The system chooses the ports (port 0). `Fleet` stops the
processes in every case, also after an error.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from methrics.aggregate.demo.namespace import Namespace, make_namespace
from methrics.aggregate.demo.processes import Child, DemoError, Fleet, quiet_environment
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.simulate.story import DAY
from methrics.aggregate.store.parts import directory_beside
from methrics.node.clock import Clock
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, StoreError

ADDRESS = r"(/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+)"
DOORS = r"doors over HTTP at (http://127\.0\.0\.1:\d+/)"

LISTEN = "/ip4/127.0.0.1/tcp/0"
"""Loopback, on a port that the system chooses: nothing leaves this machine."""

START_TIME = 60.0
"""Maximum seconds until a service has logged its address."""
APP_TIME = 120.0
"""Maximum seconds until one app has ended."""
ARRIVE_TIME = 60.0
"""Maximum seconds, after the last app has ended, until both aggregators have all reports."""

LOOK = 0.5
"""Seconds between two reads of the aggregators' Parquet."""

YEAR = 365 * DAY
"""Seconds for which the demo's record is valid."""

BATCH_WINDOW = "2s"
"""The relay's batch window; the default is 30 s."""

MARK = ".methrics-demo"
"""A file that marks a folder as the demo's own; only such a folder is cleared."""

Say = Callable[[str], None]
Tick = Callable[[int, int], None]
"""Called with (apps done so far, apps in all)."""


@dataclass(frozen=True, slots=True)
class Ran:
    """The result of the job: the two files, the catalog, and how many reports were sent."""

    folder: Path
    catalog: Catalog
    stores: tuple[Path, Path]
    sent: int
    processes: int


def run_job(folder: Path, *, apps: int, days: int, clock: Clock, say: Say, tick: Tick) -> Ran:
    """Run all processes of the demo. Their data, keys and logs stay in `folder`.

    Raises LocalError (DemoError for a process that failed) with one clear line.
    """
    claim(folder)
    now = clock.now()
    own = make_namespace(folder, since=now - (days + 1) * DAY, until=now + YEAR)
    logs, env = folder / "logs", quiet_environment(folder / "home")
    with Fleet(logs, env, clock) as fleet:
        stores = (folder / "aggregator-a.duckdb", folder / "aggregator-b.duckdb")
        first, first_at = _aggregator(fleet, "aggregator-a", own, stores[0], ())
        second, second_at = _aggregator(fleet, "aggregator-b", own, stores[1], (first_at,))
        leave, exit_at = _relay(fleet, own, folder, "exit", "Ben", (first_at, second_at))
        entry, _ = _relay(fleet, own, folder, "entry", "Anna", (exit_at,))
        door = _door(fleet, entry)
        say(f"two aggregators, an entry and an exit are up ({door})")
        sent = _live(fleet, folder, own.signed, door, apps=apps, days=days, clock=clock, tick=tick)
        say(f"{apps} apps sent {sent} reports over two hops")
        for child, store in ((first, stores[0]), (second, stores[1])):
            fleet.wait_until(
                f"store all {sent} reports",
                child,
                lambda store=store: stored(store) >= sent,  # type: ignore[misc]
                ARRIVE_TIME,
                pause=LOOK,
            )
        fleet.stop([entry, leave, first, second])
        for line in seen_lines(entry, leave, apps):
            say(line)
    return Ran(folder, own.catalog, stores, sent, apps + 4)


def seen_lines(entry: Child, leave: Child, apps: int) -> list[str]:
    """Return what the entry and the exit saw, by the counts with which they ended."""
    boxes = entry.said(r"stopped: .* forwarded (\d+)")
    opened = leave.said(r"stopped: .* opened (\d+)")
    published = leave.said(r"stopped: .* published (\d+)")
    return [
        f"the entry (Anna's) saw the addresses of {apps} apps, and {boxes} sealed boxes, all alike",
        f"the exit (Ben's) saw the entry's address, opened {opened} boxes, most of them empty, "
        f"and published {published} reports",
    ]


def claim(folder: Path) -> None:
    """Empty `folder` and mark it as the demo's. Raises ConfigError if it holds other files."""
    try:
        if folder.exists() and any(folder.iterdir()):
            if not (folder / MARK).exists():
                raise ConfigError(
                    "demo-folder", f"{folder} holds other files", "name another with --dir"
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
    except OSError as error:
        raise StoreError(
            "demo-folder", f"cannot use {folder}: {error.strerror}", "name another with --dir"
        ) from error


def stored(store: Path) -> int:
    """Count the reports in the Parquet beside a running aggregator's file; 0 before the first
    export."""
    beside = directory_beside(store)
    if not beside.is_dir():
        return 0
    try:
        with open_dataset(beside) as data:
            return int(data.rows("SELECT count(*) FROM item WHERE kind = 1")[0][0])
    except StoreError:  # the first export is being written
        return 0


def _service(fleet: Fleet, name: str, arguments: list[str]) -> tuple[Child, str]:
    child = fleet.start(name, "methrics.aggregate", arguments)
    fleet.wait_until("say where it listens", child, lambda: child.said(ADDRESS), START_TIME)
    address = child.said(ADDRESS)
    assert address is not None
    return child, address


def _aggregator(
    fleet: Fleet, name: str, own: Namespace, store: Path, peers: tuple[str, ...]
) -> tuple[Child, str]:
    arguments = ["aggregate", str(store), *_given(own), "--listen", LISTEN]
    arguments += ["--export-every", "2s"]
    for peer in peers:
        arguments += ["--peer", peer]
    return _service(fleet, name, arguments)


def _given(own: Namespace) -> list[str]:
    return ["--catalog", str(own.signed), "--record", str(own.record)]


def _relay(
    fleet: Fleet, own: Namespace, folder: Path, role: str, operator: str, peers: tuple[str, ...]
) -> tuple[Child, str]:
    arguments = ["relay", *_given(own), "--listen", LISTEN, "--state", str(folder / role)]
    arguments += ["--role", role, "--operator", operator]
    arguments += ["--batch-window", BATCH_WINDOW, "--rest", "0s", "--spread", "0s"]
    if role == "entry":
        arguments += ["--http", "127.0.0.1:0"]
    for peer in peers:
        arguments += ["--peer", peer]
    return _service(fleet, role, arguments)


def _door(fleet: Fleet, entry: Child) -> str:
    fleet.wait_until("open its doors", entry, lambda: entry.said(DOORS), START_TIME)
    door = entry.said(DOORS)
    assert door is not None
    return door


def _live(
    fleet: Fleet,
    folder: Path,
    signed: Path,
    relay: str,
    *,
    apps: int,
    days: int,
    clock: Clock,
    tick: Tick,
) -> int:
    """Run every app, a few at a time; returns how many reports the relay accepted."""
    today = clock.now() // DAY * DAY
    jobs = []
    for number in range(1, apps + 1):
        arguments = ["--home", str(folder / "apps" / f"{number:02}"), "--catalog", str(signed)]
        arguments += ["--relay", relay, "--number", str(number)]
        arguments += ["--today", str(today), "--days", str(days)]
        jobs.append((f"app-{number:02}", "methrics.aggregate.demo.app", arguments))
    taken: list[int] = []

    def done(child: Child) -> None:
        found = child.said(r'(\{"recorded.*\})')
        if found is None:
            raise child.failed("did not say what it sent")
        taken.append(int(json.loads(found)["taken"]))
        tick(len(taken), apps)

    fleet.run_all(jobs, at_once=(os.cpu_count() or 1) + 1, seconds=APP_TIME, done=done)
    if not sum(taken):
        raise DemoError("demo-empty", "no app sent anything", f"see {folder / 'logs'}")
    return sum(taken)

"""Imports everything once and forks a process for each visit of a person: an import takes a second.

    python people.py CATALOG RELAY...

Each line `{"home": ..., "events": n}` on standard input forks a child with its own host key and
sockets. It records events, and publishes what is due by the real recorder and publisher. Prints
`pid <number> <home>` at its start and `ended <number> <status>` at its end.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from pathlib import Path

import trio

import methrics.node.network.libp2p
from methrics.node.clock import Clock, ManualClock
from methrics.node.paths import namespace_of, user_paths
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import Catalog, load

AGO = 7200
"""Seconds by which an event lies in the past, so that its report is due at once."""


def visit(catalog: Catalog, home: str, events: int, relays: tuple[str, ...]) -> int:
    """Record and publish; the exit code."""
    paths = user_paths(Path(home))
    past = ManualClock(Clock().now() - AGO)
    with Recorder(
        catalog, paths, RecorderSettings(publisher="none", strict=True), clock=past
    ) as recorder:
        for serial in range(events):
            recorder.record("click", serial=serial)
    settings = PublisherSettings(entry=Entry(relays=relays), once=True)
    return trio.run(run_publisher, paths, namespace_of(catalog.label, catalog.short_key), settings)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def reap() -> None:
    """Tell which children have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        say(f"ended {pid} {status}")


def main() -> None:
    catalog, relays = load(Path(sys.argv[1]).read_bytes()), tuple(sys.argv[2:])
    assert methrics.node.network.libp2p.open_swarm
    assert threading.active_count() == 1, "a fork would lose threads"
    say("ready")
    rest = b""
    while True:
        reap()
        if not select.select([0], [], [], 0.1)[0]:
            continue
        part = os.read(0, 65_536)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            job = json.loads(line)
            child = os.fork()
            if child == 0:
                os._exit(visit(catalog, job["home"], job["events"], relays))
            say(f"pid {child} {job['home']}")


if __name__ == "__main__":
    main()

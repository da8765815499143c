"""Imports everything once and forks the processes that a test kills: an import takes a second.

    python kill_host.py CATALOG

Reads one JSON object per line: {"role": "publish" | "record", "home", "shift", ...}. Forks a child
for each line, with its own host key and sockets. Prints `pid N`, then the lines of the child (`at
STEP` of a publisher, `kept SERIAL` of a recorder), then `ended STATUS`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

import methrics.node.network.libp2p
from methrics.node.clock import Clock
from methrics.node.outbox.handed import HandedBoxes
from methrics.node.outbox.journal import Journal
from methrics.node.paths import namespace_of, user_paths
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.way_route import WayRoute
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import Catalog, load

STEPS = (
    (Journal, "journal"),
    (Journal, "attempt"),
    (WayRoute, "deliver"),
    (HandedBoxes, "hand"),
    (Journal, "mark"),
    (HandedBoxes, "forget"),
)
"""The steps that a publisher prints, each just before it takes the step."""


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def shifted(seconds: int) -> Clock:
    class Shifted(Clock):
        def now(self) -> int:
            return Clock().now() + seconds

    return Shifted()


def announce(owner: Any, name: str) -> None:
    step: Callable[..., object] = getattr(owner, name)

    def announced(*arguments: object, **named: object) -> object:
        say(f"at {name}")
        return step(*arguments, **named)

    setattr(owner, name, announced)


def publish(catalog: Catalog, job: dict[str, Any]) -> int:
    for owner, name in STEPS:
        announce(owner, name)
    settings = PublisherSettings(entry=Entry(relays=(job["relay"],)), once=True)
    namespace = namespace_of(catalog.label, catalog.short_key)
    clock = shifted(job["shift"])
    return trio.run(
        lambda: run_publisher(user_paths(job["home"]), namespace, settings, clock=clock)
    )


def record(catalog: Catalog, job: dict[str, Any]) -> int:
    settings = RecorderSettings(publisher="none", strict=True)
    with Recorder(
        catalog, user_paths(job["home"]), settings, clock=shifted(job["shift"])
    ) as recorder:
        recorder.record("beat")
        for serial in range(job["first"], job["first"] + job["count"]):
            if recorder.record("click", serial=serial):
                say(f"kept {serial}")
            time.sleep(0.0005)
    return 0


def main() -> None:
    catalog = load(Path(sys.argv[1]).read_bytes())
    assert methrics.node.network.libp2p.open_swarm
    assert threading.active_count() == 1, "a fork would lose threads"
    say("ready")
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            code = (publish if job["role"] == "publish" else record)(catalog, job)
            os._exit(code)
        say(f"ended {os.waitpid(child, 0)[1]}")


if __name__ == "__main__":
    main()

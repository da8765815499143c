"""Imports everything once and forks the relays and apps of `relays.py`: an import takes a second.

    python -m tests.kills.relay_host

Reads a JSON object per line: a job. Forks a child for it, and prints `pid N`, the lines of the
child, then `ended STATUS`. A relay prints `in OPERATION` and `out OPERATION` around what is to be
hit; its own output goes to a file.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio

import methrics.node.network.libp2p
from methrics.aggregate.cli.main import main as methrics_main
from methrics.node.cli.relay import relay as relay_command
from methrics.node.clock import Clock, ManualClock
from methrics.node.paths import namespace_of, user_paths
from methrics.node.publish.entry import Entry
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay import upkeep
from methrics.node.relay.relay import Relay
from methrics.node.relay.rest_file import SqliteRest
from methrics.schema.catalog.catalog import load

AGO = 7200
"""Seconds by which an event lies in the past, so that its report is due at once."""


TIDY_EVERY = 0.5
"""Seconds after which a relay tidies its file, so that kills hit that, too."""


def say(text: str) -> None:
    """Print a line at once, whatever happens then."""
    os.write(LINES, f"{text}\n".encode())


LINES = os.dup(1)


def marked(owner: Any, name: str, op: str) -> None:
    """Announce the calls of a function as an operation."""
    real: Callable[..., Any] = getattr(owner, name)

    def announced(*given: Any) -> Any:
        say(f"in {op}")
        try:
            return real(*given)
        finally:
            say(f"out {op}")

    async def announced_async(*given: Any) -> Any:
        say(f"in {op}")
        try:
            return await real(*given)
        finally:
            say(f"out {op}")

    is_async = real.__code__.co_flags & 0x80  # CO_COROUTINE
    setattr(owner, name, announced_async if is_async else announced)


def relay(log: str, arguments: Sequence[str]) -> int:
    """Run `methrics relay`."""
    upkeep.TIDY_EVERY = TIDY_EVERY
    marked(SqliteRest, "write", "commit")
    marked(SqliteRest, "tidy", "tidy")
    marked(Relay, "_publish", "publish")
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    return methrics_main(["relay", *arguments])


def publish(
    home: str, catalog: str, relays: Sequence[str], first: int, count: int, ahead: int
) -> int:
    """Record `count` events and publish what is due, with a clock that is `ahead` (seconds)."""

    class Ahead(Clock):
        def now(self) -> int:
            return Clock().now() + ahead

    paths, own = user_paths(home), load(Path(catalog).read_bytes())
    past, settings = (
        ManualClock(Clock().now() - AGO),
        RecorderSettings(publisher="none", strict=True),
    )
    with Recorder(own, paths, settings, clock=past) as recorder:
        for serial in range(first, first + count):
            recorder.record("click", serial=serial)
    say("recorded")
    publishing = PublisherSettings(entry=Entry(relays=tuple(relays)), once=True)
    name = namespace_of(own.label, own.short_key)
    return trio.run(lambda: run_publisher(paths, name, publishing, clock=Ahead()))


JOBS: dict[str, Callable[..., int]] = {"relay": relay, "publish": publish}


def main() -> None:
    """Fork a child for each line."""
    assert methrics.node.network.libp2p.open_swarm
    assert relay_command.name == "relay", "it is imported before a fork"
    assert threading.active_count() == 1, "a fork would lose threads"
    say("ready")
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                say(f"pid {os.getpid()}")
                code = JOBS[job.pop("role")](**job)
            except BaseException:  # noqa: BLE001 - the edge of a process
                traceback.print_exc()
            finally:
                os._exit(code)
        say(f"ended {os.waitpid(child, 0)[1]}")


if __name__ == "__main__":
    main()

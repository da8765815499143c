"""An app on a host of the lab: records events, and publishes until the network has taken them all.

    python app.py HOME CATALOG FIRST COUNT

The events lie in the past, so that their reports are due at once. The relays are those of the
variable METHRICS_RELAYS. A publisher that could not send tries again after a time; here the next
one starts at once, with a clock that is ahead by that time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from methrics.node.clock import Clock, ManualClock
from methrics.node.consent.ledger import grant
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.publish.entry import entry_peers
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.record.recorder import Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.schema.catalog.catalog import Catalog, load

AGO = 7200
"""Seconds by which the events lie in the past."""

AHEAD = 900
"""Seconds by which the clock of the next publisher is ahead of that of the one before."""

PASSES = 60
"""Publishers that try, at most."""


class Ahead(Clock):
    """The clock of this machine, put forward by some seconds."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def now(self) -> int:
        """Unix seconds."""
        return Clock().now() + self._seconds


def record(catalog: Catalog, paths: Paths, serials: range) -> None:
    """Record one event for each serial number."""
    grant(paths, namespace_of(catalog.label, catalog.short_key), list(catalog.types), now=0)
    past = ManualClock(Clock().now() - AGO)
    settings = RecorderSettings(publisher="none", strict=True)
    with Recorder(catalog, paths, settings, clock=past) as recorder:
        for serial in serials:
            assert recorder.record("click", serial=serial)


async def publish(paths: Paths, namespace: str, wanted: int) -> None:
    """Publish until `wanted` reports are acknowledged."""
    settings = PublisherSettings(entry=entry_peers(paths), once=True)
    for turn in range(PASSES):
        clock = Ahead(turn * AHEAD)
        await run_publisher(paths, namespace, settings, clock=clock)
        taken = acknowledged(paths, namespace)
        print(f"acknowledged {taken}", flush=True)  # noqa: T201
        if taken >= wanted:
            return
        await trio.sleep(0.5)
    sys.exit("the network did not take the reports")


def acknowledged(paths: Paths, namespace: str) -> int:
    """Count the reports that a relay has acknowledged."""
    journal = Journal(paths.outbox(namespace))
    try:
        return sum(one.state == ACKNOWLEDGED for one in journal.receipts())
    finally:
        journal.close()


def main(home: str, catalog_file: str, first: str, count: str) -> None:
    """Record and publish."""
    catalog, paths = load(Path(catalog_file).read_bytes()), user_paths(home)
    record(catalog, paths, range(int(first), int(first) + int(count)))
    namespace = namespace_of(catalog.label, catalog.short_key)
    trio.run(publish, paths, namespace, acknowledged(paths, namespace) + int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Prints what an aggregator says while it runs: its addresses, commits, exports and its state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, replace

from methrics.aggregate.closing.service import Closed
from methrics.aggregate.collect.holding import Held, Resumed
from methrics.aggregate.collect.keeper import Compacted, ExportFailed, UpkeepFailed
from methrics.aggregate.collect.opening import Busy, Opening, SetAside, TakenOver
from methrics.aggregate.collect.reconciling import Reconciled
from methrics.aggregate.collect.service import Event, Joined
from methrics.aggregate.collect.status import Status
from methrics.aggregate.parquet.export import Exported
from methrics.aggregate.store.batch import Committed, Expired
from methrics.aggregate.store.digest import combine
from methrics.aggregate.store.store import Store
from methrics.node.cli.counted import counted
from methrics.node.cli.log import Log
from methrics.node.network.connected import connectivity_line
from methrics.node.network.swarm import SwarmStatistics
from methrics.node.relay.given import Reloaded, reloaded_lines, reloaded_values
from methrics.node.relay.record_state import WAIT

SAY_EVERY = 10.0
"""Seconds between two lines about commits. With --json each commit has a line."""


class AggregateLines(ABC):
    """Base of the two forms, which print on a `Log`. The lines contain no address of a peer and no
    key of a report."""

    log: Log

    @abstractmethod
    def listening(self, peer: str, addrs: tuple[str, ...]) -> None:
        """Say the peer id, and where the aggregator listens."""

    @abstractmethod
    def serving(self, address: str, warning: str) -> None:
        """Say where the live endpoint is, and a warning about it if there is one."""

    @abstractmethod
    def connectivity(self, connected: int) -> None:
        """Say how many peers are connected."""

    @abstractmethod
    def event(self, event: Event | Opening) -> None:
        """Say what the service did."""

    @abstractmethod
    def stopped(self, store: Store, swarm: SwarmStatistics) -> None:
        """Say what the file contains."""


class JsonLines(AggregateLines):
    """Prints one JSON object a line; a `commit` line comes after the commit is on disk."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._print = log.event

    def listening(self, peer: str, addrs: tuple[str, ...]) -> None:
        self._print("listening", peer=peer, addrs=list(addrs))

    def serving(self, address: str, warning: str) -> None:
        self._print("serving", address=address, warning=warning)

    def connectivity(self, connected: int) -> None:
        self._print("peers", connected=connected)

    def event(self, event: Event | Opening) -> None:
        if isinstance(event, Joined):
            self._print("joined", topic=event.topic)
        elif isinstance(event, Committed):
            for catalog in event.catalogs:
                self._print(
                    "catalog", id=catalog.id.hex(), label=catalog.label, number=catalog.number
                )
            self._print("commit", **event.counts())
        elif isinstance(event, Status):
            self._status(event)
        elif isinstance(event, Exported):
            days = [str(day) for day in event.days]
            self._print("export", days=days, files=event.files, reports=event.reports)
        elif isinstance(event, Busy):
            self._print("busy", message=event.message, side=str(event.side))
        elif isinstance(event, SetAside):
            self._print("set-aside", message=event.message, aside=str(event.aside))
        elif isinstance(event, TakenOver):
            self._print("taken-over", source=str(event.source), **asdict(event.taken))
        elif isinstance(event, Held):
            self._print("held", cause=event.cause, message=event.message)
        elif isinstance(event, Resumed):
            self._print("resumed", cause=event.cause, refused=event.refused)
        elif isinstance(event, Closed):
            coverage = [one.facts() for one in event.coverage]
            self._print("closed", **asdict(replace(event, coverage=())) | {"coverage": coverage})
        elif isinstance(event, Reconciled):
            self._print("reconciling" if event.of else "reconciled", **asdict(event))
        elif isinstance(event, Reloaded):
            self._print("reloaded", **reloaded_values(event))
        elif isinstance(event, Expired):
            self._print("expired", **asdict(event))
        elif isinstance(event, Compacted):
            self._print("compacted", rows=event.rows)
        else:
            what = "export" if isinstance(event, ExportFailed) else "upkeep"
            self._print(f"{what}-failed", code=event.error.code, message=str(event.error))

    def _status(self, status: Status) -> None:
        self._print(
            "status",
            records=[
                asdict(one) | {"warning": one.warning(status.now, WAIT)} for one in status.records
            ],
            waiting=status.waiting,
            waiting_dropped=status.waiting_dropped,
            clock=status.skew and {"behind": status.skew.behind, "seconds": status.skew.seconds},
            clock_jumped=status.jumped,
            clock_doubted=status.doubted,
        )

    def stopped(self, store: Store, swarm: SwarmStatistics) -> None:
        found = combine(store.day_digests())
        namespaces = [
            {"app": one.schema, "reports": one.count, "digest": one.digest.hex()} for one in found
        ]
        self._print("stopped", reports=store.total, namespaces=namespaces, swarm=asdict(swarm))


class TextLines(AggregateLines):
    """Prints lines for people, few enough to read."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._say = log.text
        self._clock = log.clock
        self._since = 0.0
        self._gathered = Committed()
        self._said: frozenset[str] = frozenset()

    def listening(self, peer: str, addrs: tuple[str, ...]) -> None:
        self._say(f"peer {peer}")
        for addr in addrs:
            self._say(f"listening on {addr}")

    def serving(self, address: str, warning: str) -> None:
        self._say(f"live endpoint at {address}")
        if warning:
            self._say(warning)

    def connectivity(self, connected: int) -> None:
        self._say(connectivity_line(connected))

    def event(self, event: Event | Opening) -> None:
        if isinstance(event, Joined):
            self._say(f"collecting from {event.topic}")
        elif isinstance(event, Committed):
            for catalog in event.catalogs:
                self._say(f"catalog {catalog.label} number {catalog.number}")
            self._committed(event)
        elif isinstance(event, Status):
            lines = [*event.lines()]
            for line in lines:
                if line not in self._said:
                    self._say(line)
            self._said = frozenset(lines)
        elif isinstance(event, Held | Resumed | Busy | SetAside | TakenOver):
            self._say(event.line())
        elif isinstance(event, Closed):
            self._closed(event)
        elif isinstance(event, Reconciled):
            if line := event.line():
                self._say(line)
        elif isinstance(event, Reloaded):
            for line in reloaded_lines(event):
                self._say(line)
        elif isinstance(event, Expired) and event.reports:
            self._say(f"deleted {counted(event.reports, 'report')}, whose retention is over")
        elif isinstance(event, ExportFailed):
            self._say(f"the export failed and is tried again: {event.error}")
        elif isinstance(event, UpkeepFailed):
            self._say(f"deleting what is over failed and is tried again: {event.error}")

    def _closed(self, event: Closed) -> None:
        if event.signed:
            self._say(f"signed {counted(event.signed, 'manifest')} of days that are over")
        if event.contradictions:
            self._say("a trusted peer has signed two manifests of one day that differ")

    def _committed(self, done: Committed) -> None:
        gathered = self._gathered
        gathered.reports += done.reports
        gathered.refused += done.refused - done.known
        gathered.erased += done.erased
        gathered.revoked += done.revoked
        if gathered == Committed():
            return
        revoking = bool(done.records and done.revoked)
        if revoking or self._clock.monotonic() - self._since >= SAY_EVERY:
            refused = f", refused {gathered.refused}" if gathered.refused else ""
            erased = f", erased {gathered.erased}" if gathered.erased else ""
            revoked = f", deleted {gathered.revoked} as revoked" if gathered.revoked else ""
            stored = f"stored {counted(gathered.reports, 'report')}"
            self._say(f"{stored}{refused}{erased}{revoked}; {done.total:,} in all")
            self._gathered, self._since = Committed(), self._clock.monotonic()

    def stopped(self, store: Store, swarm: SwarmStatistics) -> None:
        self._say(f"stopped; {counted(store.total, 'report')} in {store.path}")
        for one in combine(store.day_digests()):
            self._say(f"digest {one.schema} {one.digest.hex()} over {one.count} reports")

"""`methrics aggregate`: runs an aggregator in the foreground until a stop signal."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import click
import trio

from methrics.aggregate.collect.service import (
    AggregatorSettings,
    Event,
    ExportFailed,
    Joined,
    run_aggregator,
    topics_of,
)
from methrics.aggregate.parquet.export import Exported
from methrics.aggregate.store.batch import Committed
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.store import Store
from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.durations import Duration
from methrics.node.cli.keyfile import own_key
from methrics.node.cli.lines import say
from methrics.node.cli.options import (
    CATALOGS,
    FILE,
    PEERS,
    json_option,
    key_option,
    listen_option,
    topics_option,
)
from methrics.node.clock import Clock
from methrics.node.durations import duration_text
from methrics.node.network.connected import connectivity_line, report_connectivity
from methrics.node.network.swarm import SwarmStatistics
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.entry import check_addresses

GC_THRESHOLD = 200_000
"""Number of new objects between two runs of the cycle collector. With Python's default of 700, the
collector takes an eighth of the CPU time."""

EXPORT_MAX = 86_400.0
"""Maximum seconds between two exports, because copies of the Parquet should include yesterday."""

SAY_EVERY = 10.0
"""Seconds between two lines about commits. With --json each commit has a line."""


@click.command()
@click.argument("file", type=FILE)
@listen_option("/ip4/0.0.0.0/tcp/0")
@CATALOGS
@topics_option("A topic to collect from; its catalogs are learnt from the network. Repeatable.")
@PEERS
@click.option(
    "--export-every",
    type=Duration(most=EXPORT_MAX),
    default=duration_text(AggregatorSettings().export_every),
    show_default=True,
    metavar="DURATION",
    help="How often to bring the Parquet beside FILE up to date; 0s writes closed days only.",
)
@key_option("aggregator")
@json_option("Print a JSON object for each event.")
def aggregate(
    file: Path,
    listen: tuple[str, ...],
    catalogs: tuple[Path, ...],
    topics: tuple[str, ...],
    peers: tuple[str, ...],
    export_every: float,
    key: Path | None,
    as_json: bool,
) -> None:
    """Collect signed reports from the network into the DuckDB file FILE.

    Without --catalog and --topic it continues with the apps that are in FILE. On Ctrl-C or SIGTERM
    it stores the reports that have arrived, then ends. While it runs, FILE is locked: read it with
    `methrics query FILE` or `open_dataset`, which read the Parquet beside it.
    """
    settings = AggregatorSettings(
        topics=topics,
        catalogs=[load_catalog(path) for path in catalogs],
        peers=check_addresses(peers),
        export_every=export_every,
    )
    if not file.exists():
        topics_of(settings, ())  # a command that cannot work must not create a file
    seed = own_key(key) if key else None
    with Store(file) as store:
        topics_of(settings, store.catalogs())
        # Reports are many objects without reference cycles, so collect cycles seldom.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 10, 10)
        try:
            trio.run(partial(_serve, store, settings, listen, seed, as_json))
        finally:
            gc.unfreeze()


async def _serve(
    store: Store,
    settings: AggregatorSettings,
    listen: tuple[str, ...],
    seed: bytes | None,
    as_json: bool,
) -> None:
    from methrics.node.network.libp2p import open_swarm

    clock = Clock()
    log = _Json() if as_json else _Words(clock)
    stop = trio.Event()
    async with trio.open_nursery() as listening:
        await on_stop_signal(listening, stop.set)
        async with open_swarm(listen=listen, seed=seed) as swarm, trio.open_nursery() as nursery:
            log.listening(swarm.peer_id, swarm.addrs)
            if settings.peers:
                nursery.start_soon(report_connectivity, swarm, log.connectivity)
            await run_aggregator(swarm, store, settings, clock, log.event, stop)
            nursery.cancel_scope.cancel()
        listening.cancel_scope.cancel()
    log.stopped(store, swarm.statistics())


class _Json:
    """Prints one JSON object a line; a `commit` line comes after the commit is on disk."""

    def _print(self, event: str, **values: object) -> None:
        say(json.dumps({"event": event, **values}))

    def listening(self, peer: str, addrs: tuple[str, ...]) -> None:
        self._print("listening", peer=peer, addrs=list(addrs))

    def connectivity(self, connected: int) -> None:
        self._print("peers", connected=connected)

    def event(self, event: Event) -> None:
        if isinstance(event, Joined):
            self._print("joined", topic=event.topic)
        elif isinstance(event, Committed):
            for catalog in event.catalogs:
                self._print(
                    "catalog", id=catalog.id.hex(), label=catalog.label, number=catalog.number
                )
            names = [name for name in Committed.__slots__ if name != "catalogs"]
            self._print("commit", **{name: getattr(event, name) for name in names})
        elif isinstance(event, Exported):
            days = [str(day) for day in event.days]
            self._print("export", days=days, files=event.files, reports=event.reports)
        else:
            self._print("export-failed", code=event.error.code, message=str(event.error))

    def stopped(self, store: Store, swarm: SwarmStatistics) -> None:
        found = combine(digests(store.cursor()))
        namespaces = [
            {"app": one.schema, "reports": one.count, "digest": one.digest.hex()} for one in found
        ]
        self._print("stopped", reports=store.total, namespaces=namespaces, swarm=asdict(swarm))


@dataclass
class _Words:
    """Prints lines for people, few enough to read."""

    clock: Clock
    since: float = 0.0
    gathered: Committed = field(default_factory=Committed)

    def listening(self, peer: str, addrs: tuple[str, ...]) -> None:
        say(f"peer {peer}")
        for addr in addrs:
            say(f"listening on {addr}")

    def connectivity(self, connected: int) -> None:
        say(f"methrics: {connectivity_line(connected)}", err=True)

    def event(self, event: Event) -> None:
        if isinstance(event, Joined):
            say(f"collecting from {event.topic}")
        elif isinstance(event, Committed):
            for catalog in event.catalogs:
                say(f"catalog {catalog.label} number {catalog.number}")
            self._committed(event)
        elif isinstance(event, ExportFailed):
            say(f"methrics: the export failed and is tried again: {event.error}", err=True)

    def _committed(self, done: Committed) -> None:
        gathered = self.gathered
        gathered.reports += done.reports
        gathered.refused += done.refused
        gathered.erased += done.erased
        if self.clock.monotonic() - self.since >= SAY_EVERY:
            refused = f", refused {gathered.refused}" if gathered.refused else ""
            erased = f", erased {gathered.erased}" if gathered.erased else ""
            say(f"stored {gathered.reports} reports{refused}{erased}; {done.total} in all")
            self.gathered, self.since = Committed(), self.clock.monotonic()

    def stopped(self, store: Store, _: SwarmStatistics) -> None:
        say(f"stopped; {store.total} reports in {store.path}")
        for one in combine(digests(store.cursor())):
            say(f"digest {one.schema} {one.digest.hex()} over {one.count} reports")

"""`methrics aggregate`: runs an aggregator in the foreground until a stop signal."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path

import click
import trio

from methrics.aggregate.cli.aggregate_lines import JsonLines, TextLines
from methrics.aggregate.collect.service import AggregatorSettings, run_aggregator, topics_of
from methrics.aggregate.store.store import Store
from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.durations import Duration
from methrics.node.cli.keyfile import own_key
from methrics.node.cli.options import (
    CATALOGS,
    FILE,
    PEERS,
    RECORDS,
    json_option,
    key_option,
    listen_option,
    topics_option,
)
from methrics.node.cli.record_file import load_record
from methrics.node.clock import Clock
from methrics.node.durations import duration_text
from methrics.node.network.connected import report_connectivity
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.entry import check_addresses

GC_THRESHOLD = 200_000
"""Number of new objects between two runs of the cycle collector. With Python's default of 700, the
collector takes an eighth of the CPU time."""

EXPORT_MAX = 86_400.0
"""Maximum seconds between two exports, because copies of the Parquet should include yesterday."""


@click.command()
@click.argument("file", type=FILE)
@listen_option("/ip4/0.0.0.0/tcp/0")
@CATALOGS
@topics_option("A topic to collect from; its catalogs are learnt from the network. Repeatable.")
@RECORDS
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
    records: tuple[Path, ...],
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
        records=[load_record(path).raw for path in records],
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
    log = JsonLines() if as_json else TextLines(clock)
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

"""`methrics aggregate`: runs an aggregator in the foreground until a stop signal."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from methrics.aggregate.cli.aggregate_lines import JsonLines, TextLines
from methrics.aggregate.cli.collecting import Job, collect
from methrics.aggregate.cli.restoring import check_others, opened_sources
from methrics.aggregate.cli.sharding import LAKE, SHARD, as_leaf
from methrics.aggregate.cli.space import MEMORY, SPACE
from methrics.aggregate.closing.trust import trust_of
from methrics.aggregate.collect.disk import KeepFree
from methrics.aggregate.collect.opening import only_aggregator
from methrics.aggregate.collect.service import (
    AggregatorSettings,
    has_topics,
    topics_of,
)
from methrics.aggregate.read.live_file import remove_left_live_file
from methrics.aggregate.serve.settings import serve_settings
from methrics.aggregate.store.duck import limit_writers
from methrics.node.cli.durations import Duration
from methrics.node.cli.given_files import GivenFiles
from methrics.node.cli.log import Log, only
from methrics.node.cli.options import (
    CATALOGS,
    FILE,
    PEERS,
    RECORDS,
    check_listen,
    json_option,
    listen_option,
    of_options,
    topics_option,
)
from methrics.node.clock import Clock
from methrics.node.durations import duration_text
from methrics.node.publish.entry import check_addresses
from methrics.schema.errors import ConfigError
from methrics.schema.wire.shard import Shard

GC_THRESHOLD = 200_000
"""Number of new objects between two runs of the cycle collector. With Python's default of 700, the
collector takes an eighth of the CPU time."""

FORGET_MAX = 30 * 86_400.0
"""Maximum seconds until erased bytes are gone: nobody should wait longer than a month."""

EXPORT_MAX = 86_400.0
"""Maximum seconds between two exports, because copies of the Parquet should include yesterday."""


def key_beside(file: Path) -> Path:
    """Return the key file of the aggregator that writes `file`: `metrics.key` for
    `metrics.duckdb`."""
    return file.with_suffix(".key") if file.suffix != ".key" else Path(f"{file}.key")


def _check_topics(file: Path, settings: AggregatorSettings, sources: tuple[str, ...]) -> None:
    if settings.peers and not has_topics(settings, ()):
        return
    try:
        topics_of(settings, ())
    except ConfigError as error:
        if error.code != "no-topic":
            raise
        if not file.exists() and not sources:
            raise ConfigError(
                "no-topic", f"there is no file {file}, and nothing to collect", error.hint
            ) from None


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
@click.option(
    "--forget-within",
    type=Duration(least=1, most=FORGET_MAX),
    default=duration_text(AggregatorSettings().forget_within),
    show_default=True,
    metavar="DURATION",
    help="When a report was erased, its bytes are gone from FILE after this time.",
)
@click.option(
    "--keep-free",
    type=SPACE,
    default="1GiB or 5%",
    show_default=True,
    metavar="SIZE",
    help="With less free space on the disk of FILE, nothing is accepted until there is more: a "
    "size such as 500MiB, a share such as 5%, or the smaller of both. 0 turns it off.",
)
@click.option(
    "--memory",
    type=MEMORY,
    default="1GiB",
    show_default=True,
    metavar="SIZE",
    help="Memory for the pages of FILE. The process needs up to 750 MiB besides.",
)
@click.option(
    "--key",
    type=FILE,
    help="File with this aggregator's key, made if absent. By default it is FILE with the ending "
    ".key.",
)
@click.option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="PEER",
    help="A peer id, or an address that ends in one: an aggregator whose word counts about days "
    "that are over; with commas between them, the shards of one, which have one vote. Repeatable.",
)
@click.option(
    "--quorum",
    type=int,
    metavar="N",
    help="How many of them must have a report of such a day; by default more than half.",
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Before collecting, take in what this data set has: a DuckDB file, or a directory or an "
    "address of Parquet. Each signature is verified. Repeatable.",
)
@click.option(
    "--http",
    "http",
    metavar="HOST:PORT",
    help="Serve state, metrics and read-only SQL at this address, such as 127.0.0.1:8417.",
)
@click.option("--http-open", is_flag=True, help="Let --http be reached by other machines.")
@SHARD
@LAKE
@json_option("Print a JSON object for each event.")
def aggregate(
    file: Path,
    listen: tuple[str, ...],
    catalogs: tuple[Path, ...],
    topics: tuple[str, ...],
    records: tuple[Path, ...],
    peers: tuple[str, ...],
    export_every: float,
    forget_within: float,
    keep_free: KeepFree,
    memory: int,
    sources: tuple[str, ...],
    key: Path | None,
    trusted: tuple[str, ...],
    quorum: int | None,
    http: str | None,
    http_open: bool,
    shard: Shard,
    lake: Path | None,
    as_json: bool,
) -> None:
    """Collect signed reports from the network into the DuckDB file FILE.

    Without --catalog and --topic it continues with the apps that are in FILE; if there is none, it
    asks the relay at --peer which topics it carries. On Ctrl-C or SIGTERM
    it stores the reports that have arrived, then ends. On SIGHUP it reads the files of --catalog
    and --record again. While it runs, FILE is locked: read it with `methrics query FILE` or
    `open_dataset`, which read the Parquet beside it. While another program has FILE open, reports
    go to a side file. A damaged FILE is set aside. With --http it also answers `methrics status`,
    Prometheus, and questions about data that are some seconds old.
    """
    serving = of_options(serve_settings, http, http_open)
    files = GivenFiles(catalogs, records)
    given = files.first()
    settings = AggregatorSettings(
        topics=topics,
        catalogs=[catalog for _, catalog in given.catalogs],
        records=[record.raw for _, record in given.records],
        peers=of_options(check_addresses, peers),
        export_every=export_every,
        forget_within=forget_within,
        keep_free=keep_free,
        trust=of_options(trust_of, trusted, quorum),
    )
    settings = of_options(as_leaf, settings, shard, lake)
    # A command that cannot work must not create a file.
    of_options(_check_topics, file, settings, sources)
    of_options(check_listen, listen)
    of_options(check_others, sources, file)
    limit_writers(memory)
    log = Log(Clock(), as_json=as_json)
    lines = JsonLines(log) if log.as_json else TextLines(log)
    with opened_sources(sources) as opened, only_aggregator(file), only(log):
        remove_left_live_file(file)
        # Reports are many objects without reference cycles, so collect cycles seldom.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 10, 10)
        try:
            collect(
                Job(
                    file=file,
                    key=key or key_beside(file),
                    listen=listen,
                    sources=tuple(opened),
                    shard=shard,
                    lake=lake,
                    settings=settings,
                    files=files,
                    lines=lines,
                    serving=serving,
                )
            )
        finally:
            gc.unfreeze()

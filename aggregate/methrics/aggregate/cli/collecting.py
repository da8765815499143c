"""Collects reports into a file until a stop signal, whatever state the file is in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from methrics.aggregate.cli.aggregate_lines import AggregateLines
from methrics.aggregate.cli.restoring import take
from methrics.aggregate.cli.sharding import gossip_of
from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.one_key import only_with_key
from methrics.aggregate.collect.opening import Opened, is_free, open_file
from methrics.aggregate.collect.service import (
    AggregatorSettings,
    damage_in,
    run_aggregator,
    topics_of,
)
from methrics.aggregate.parquet.lake import join_lake
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.serve.settings import ServeSettings
from methrics.node.cli.given_files import GivenFiles, reload_files
from methrics.node.cli.keyfile import own_key, read_key
from methrics.node.clock import Clock
from methrics.node.network.connected import report_connectivity
from methrics.node.process.signals import on_stop_signal
from methrics.node.relay.given import Given
from methrics.schema.errors import ConfigError, StoreError
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.shard import Shard

CLOSE_TIME = 10.0
"""Seconds that the network has to close its connections after everything is on disk. A peer that
hangs cannot keep the process from ending."""

FREE_EVERY = 2.0
"""Seconds between two attempts to open a file that another program has open."""

DAMAGE_EVERY = 600.0
"""A file that is damaged again within so many seconds ends the aggregator: the disk is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What `methrics aggregate` was told to do."""

    file: Path
    key: Path
    """The file with the peer key."""
    listen: tuple[str, ...]
    sources: tuple[tuple[str, Dataset], ...]
    """Data sets to take in first, with their names."""
    shard: Shard
    lake: Path | None
    settings: AggregatorSettings
    files: GivenFiles
    """The catalogs and records, which SIGHUP reads again."""
    lines: AggregateLines
    serving: ServeSettings | None


def collect(job: Job) -> None:
    """Take the sources in and collect until a stop signal: into the side file while the file is
    busy, and into a new file if it is damaged.

    Raises ConfigError without a topic, and StoreError if no file can be written.
    """
    damage: StoreError | None = None
    clock, again = Clock(), True
    last: float | None = None
    listen, sources, lines = job.listen, job.sources, job.lines
    seed: bytes | None = None  # read once: a pipe cannot be read again
    # A new key has signed nothing yet.
    own = public_key(read_key(job.key)) if job.key.exists() and job.key.stat().st_size else None
    while again:
        opened = open_file(job.file, clock.now(), lines.event, damage, job.shard, own)
        damage = None
        try:
            with opened.store as store:
                if job.lake is not None and not opened.side:
                    join_lake(job.file, job.lake, job.shard)
                for source, dataset in sources:
                    with dataset:
                        take(
                            *(source, dataset, store),
                            as_json=lines.log.as_json,
                            log=lines.log,
                            own=own,
                        )
                sources = ()
                _check_known(job.file, opened, job.settings)
                seed = seed or own_key(job.key)
                with only_with_key(seed, job.settings.peers, job.settings.trust):
                    listen, again = trio.run(partial(_serve, job, opened, seed, listen))
        except Exception as error:
            damage = damage_in(error)
            if damage is None or opened.side or (last and clock.monotonic() - last < DAMAGE_EVERY):
                raise
            last = clock.monotonic()


async def _serve(
    job: Job, opened: Opened, seed: bytes, listen: tuple[str, ...]
) -> tuple[tuple[str, ...], bool]:
    """Collect into the opened store until a stop signal, or until the file is free again. Returns
    the addresses that were used, and whether to go on with the file."""
    from methrics.node.network.libp2p import open_swarm

    lines, log = job.lines, job.lines.log
    stop, freed = trio.Event(), trio.Event()
    changed, reloads = trio.open_memory_channel[Given](1)
    store = opened.store
    figures = Figures(store.path, store.directory, log.clock)
    settings = replace(job.settings, seed=seed, reloads=reloads, figures=figures)
    async with trio.open_nursery() as listening:
        reload = partial(listening.start_soon, reload_files, job.files, changed)
        await on_stop_signal(listening, stop.set, reload)
        with trio.CancelScope() as closing:
            async with (
                open_swarm(
                    listen=listen, seed=settings.seed, settings=gossip_of(store.shard)
                ) as swarm,
                trio.open_nursery() as nursery,
            ):
                lines.listening(swarm.peer_id, swarm.addrs)
                listen = swarm.listens
                if opened.side:
                    nursery.start_soon(_when_free, job.file, freed, stop)
                if settings.peers:
                    nursery.start_soon(report_connectivity, swarm, lines.connectivity)
                if job.serving is not None:
                    from methrics.aggregate.serve.server import serve

                    nursery.start_soon(
                        serve,
                        job.file,
                        store.directory,
                        job.serving,
                        figures,
                        settings.freshness,
                        lines.serving,
                    )
                await run_aggregator(swarm, store, settings, log.clock, lines.event, stop)
                nursery.cancel_scope.cancel()
                closing.deadline = trio.current_time() + CLOSE_TIME
        listening.cancel_scope.cancel()
    if not freed.is_set():
        lines.stopped(store, swarm.statistics())
    return listen, freed.is_set()


async def _when_free(file: Path, freed: trio.Event, stop: trio.Event) -> None:
    """Set both events once no other program has the file open."""
    while not await trio.to_thread.run_sync(is_free, file):
        await trio.sleep(FREE_EVERY)
    freed.set()
    stop.set()


def _check_known(file: Path, opened: Opened, settings: AggregatorSettings) -> None:
    """Raise an error if there is nothing to collect: the side file knows of no app either, if no
    Parquet is beside the file that is in use."""
    if settings.peers:
        return
    try:
        topics_of(settings, opened.store.catalogs())
    except ConfigError:
        if not opened.side:
            raise
        raise StoreError(
            "store-busy",
            f"{file} is in use, and nothing else says what to collect",
            "close the program that has it open, or give a --catalog or a --topic",
        ) from None

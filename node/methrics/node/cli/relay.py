"""`methrics relay`: runs a relay in the foreground until a stop signal."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.durations import Duration
from methrics.node.cli.keyfile import own_key
from methrics.node.cli.lines import say
from methrics.node.cli.options import (
    CATALOGS,
    PEERS,
    json_option,
    key_option,
    listen_option,
    topics_option,
)
from methrics.node.clock import Clock
from methrics.node.durations import duration_text
from methrics.node.network.connected import connectivity_line, report_connectivity
from methrics.node.network.swarm import Swarm
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.entry import check_addresses
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.topic import parse_topic

SAY_EVERY = 60.0
"""Seconds between two lines of counts."""

DRAIN_TIME = 1.0
"""Seconds for which connections stay open at the end, so that the last bundles can be sent."""

DEFAULTS = MixLimits()

WINDOW_MAX = 3600.0
"""Most seconds of a batch window. A longer window would not hide apps any better."""

REST_MAX = 7 * 86_400.0
"""Most seconds for which reports may rest, because they must arrive before receivers refuse them as
late (by default 21 days)."""


@click.command()
@listen_option("/ip4/0.0.0.0/tcp/4001")
@CATALOGS
@topics_option("A topic to carry; its catalogs are learnt from submitters. Repeatable.")
@PEERS
@click.option(
    "--batch-window",
    type=Duration(least=0.001, most=WINDOW_MAX),
    default=duration_text(DEFAULTS.batch_window),
    show_default=True,
    metavar="DURATION",
    help="How long the relay collects reports, to shuffle and publish them in one bundle.",
)
@click.option(
    "--rest",
    type=Duration(most=REST_MAX),
    default=duration_text(DEFAULTS.rest),
    show_default=True,
    metavar="DURATION",
    help="Each report leaves at a random moment of the next day, or of another period. With less "
    "than a day, others see which reports came together; 0s is for tests and demos.",
)
@key_option("relay")
@json_option("Print a JSON object for each event.")
def relay(
    listen: tuple[str, ...],
    catalogs: tuple[Path, ...],
    topics: tuple[str, ...],
    peers: tuple[str, ...],
    batch_window: float,
    rest: float,
    key: Path | None,
    as_json: bool,
) -> None:
    """Accept reports from apps, check and mix them, and publish them in bundles.

    A relay writes nothing to disk and stores no address of an app. On Ctrl-C or SIGTERM it
    publishes the reports that it still has, then ends. Without --key, its own address changes with
    every start.
    """
    loaded = [load_catalog(path) for path in catalogs]
    carried = _topics(loaded, topics)
    check_addresses(peers)
    book = CatalogBook(carried)
    for one in loaded:
        book.add(one, given=True)
    settings = RelaySettings(topics=carried, mix=MixLimits(batch_window=batch_window, rest=rest))
    seed = own_key(key) if key else None
    trio.run(partial(_serve, book, settings, listen, seed, peers, as_json))


def _topics(catalogs: list[Catalog], topics: tuple[str, ...]) -> tuple[str, ...]:
    for topic in topics:
        try:
            parse_topic(topic)
        except RefusedError as error:
            raise ConfigError(
                "bad-topic",
                f"{topic!r} is no topic",
                "it looks like /methrics/1/<label>-<key>/cbor",
            ) from error
    carried = tuple(sorted({*topics, *(catalog.topic for catalog in catalogs)}))
    if not carried:
        raise ConfigError("no-topic", "nothing to carry", "give --catalog FILE or --topic TOPIC")
    return carried


async def _serve(
    book: CatalogBook,
    settings: RelaySettings,
    listen: tuple[str, ...],
    seed: bytes | None,
    peers: tuple[str, ...],
    as_json: bool,
) -> None:
    from methrics.node.network.libp2p import open_swarm

    stop = trio.Event()
    async with trio.open_nursery() as listening:
        await on_stop_signal(listening, stop.set)
        async with open_swarm(listen=listen, seed=seed) as swarm, trio.open_nursery() as nursery:
            for peer in peers:
                swarm.keep(peer)
            started = partial(
                run_relay,
                swarm,
                book,
                settings,
                clock=Clock(),
                rng=random.SystemRandom(),
                stop=stop,
            )
            async with trio.open_nursery() as serving:
                running: Relay = await serving.start(started)
                _say_listening(as_json, swarm.addrs, settings)
                nursery.start_soon(_say_counts, running, swarm, as_json)
                if peers:
                    nursery.start_soon(
                        report_connectivity, swarm, partial(_say_connectivity, as_json)
                    )
            await trio.sleep(DRAIN_TIME)
            nursery.cancel_scope.cancel()
        listening.cancel_scope.cancel()
    _say(running, swarm, as_json, "stopped")


async def _say_counts(running: Relay, swarm: Swarm, as_json: bool) -> None:
    while True:
        await trio.sleep(SAY_EVERY)
        _say(running, swarm, as_json, "counts")


def _say_listening(as_json: bool, addrs: tuple[str, ...], settings: RelaySettings) -> None:
    topics, rest = settings.topics, settings.mix.rest
    if as_json:
        event = {"event": "listening", "addrs": addrs, "topics": topics, "rest": rest}
        say(json.dumps(event))
        return
    for addr in addrs:
        say(f"listening on {addr}")
    for topic in topics:
        say(f"carrying {topic}")
    if rest:
        window = duration_text(settings.mix.batch_window)
        say(
            f"each report rests for up to {duration_text(rest)} and leaves at a random moment "
            f"(to try things out, --rest 0s: it leaves within {window})"
        )


def _say_connectivity(as_json: bool, connected: int) -> None:
    if as_json:
        say(json.dumps({"event": "peers", "connected": connected}))
    else:
        say(f"methrics: {connectivity_line(connected)}", err=True)


def _say(running: Relay, swarm: Swarm, as_json: bool, event: str) -> None:
    """Prints the counts, which contain no address and no key."""
    counts = running.statistics
    values = {
        "pooled": running.pooled,
        "published": counts.published,
        "bundles": counts.bundles,
        "elsewhere": counts.elsewhere,
    }
    if as_json:
        answers, gossip = dict(counts.answers), dict(counts.gossip)
        counted = {"answers": answers, "gossip": gossip, "swarm": asdict(swarm.statistics())}
        say(json.dumps({"event": event, **values, **counted}))
        return
    words = ", ".join(f"{name} {value}" for name, value in values.items())
    say(f"{event}: {words}")

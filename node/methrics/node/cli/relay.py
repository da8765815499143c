"""`methrics relay`: run a relay in the foreground until it is told to stop."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGTERM

import click
import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.keyfile import own_key
from methrics.node.clock import Clock
from methrics.node.network.connected import company_words, tell_company
from methrics.node.publish.entry import check_addresses
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.topic import parse_topic

FILE = click.Path(path_type=Path, dir_okay=False)

SAY_EVERY = 60.0
"""Seconds between two lines of counts."""

DRAIN_TIME = 1.0
"""Seconds that connections stay open at the end, for the last bundles to leave."""

HOLD_MAX = 3600.0
"""Seconds: a longer window protects nobody more."""

LINGER_MAX = 7 * 86_400.0
"""Seconds: reports must still arrive well before they are late (21 days by default)."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType[float]):
    """Seconds, given as `30`, `30s`, `500ms`, `2m`, `1h` or `1d`: up to `most`, 0 if `zero`."""

    name = "duration"

    def __init__(self, most: float, *, zero: bool = False) -> None:
        self._most = most
        self._zero = zero

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = _DURATION.fullmatch(str(value))
        seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else -1.0
        if not 0 <= seconds <= self._most or not (seconds or self._zero):
            most = f"{self._most / 3600:g}h"
            self.fail(f"{value!r} is no duration up to {most}, such as 30s or 2m", param, ctx)
        return seconds


@click.command()
@click.option(
    "--listen",
    multiple=True,
    default=("/ip4/0.0.0.0/tcp/4001",),
    show_default=True,
    metavar="MULTIADDR",
    help="Where to listen; may be repeated. TCP port 0 takes a free one.",
)
@click.option(
    "--catalog",
    "catalogs",
    type=FILE,
    multiple=True,
    help="A signed catalog whose namespace to carry; may be repeated.",
)
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="TOPIC",
    help="A topic to carry; its catalogs are learnt from submitters. May be repeated.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MULTIADDR",
    help="A relay or aggregator to stay connected to; may be repeated.",
)
@click.option(
    "--hold",
    type=Duration(HOLD_MAX),
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="Length of a window, in which reports are shuffled and bundled.",
)
@click.option(
    "--linger",
    type=Duration(LINGER_MAX, zero=True),
    default="1d",
    show_default=True,
    metavar="DURATION",
    help="Reports leave at a random moment of the next day, or of another period: less than a day "
    "shows which came together; 0 only for tests and demos.",
)
@click.option(
    "--key",
    "key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with this relay's key, made if absent: its address then outlives a restart.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each event.")
def relay(
    listen: tuple[str, ...],
    catalogs: tuple[Path, ...],
    topics: tuple[str, ...],
    peers: tuple[str, ...],
    hold: float,
    linger: float,
    key: Path | None,
    as_json: bool,
) -> None:
    """Take reports in from apps, check and mix them, and publish them in bundles.

    Keeps nothing on disk and no address anywhere. Ctrl-C or SIGTERM publishes what is held and
    stops. Without --key its address changes with every start.
    """
    loaded = [load_catalog(path) for path in catalogs]
    carried = _topics(loaded, topics)
    check_addresses(peers)
    book = CatalogBook(carried)
    for one in loaded:
        book.add(one)
    settings = RelaySettings(topics=carried, mix=MixLimits(batch_window=hold, rest=linger))
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
    with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with open_swarm(listen=listen, seed=seed) as swarm, trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, signals, stop)
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
                nursery.start_soon(_say_counts, running, as_json)
                if peers:
                    nursery.start_soon(tell_company, swarm, partial(_say_company, as_json))
            await trio.sleep(DRAIN_TIME)
            nursery.cancel_scope.cancel()
    _say(running, as_json, "stopped")


async def _stop_on_signal(signals: AsyncIterator[int], stop: trio.Event) -> None:
    async for _ in signals:
        stop.set()


async def _say_counts(running: Relay, as_json: bool) -> None:
    while True:
        await trio.sleep(SAY_EVERY)
        _say(running, as_json, "counts")


def _say_listening(as_json: bool, addrs: tuple[str, ...], settings: RelaySettings) -> None:
    topics, linger = settings.topics, settings.mix.rest
    if as_json:
        event = {"event": "listening", "addrs": addrs, "topics": topics, "linger": linger}
        click.echo(json.dumps(event))
        return
    for addr in addrs:
        click.echo(f"listening on {addr}")
    for topic in topics:
        click.echo(f"carrying {topic}")
    if linger:
        rest = "a day" if linger == _UNITS["d"] else f"{linger:g} s"
        click.echo(
            f"each report leaves at a random moment of the next period of {rest} "
            f"(--linger 0: within {settings.mix.batch_window:g} s, for trying things out)"
        )


def _say_company(as_json: bool, connected: int) -> None:
    if as_json:
        click.echo(json.dumps({"event": "peers", "connected": connected}))
    else:
        click.echo(f"methrics: {company_words(connected)}", err=True)


def _say(running: Relay, as_json: bool, event: str) -> None:
    """Counts, which name nobody."""
    counts = running.statistics
    values = {
        "held": running.pooled,
        "published": counts.published,
        "bundles": counts.bundles,
        "elsewhere": counts.elsewhere,
    }
    if as_json:
        answers, gossip = dict(counts.answers), dict(counts.gossip)
        click.echo(json.dumps({"event": event, **values, "answers": answers, "gossip": gossip}))
        return
    words = ", ".join(f"{name} {value}" for name, value in values.items())
    click.echo(f"{event}: {words}")

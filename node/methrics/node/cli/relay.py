"""`methrics relay`: runs a relay in the foreground until a stop signal."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import click
import trio

from methrics.node.cli.durations import Duration
from methrics.node.cli.given_files import GivenFiles, check_regular, reload_files
from methrics.node.cli.keyfile import own_key
from methrics.node.cli.log import only
from methrics.node.cli.options import (
    CATALOGS,
    FILE,
    PEERS,
    RECORDS,
    check_listen,
    json_option,
    key_option,
    listen_option,
    of_options,
    topics_option,
)
from methrics.node.cli.relay_lines import RelayLines
from methrics.node.cli.topics import check_topic
from methrics.node.clock import Clock
from methrics.node.durations import duration_text
from methrics.node.http.tls import ServerTls
from methrics.node.network.connected import report_connectivity
from methrics.node.network.swarm import Swarm
from methrics.node.paths import user_paths
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.entry import check_addresses
from methrics.node.relay.given import Given, Reloaded, take_given
from methrics.node.relay.http_serving import HttpSettings, serve_http_doors
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.own_doors import OwnDoors
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.node.relay.settings import ROLES
from methrics.node.relay.state_folder import StateFolder
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, LocalError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.record import decode_record

PEER_ID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,64}", re.ASCII)
"""A libp2p peer id in base58."""

SAY_EVERY = 60.0
"""Seconds between two lines of counts."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the records, whose changes are said at once."""

CLOSE_TIME = 10.0
"""Seconds that the network then has to close its connections. A peer that hangs cannot keep the
process from ending."""

DRAIN_TIME = 1.0
"""Seconds for which connections stay open at the end, so that the last bundles can be sent."""

DEFAULTS = MixLimits()

SPREAD = RelaySettings(topics=()).spread
"""Default of --spread, in seconds."""

SPREAD_MAX = 24 * 3600.0
"""Most seconds over which boxes are spread, because exits must get them while they have the key."""

WINDOW_MAX = 3600.0
"""Most seconds of a batch window. A longer window would not hide apps any better."""

REST_MAX = 7 * 86_400.0
"""Most seconds for which reports may rest, because they must arrive before receivers refuse them as
late (by default 21 days)."""


@click.command()
@listen_option("/ip4/0.0.0.0/tcp/4001")
@CATALOGS
@topics_option("A topic to carry; its catalogs are learnt from submitters. Repeatable.")
@RECORDS
@PEERS
@click.option(
    "--entry",
    "entries",
    multiple=True,
    metavar="PEER_ID",
    help="A relay that submits here what many apps gave it; it gets a share of the memory of its "
    "own. Repeatable.",
)
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
@click.option(
    "--spread",
    type=Duration(most=SPREAD_MAX),
    default=duration_text(SPREAD),
    show_default=True,
    metavar="DURATION",
    help="As an entry, bring each box to its exit at a random moment within this time. With less "
    "than hours, exits see which boxes came together; 0s is for tests and demos.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of this relay, made if absent: its key, and the reports that rest. By default "
    "`relay` in the folder of this user's data. Two relays need two folders.",
)
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    help="What the relay does for apps: an entry sees their addresses and takes sealed boxes, an "
    "exit opens boxes and sees reports. By default both. Repeatable.",
)
@click.option(
    "--announce",
    multiple=True,
    metavar="ADDRESS",
    help="An address at which others reach this relay, to tell them: a multiaddress, by default "
    "those of --listen, or the URL of its HTTP doors. Repeatable.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Open doors over HTTP, too, for apps without libp2p. Other machines should reach them by "
    "https:// only: give --tls-cert, or put a web server in front (docs/operate.md).",
)
@click.option("--tls-cert", type=FILE, help="Certificate chain for --http (PEM).")
@click.option("--tls-key", type=FILE, help="Private key for --http (PEM).")
@click.option(
    "--http-behind",
    metavar="ADDRESS",
    help="IP address of the web server in front of --http; its X-Forwarded-For is believed.",
)
@click.option("--operator", metavar="NAME", help="Who runs this relay, to tell others.")
@key_option("relay")
@json_option("Print a JSON object for each event.")
def relay(
    listen: tuple[str, ...],
    catalogs: tuple[Path, ...],
    topics: tuple[str, ...],
    records: tuple[Path, ...],
    peers: tuple[str, ...],
    entries: tuple[str, ...],
    batch_window: float,
    rest: float,
    spread: float,
    state: Path | None,
    roles: tuple[str, ...],
    announce: tuple[str, ...],
    http: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    http_behind: str | None,
    operator: str | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Accept reports from apps, check and mix them, and publish them in bundles.

    Reports rest in the folder --state until they are published, also while the relay is stopped.
    The relay stores no address of an app, and not when or in which order reports came. On SIGHUP
    it reads the files of --catalog, --record and --tls-cert again. With --key, its own address
    follows from that key, not from the one in its folder.
    """
    files = GivenFiles(catalogs, records)
    given = files.first()
    loaded = [catalog for _, catalog in given.catalogs]
    carried = of_options(_topics, loaded, topics)
    of_options(check_addresses, peers)
    of_options(check_listen, listen)
    book = CatalogBook(carried)
    for one in loaded:
        book.add(one, given=True)
    for path, record in given.records:
        _give(book, record, path)
    settings = RelaySettings(
        topics=carried,
        mix=MixLimits(batch_window=batch_window, rest=rest),
        spread=spread,
        entries=tuple(of_options(_peer_id, one) for one in entries),
        roles=tuple(sorted(set(roles))) or ROLES,
        announce=announce,
        operator=operator,
        named=tuple(peer.rpartition("/p2p/")[2] for peer in peers),
    )
    doors = of_options(_http, http, tls_cert, tls_key, http_behind) if http else None
    lines = RelayLines(settings, book, Clock(), as_json=as_json)
    with (
        StateFolder(state or Path(user_paths().data, "relay")) as folder,
        only(lines.log),
    ):
        seed = own_key(key) if key else folder.seed()
        trio.run(partial(_serve, book, settings, files, listen, seed, folder, peers, doors, lines))


def _give(book: CatalogBook, item: Item, path: str) -> None:
    if not book.allows_key(item.key):
        raise ConfigError(
            "foreign-record",
            f"{path} is the record of another namespace",
            "give its catalog or topic, too",
        )
    book.records.add(item, decode_record(item.payload))


def _http(where: str, cert: Path | None, key: Path | None, behind: str | None) -> HttpSettings:
    """Returns where the HTTP doors are, by the options."""
    host, _, port = where.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError("http-address", f"{where!r} is not HOST:PORT", "such as 127.0.0.1:8080")
    if (cert is None) != (key is None):
        raise ConfigError(
            "tls-files", "a certificate needs its key", "give both --tls-cert and --tls-key"
        )
    tls = ServerTls(cert, key) if cert and key else None
    return HttpSettings(host.strip("[]"), int(port), tls, _proxy(behind) if behind else None)


def _proxy(text: str) -> str:
    """Returns the address of a proxy as sockets write it."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ConfigError(
            "http-address", f"{text[:80]!r} is no IP address", "such as 127.0.0.1"
        ) from None


def _peer_id(entry: str) -> str:
    """Returns the peer id in an option: the id itself, or an address that ends in it."""
    found = PEER_ID.fullmatch(entry.rpartition("/p2p/")[2])
    if found is None:
        raise ConfigError(
            "bad-peer-id", f"{entry[:80]!r} is no peer id", "it looks like 12D3KooW..."
        )
    return found[0]


def _topics(catalogs: list[Catalog], topics: tuple[str, ...]) -> tuple[str, ...]:
    for topic in topics:
        check_topic(topic)
    carried = tuple(sorted({*topics, *(catalog.topic for catalog in catalogs)}))
    if not carried:
        raise ConfigError("no-topic", "nothing to carry", "give --catalog FILE or --topic TOPIC")
    return carried


async def _serve(
    book: CatalogBook,
    settings: RelaySettings,
    files: GivenFiles,
    listen: tuple[str, ...],
    seed: bytes,
    state: StateFolder,
    peers: tuple[str, ...],
    http: HttpSettings | None,
    lines: RelayLines,
) -> None:
    from methrics.node.network.libp2p import open_swarm

    clock, stop = lines.log.clock, trio.Event()
    changed, reloads = trio.open_memory_channel[Given](1)
    async with trio.open_nursery() as listening:
        reload = partial(listening.start_soon, reload_files, files, changed)
        await on_stop_signal(listening, stop.set, reload)
        with trio.CancelScope() as closing:
            async with (
                open_swarm(listen=listen, seed=seed) as swarm,
                trio.open_nursery() as nursery,
            ):
                for peer in peers:
                    swarm.keep(peer)
                rng = random.SystemRandom()
                own = OwnDoors(swarm, settings, seed, files=state, clock=clock, rng=rng)
                started = partial(
                    run_relay,
                    swarm,
                    book,
                    settings,
                    clock=clock,
                    rng=rng,
                    stop=stop,
                    state=state,
                    own=own,
                )
                async with trio.open_nursery() as serving:
                    running: Relay = await serving.start(started)
                    lines.listening(swarm.addrs)
                    if http is not None:
                        nursery.start_soon(
                            partial(
                                serve_http_doors,
                                running,
                                own,
                                http,
                                clock=clock,
                                listening=lines.doors,
                            )
                        )
                    nursery.start_soon(_say_counts, lines, running, swarm)
                    nursery.start_soon(_say_changes, lines)
                    nursery.start_soon(_take_reloads, reloads, book, http, lines)
                    if peers:
                        nursery.start_soon(report_connectivity, swarm, lines.connectivity)
                closing.deadline = trio.current_time() + DRAIN_TIME + CLOSE_TIME
                await trio.sleep(DRAIN_TIME)
                nursery.cancel_scope.cancel()
        listening.cancel_scope.cancel()
    lines.counts(running, swarm, "stopped")


async def _take_reloads(
    reloads: trio.MemoryReceiveChannel[Given],
    book: CatalogBook,
    http: HttpSettings | None,
    lines: RelayLines,
) -> None:
    async for given in reloads:
        _, done = take_given(given, book, lines.log.clock.now())
        tls = None if http is None else http.tls
        lines.reloaded(done if tls is None else renewed(done, tls))


def renewed(done: Reloaded, tls: ServerTls) -> Reloaded:
    """Reads the certificate again, for connections that come from now on; returns `done` with what
    there is to say about it."""
    # Not in a thread: OpenSSL does not allow a handshake to begin meanwhile.
    try:
        for path in tls.files:
            check_regular(path)
        tls.reload()
    except LocalError as error:
        return replace(done, refused=(*done.refused, (str(tls.files[0]), error)))
    return replace(done, changed=(*done.changed, f"the certificate in {tls.files[0]}"))


async def _say_counts(lines: RelayLines, running: Relay, swarm: Swarm) -> None:
    while True:
        await trio.sleep(SAY_EVERY)
        lines.counts(running, swarm)


async def _say_changes(lines: RelayLines) -> None:
    while True:
        await trio.sleep(LOOK_EVERY)
        lines.changes()

"""`methrics namespace`: makes the key of an app's namespace, and signs and shows its record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.durations import Duration
from methrics.node.cli.group import CommandGroup
from methrics.node.cli.keyfile import make_key, read_key
from methrics.node.cli.namespace_status import record_facts, status_document, status_lines
from methrics.node.cli.options import FILE, json_option
from methrics.node.cli.record_file import load_record, write_record
from methrics.node.cli.times import Moment
from methrics.node.clock import Clock
from methrics.node.outbox.records import ONE_RELAY
from methrics.node.publish.entry import check_addresses
from methrics.node.publish.next_record import Changes, least_delisting, next_record
from methrics.node.publish.record_relays import Told, ask_relays, submit_all
from methrics.node.publish.standing import heads_of
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.wire.envelope import Item, Kind, public_key, sign_item, split
from methrics.schema.wire.limits import TIME_STEP
from methrics.schema.wire.record import Record, Revoked, decode_record, encode_record
from methrics.schema.wire.topic import parse_topic, short_key

NETWORK = 4
"""Exit code if a relay did not take the record or a catalog."""

RELAYS = click.option(
    "--relay",
    "relays",
    multiple=True,
    metavar="MULTIADDR",
    help="A relay that carries the app's topic; name all that you know. Repeatable.",
)
OFFLINE = click.option(
    "--offline",
    is_flag=True,
    help="Ask no relay, and continue the record in the file. Only for a key that nobody else uses.",
)
KEY = click.option("--key", type=FILE, required=True, help="The namespace key (see init).")
OUT = click.option(
    "--out", type=FILE, help="The record's file. Default: beside the key, ending in .record."
)
YEARS = 3 * 366 * 86_400.0
"""Most seconds until a record expires, or a catalog is delisted: as long as an event type lasts."""

EXPIRES = click.option(
    "--expires",
    type=Duration(least=86_400, most=YEARS),
    default="365d",
    show_default=True,
    metavar="DURATION",
    help="How long the record is valid. Nothing is sent after that until you publish again.",
)


@click.group(cls=CommandGroup)
def namespace() -> None:
    """Make an app's namespace key, and sign the record of its catalogs.

    The record lists the catalogs that are in use and the event types that are revoked. Nodes take
    in reports only under a listed catalog, so publish it whenever you sign a catalog.
    """


@namespace.command()
@click.argument("file", type=FILE)
def init(file: Path) -> None:
    """Make a namespace key in FILE (mode 0600, never overwritten).

    Only the holder of this key can sign catalogs and records of the app, so keep it safe.
    """
    seed = make_key(file)
    click.echo(f"wrote {file}; keep it secret, and keep a copy in a safe place")
    click.echo(f"public key {public_key(seed).hex()}")
    click.echo(f"next: methrics catalog sign app.toml --key {file} --output app.cbor")
    click.echo(f"then: methrics namespace publish --key {file} --relay ADDRESS app.cbor")


@namespace.command()
@click.argument("catalogs", type=FILE, nargs=-1, required=True, metavar="CATALOG...")
@KEY
@RELAYS
@click.option(
    "--delist",
    type=FILE,
    multiple=True,
    metavar="CATALOG",
    help="A catalog whose reports are to end; repeatable.",
)
@click.option(
    "--in",
    "delay",
    type=Duration(most=YEARS),
    metavar="DURATION",
    help="When --delist takes effect. Default and least: the longest lateness of the catalog.",
)
@EXPIRES
@OFFLINE
@OUT
@json_option()
@click.pass_context
def publish(
    ctx: click.Context,
    catalogs: tuple[Path, ...],
    key: Path,
    relays: tuple[str, ...],
    delist: tuple[Path, ...],
    delay: float | None,
    expires: float,
    offline: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign the next record, which lists the CATALOGs too, and hand both to the relays.

    Asks all given relays for the newest record first, so that a key from a backup does not sign a
    second one beside it. Other listed catalogs stay. Ends with code 4 if a relay did not take all.
    """
    now, seed = Clock().now(), read_key(key)
    chosen = [_own_catalog(path, seed) for path in catalogs]
    ended = [_own_catalog(path, seed) for path in delist]
    if len({one.label for one in [*chosen, *ended]}) > 1:
        raise ConfigError(
            "mixed-labels", "the catalogs have different labels", "use one key for each label"
        )
    changes = Changes(listed=chosen, delisted=_ends(ended, now, delay))
    signing = _Signing(seed, key, out, relays, offline=offline)
    ctx.exit(signing.run(changes, now, now + int(expires), chosen[0].topic, as_json=as_json))


@namespace.command()
@click.argument("type_name", metavar="TYPE")
@KEY
@RELAYS
@click.option("--reason", required=True, help="One sentence, which people read.")
@click.option(
    "--from",
    "start",
    type=Moment(),
    metavar="TIME",
    help="Reports of this time or later do not count. Default: now.",
)
@EXPIRES
@OFFLINE
@OUT
@json_option()
@click.pass_context
def revoke(
    ctx: click.Context,
    type_name: str,
    key: Path,
    relays: tuple[str, ...],
    reason: str,
    start: int | None,
    expires: float,
    offline: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign the next record, which revokes the event type TYPE, and hand it to the relays.

    Nodes refuse reports of the type from then on, and apps stop asking about it. Listed catalogs
    stay listed.
    """
    now, seed = Clock().now(), read_key(key)
    moment = (now if start is None else start) // TIME_STEP * TIME_STEP
    changes = Changes(revoked={type_name: Revoked(moment, reason)})
    signing = _Signing(seed, key, out, relays, offline=offline)
    ctx.exit(signing.run(changes, now, now + int(expires), "", as_json=as_json))


@namespace.command()
@click.argument("catalog", type=FILE, required=False)
@RELAYS
@click.option("--topic", help="The topic, for an app whose catalog is not on this machine.")
@json_option()
@click.pass_context
def status(
    ctx: click.Context,
    catalog: Path | None,
    relays: tuple[str, ...],
    topic: str | None,
    as_json: bool,
) -> None:
    """Show the record that each relay has of the namespace of CATALOG or --topic."""
    if (catalog is None) == (topic is None):
        raise click.UsageError("give a catalog or --topic")
    name = topic or (load_catalog(catalog).topic if catalog else "")
    parse_topic(name)
    told = _ask(relays, name)
    now = Clock().now()
    if as_json:
        click.echo(json.dumps(status_document(told, name, now), indent=2))
    else:
        for line in status_lines(told, name, now):
            click.echo(line)
    if not any(one.raws for one in told):
        ctx.exit(NETWORK)


class _Signing:
    """One change of a namespace: asks, signs, writes, submits and prints."""

    def __init__(
        self, seed: bytes, key: Path, out: Path | None, relays: tuple[str, ...], *, offline: bool
    ) -> None:
        if bool(relays) == offline:
            raise ConfigError(
                "no-relay",
                "--offline asks no relay" if offline else "no relay is given",
                "give either --relay or --offline"
                if offline
                else "give --relay ADDRESS; --offline only writes the file, for a new key",
            )
        self._seed = seed
        self._short = short_key(public_key(seed))
        self._file = out or key.with_suffix(".record")
        self._relays = relays

    def run(self, changes: Changes, now: int, expires: int, topic: str, *, as_json: bool) -> int:
        """Returns the exit code."""
        told = _ask(self._relays, topic, self._short) if self._relays else []
        if told and not any(one.topic for one in told):
            raise UnreachableError("no-answer", "no relay answered, so nothing was signed")
        raws = [raw for one in told for raw in one.raws]
        if self._file.exists():
            raws.append(load_record(self._file).raw)
        found = map(split, heads_of(raws, self._short))
        heads = [(item, decode_record(item.payload)) for item in found]
        record = next_record(heads, changes, now=now, expires=expires)
        item = sign_item(Kind.RECORD, encode_record(record), self._seed)
        write_record(self._file, item.raw)
        taken = self._submit(item, changes, told)
        if as_json:
            click.echo(json.dumps(_document(item, record, self._file, len(heads), taken)))
        else:
            for line in _lines(item, record, self._file, len(heads), taken):
                click.echo(line)
        return NETWORK if any(taken.values()) else 0

    def _submit(self, item: Item, changes: Changes, told: list[Told]) -> dict[str, str]:
        """Returns for each relay what went wrong, "" if it took everything."""
        items = [item.raw, *(one.raw for one in changes.listed)]
        topics = {one.addr: one.topic for one in told if one.topic}
        done = {one.addr: one.error for one in told if not one.topic}
        if topics:
            done |= trio.run(partial(_on_network, partial(submit_all, topics, items)))
        return {addr: done[addr] for addr in self._relays} if told else {}


def _own_catalog(path: Path, seed: bytes) -> Catalog:
    catalog = load_catalog(path)
    if catalog.key != public_key(seed):
        raise ConfigError(
            "foreign-catalog", f"{path} is signed by another key", "give the key that signed it"
        )
    return catalog


def _ends(catalogs: list[Catalog], now: int, delay: float | None) -> dict[bytes, int]:
    """Returns when each catalog is delisted. Raises ConfigError `delisted-early`."""
    found = {}
    for one in catalogs:
        least = least_delisting(one, now)
        if delay is not None and now + delay < least:
            days = -(-(least - now) // 86_400)
            raise ConfigError(
                "delisted-early",
                "reports of this catalog may arrive for longer than that",
                f"give at least --in {days}d",
            )
        found[one.id] = least if delay is None else now + int(delay)
    return found


def _ask(relays: tuple[str, ...], topic: str, short: str = "") -> list[Told]:
    if not check_addresses(relays):
        raise ConfigError("no-relay", "no relay is given", "give --relay ADDRESS")
    return trio.run(
        partial(_on_network, partial(ask_relays, check_addresses(relays), topic, short))
    )


async def _on_network(work: Callable[..., Any]) -> Any:
    from methrics.node.network.libp2p import open_swarm

    async with open_swarm() as swarm:
        return await work(swarm)


def _document(
    item: Item, record: Record, file: Path, before: int, taken: dict[str, str]
) -> dict[str, object]:
    return {
        "record": item.id.hex(),
        "file": str(file),
        "time": record.time,
        "expires": record.expires,
        "catalogs": [one.catalog.hex() for one in record.catalogs],
        "revoked": sorted(record.revoked),
        "healed": before > 1,
        "relays": {addr: problem or "ok" for addr, problem in taken.items()},
    }


def _lines(
    item: Item, record: Record, file: Path, before: int, taken: dict[str, str]
) -> Iterator[str]:
    yield f"wrote {file}: record {item.id.hex()[:16]}"
    if before > 1:
        yield "it heals two records that contradicted each other"
    for line in record_facts(record, record.time):
        yield f"  {line}"
    for addr, problem in taken.items():
        yield f"{addr}: {problem or 'ok'}"
    if not taken:
        yield "no relay has it yet; give it to yours with: methrics relay --record FILE"
    elif len([problem for problem in taken.values() if not problem]) == 1:
        yield f"apps that know only this relay send their reports: {ONE_RELAY}"

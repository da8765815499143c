"""`methrics namespace`: makes the key of an app's namespace, and signs and shows its record."""

from __future__ import annotations

import json
from pathlib import Path

import click

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.durations import Duration
from methrics.node.cli.group import CommandGroup
from methrics.node.cli.keyfile import make_key, read_key
from methrics.node.cli.namespace_asking import ask
from methrics.node.cli.namespace_revoking import already_revoked, check_revocation, check_type
from methrics.node.cli.namespace_signing import NETWORK, Signing, catalog_name
from methrics.node.cli.namespace_status import Named, is_listed, status_document, status_lines
from methrics.node.cli.options import FILE, json_option
from methrics.node.cli.times import MOMENT
from methrics.node.cli.topics import check_topic
from methrics.node.clock import Clock
from methrics.node.mine.own import moment
from methrics.node.publish.next_record import Changes, least_delisting
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import TIME_STEP
from methrics.schema.wire.record import Revoked

NO = 1
"""Exit code if the catalog is not listed, or if there is no record."""

RELAYS = click.option(
    "--relay",
    "relays",
    multiple=True,
    metavar="ADDRESS",
    help="A relay that carries the app's topic; name all that you know. Repeatable.",
)
OFFLINE = click.option(
    "--offline",
    is_flag=True,
    help="Ask no relay, and continue the record in the file. Only for a key that nobody else uses.",
)
KEY = click.option("--key", type=FILE, required=True, help="The namespace key (see init).")
OUT = click.option(
    "--out", type=FILE, help="The record's file. Default: beside the key; app.record for app.key."
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
@click.argument("catalogs", type=FILE, nargs=-1, metavar="[CATALOG]...")
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
    help="When --delist takes effect. Default and least: the longest lateness of the catalog. "
    "Without it, an end that was set before stays.",
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

    Without a CATALOG, it renews the record. Asks all given relays for the newest record first, so
    that a key from a backup does not sign a second one beside it. Other listed catalogs stay. Ends
    with code 4 if a relay did not take all.
    """
    if delay is not None and not delist:
        raise click.UsageError("--in says when --delist takes effect: give --delist CATALOG, too")
    now, seed = Clock().now(), read_key(key)
    chosen = {path: _own_catalog(path, seed) for path in catalogs}
    ended = {path: _own_catalog(path, seed) for path in delist}
    files = chosen | ended
    if len({one.label for one in files.values()}) > 1:
        raise ConfigError(
            "mixed-labels", "the catalogs have different labels", "use one key for each label"
        )
    listed = {one.id for one in chosen.values()}
    for path, one in ended.items():
        if one.id in listed:
            raise click.UsageError(f"{path} cannot be listed and delisted at once")
    ends = _ends([*ended.values()], now, delay)
    changes = Changes(listed=[*chosen.values()], delisted=ends, exactly=delay is not None)
    signing = Signing(seed, key, out, relays, files, offline=offline)
    signing.look(next((one.topic for one in files.values()), ""))
    if not chosen and not signing.before.found:
        raise ConfigError(
            "no-catalog", "there is no record yet to renew", "name a CATALOG that it is to list"
        )
    item, record = signing.sign(changes, now, now + int(expires))
    ctx.exit(signing.hand(item, record, [*chosen.values()], signed=True, as_json=as_json))


@namespace.command()
@click.argument("type_name", metavar="TYPE")
@KEY
@RELAYS
@click.option("--reason", required=True, help="One sentence, which people read.")
@click.option(
    "--from",
    "start",
    type=MOMENT,
    metavar="TIME",
    help="Reports of this time or later do not count, and aggregators delete those that they have "
    "stored. Rounded down to ten minutes. Default: now, rounded up, so that what is stored stays.",
)
@click.option(
    "--catalog",
    "catalogs",
    type=FILE,
    multiple=True,
    metavar="CATALOG",
    help="A catalog that has TYPE, if no relay can tell; repeatable.",
)
@click.option("--yes", is_flag=True, help="Revoke TYPE even if no known catalog has it.")
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
    catalogs: tuple[Path, ...],
    yes: bool,
    expires: float,
    offline: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign the next record, which revokes the event type TYPE, and hand it to the relays.

    Nodes refuse reports of the type from then on, and apps stop asking about it. A revocation is
    final: no command can take it back. Listed catalogs stay listed.
    """
    now = Clock().now()
    revoked = Revoked(_from(start, now), reason)
    check_revocation(type_name, revoked)
    seed = read_key(key)
    files = {path: _own_catalog(path, seed) for path in catalogs}
    signing = Signing(seed, key, out, relays, files, offline=offline)
    signing.look(next((one.topic for one in files.values()), ""))
    before = already_revoked(signing.before, type_name, revoked.time)
    if before is not None:
        item, record, first = before
        if not as_json:
            click.echo(
                f"{type_name} was already revoked from {moment(first.time)} UTC: nothing was signed"
            )
        ctx.exit(signing.hand(item, record, (), signed=False, as_json=as_json))
    if not yes:
        check_type(type_name, *signing.fetch())
    item, record = signing.sign(Changes(revoked={type_name: revoked}), now, now + int(expires))
    ctx.exit(signing.hand(item, record, (), signed=True, as_json=as_json))


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
    """Show the record that each relay has of the namespace of CATALOG or --topic.

    Ends with code 1 if CATALOG is not listed, or if no relay that answers has a record.
    """
    if (catalog is None) == (topic is None):
        raise click.UsageError("give a catalog or --topic")
    chosen = load_catalog(catalog) if catalog else None
    name = chosen.topic if chosen else topic or ""
    check_topic(name)
    told = ask(relays, name)
    now = Clock().now()
    named = Named(catalog_name(catalog, chosen), chosen.id) if catalog and chosen else None
    if as_json:
        click.echo(json.dumps(status_document(told, name, now, named), indent=2))
    else:
        for line in status_lines(told, name, now, named):
            click.echo(line)
    if not any(one.topic for one in told):
        ctx.exit(NETWORK)
    if not any(one.raws for one in told) or (named and not is_listed(told, name, now, named)):
        ctx.exit(NO)


def _from(start: int | None, now: int) -> int:
    """Returns the time of a revocation: `start` rounded down, or else `now` rounded up."""
    return -(-now // TIME_STEP) * TIME_STEP if start is None else start // TIME_STEP * TIME_STEP


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

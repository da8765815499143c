"""`methrics publish`: send what is due from this machine's outboxes, and show what was sent."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGTERM

import click
import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.clock import Clock
from methrics.node.outbox.journal import Receipt
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.publish.delivery import Done
from methrics.node.publish.entry import Entry, check_addresses, entry_peers
from methrics.node.publish.publisher import OK, PublisherSettings, run_publisher
from methrics.schema.errors import ConfigError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.limits import REPORT_MAX

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that holds outboxes and consent, in place of METHRICS_HOME.",
)
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAME",
    help="Only this app (<label>-<short key>); may be repeated. Default: all on this machine.",
)
@click.option(
    "--catalog",
    "catalogs",
    type=FILE,
    multiple=True,
    help="Only the app whose signed catalog this is; may be repeated.",
)
@click.option(
    "--relay",
    "relays",
    multiple=True,
    metavar="MULTIADDR",
    help="A relay to hand reports to; may be repeated. Default: METHRICS_RELAYS, network.json.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MULTIADDR",
    help="With --direct, a peer of the topic; may be repeated. Default: METHRICS_PEERS.",
)
@click.option(
    "--direct",
    is_flag=True,
    help="Publish by yourself: peers see your address. Sends only types that allow it.",
)
@click.option("--once", is_flag=True, help="Send what is due now, then end (for cron).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each report sent.")
@click.pass_context
def publish(
    ctx: click.Context,
    home: Path | None,
    namespaces: tuple[str, ...],
    catalogs: tuple[Path, ...],
    relays: tuple[str, ...],
    peers: tuple[str, ...],
    direct: bool,
    once: bool,
    as_json: bool,
) -> None:
    """Send what is due from this machine's outboxes, over relays unless told otherwise.

    Only what was consented to is sent, exactly as shown. Without --once it goes on until Ctrl-C or
    SIGTERM. An app that publishes by itself needs no such command.
    """
    paths = user_paths(home)
    known = entry_peers(paths)
    settings = PublisherSettings(
        route="direct" if direct else "relay",
        entry=Entry(
            relays=check_addresses(relays) or known.relays,
            peers=check_addresses(peers) or known.peers,
        ),
        once=once,
        idle=float("inf"),
    )
    settings.check()
    chosen = _chosen(paths, namespaces, catalogs)
    code = trio.run(partial(_publish, paths, chosen, settings, as_json))
    ctx.exit(code)


def _chosen(paths: Paths, namespaces: tuple[str, ...], catalogs: tuple[Path, ...]) -> list[str]:
    """The namespaces asked for, or all that have an outbox."""
    named = [*namespaces, *(_namespace(path) for path in catalogs)]
    try:
        present = sorted(
            name for name in os.listdir(paths.data) if os.path.exists(paths.outbox(name))
        )
    except FileNotFoundError:
        present = []
    if missing := [name for name in named if name not in present]:
        raise ConfigError(
            "no-outbox",
            f"nothing was ever recorded for {missing[0]}",
            f"recorded here: {', '.join(present) or 'nothing'}",
        )
    if not present:
        raise ConfigError(
            "no-outbox",
            f"no app has recorded anything under {paths.data}",
            "allow one with `methrics consent`, or name another folder with --home",
        )
    return list(dict.fromkeys(named)) or present


def _namespace(path: Path) -> str:
    catalog = load_catalog(path)
    return namespace_of(catalog.label, catalog.short_key)


async def _publish(
    paths: Paths, namespaces: list[str], settings: PublisherSettings, as_json: bool
) -> int:
    """One publisher per namespace, together; the gravest of their exit codes."""
    codes: list[int] = [OK]
    rng = random.SystemRandom()

    async def one(namespace: str) -> None:
        say = partial(_say, namespace, as_json)
        codes.append(
            await run_publisher(paths, namespace, settings, clock=Clock(), rng=rng, on_pass=say)
        )

    with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async with trio.open_nursery() as listening:
            listening.start_soon(_cancel_on_signal, signals, listening.cancel_scope)
            async with trio.open_nursery() as nursery:
                for namespace in namespaces:
                    nursery.start_soon(one, namespace)
            listening.cancel_scope.cancel()
    return max(codes)


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


def _say(namespace: str, as_json: bool, done: Done) -> None:
    for receipt in done.sent:
        click.echo(json.dumps(_as_json(namespace, receipt)) if as_json else _in_words(receipt))
    summary = {
        "made": done.made,
        "acknowledged": done.acknowledged,
        "postponed": done.postponed,
        "struck": done.struck,
        "erased": done.erased,
        "dropped": dict(done.dropped),
        "failed": str(done.failed) if done.failed else None,
    }
    if as_json:
        click.echo(json.dumps({"event": "pass", "namespace": namespace, **summary}))
        return
    words = [f"{name} {value}" for name, value in summary.items() if value]
    click.echo(f"{namespace}: {', '.join(words) or 'nothing is due'}")


def _content(receipt: Receipt) -> dict[str, object]:
    """The payload as every receiver decodes it."""
    body = decode(split(receipt.raw).payload, limit=REPORT_MAX)
    return dict(body) if isinstance(body, dict) else {}


def _as_json(namespace: str, receipt: Receipt) -> dict[str, object]:
    content = _content(receipt)
    content.pop("catalog", None)
    return {
        "event": "sent",
        "namespace": namespace,
        "id": receipt.id.hex(),
        "bytes": len(receipt.raw),
        "report": content,
        "raw": receipt.raw.hex(),
    }


def _in_words(receipt: Receipt) -> str:
    content = _content(receipt)
    time = datetime.fromtimestamp(receipt.time, UTC).strftime("%Y-%m-%d %H:%M")
    told = {**_mapping(content.get("values"))} | {
        name: content[name] for name in ("count", "one_in", "sequence") if name in content
    }
    facts = " ".join(f"{name}={json.dumps(value)}" for name, value in told.items())
    return f"sent {receipt.type} of {time} UTC, {len(receipt.raw)} bytes: {facts}"


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}

"""`methrics publish`: sends the reports that are due, and prints each that was sent."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
import trio

from methrics.node.cli.catalog_file import load_catalog
from methrics.node.cli.lines import say
from methrics.node.cli.naming import listed, resolve_apps
from methrics.node.cli.options import APPS, CATALOGS, HOME, json_option, route_option
from methrics.node.cli.waiting import held, next_due, next_look, waiting_lines
from methrics.node.clock import Clock
from methrics.node.consent.answer import EVERY
from methrics.node.consent.ledger import read_answers
from methrics.node.mine.preview import look
from methrics.node.outbox.found import namespaces_here
from methrics.node.outbox.rows import Receipt
from methrics.node.paths import Paths, namespace_of, user_paths
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.entry import Entry, check_addresses, check_relays, entry_peers
from methrics.node.publish.listing import waiting_words
from methrics.node.publish.pass_words import clock_words, handed_words, postponed_words
from methrics.node.publish.permission import consent_of
from methrics.node.publish.publisher import OK, PublisherSettings, run_publisher
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import UNREACHABLE
from methrics.schema.errors import ConfigError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.limits import REPORT_MAX


@click.command()
@APPS
@CATALOGS
@click.option(
    "--relay",
    "relays",
    multiple=True,
    metavar="MULTIADDR",
    help="A relay to send reports to; repeatable. Default: METHRICS_RELAYS, then network.json.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MULTIADDR",
    help="For --route direct, a peer of the topic; repeatable. Default: METHRICS_PEERS.",
)
@route_option("direct: without a relay, so that peers see your address; only types that allow it.")
@click.option("--once", is_flag=True, help="Make one visit now, then end (for cron).")
@json_option("Print a JSON object for each report sent.")
@HOME
@click.pass_context
def publish(
    ctx: click.Context,
    apps: tuple[str, ...],
    catalogs: tuple[Path, ...],
    relays: tuple[str, ...],
    peers: tuple[str, ...],
    route: str,
    once: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Send the reports that are due, of every app or only of the chosen apps.

    Only reports that you agreed to are sent. They leave at visits, about three a day, at most 16 at
    each; their answers come at later visits. Without --once this goes on until Ctrl-C or SIGTERM.
    An app that publishes by itself does not need this command.
    """
    paths = user_paths(home)
    known = entry_peers(paths)
    settings = PublisherSettings(
        route=route,
        entry=Entry(
            relays=check_relays(relays) or known.relays,
            peers=check_addresses(peers) or known.peers,
        ),
        once=once,
        idle=float("inf"),
    )
    settings.check()
    chosen = _chosen(paths, apps, catalogs)
    code = trio.run(partial(_publish, paths, chosen, settings, as_json))
    if once:
        for namespace in chosen:
            _say_waiting(paths, namespace, route, as_json)
    ctx.exit(code)


def _chosen(paths: Paths, apps: tuple[str, ...], catalogs: tuple[Path, ...]) -> list[str]:
    """Returns the chosen apps. If none is chosen, all that have an outbox or that the person
    allows."""
    present = namespaces_here(paths)
    allowed = [
        name
        for name, answers in read_answers(paths.ledger).items()
        if name != EVERY and any(answer.on for answer in answers.values())
    ]
    known = sorted({*present, *allowed})
    if not known:
        raise ConfigError(
            "no-outbox",
            f"no app has recorded anything under {paths.data}",
            "allow one with `methrics consent`, or name another folder with --home",
        )
    named = [*resolve_apps(apps, known), *(_app_of(path) for path in catalogs)]
    if missing := [name for name in named if name not in known]:
        raise ConfigError(
            "no-outbox",
            f"nothing was ever recorded for {missing[0]}",
            f"recorded here: {listed(known)}",
        )
    return list(dict.fromkeys(named)) or known


def _say_waiting(paths: Paths, namespace: str, route: str, as_json: bool) -> None:
    """Prints what the app's publisher waits for, after its only pass."""
    clock = Clock()
    consent = consent_of(paths, namespace, route, clock)()
    found = look(paths, namespace, consent, route, clock)
    if found is None:
        if not as_json:
            say(f"{namespace}: nothing recorded yet")
        return
    if as_json:
        kept = [
            {"state": state, "type": name, "reason": reason, "count": times}
            for (state, name, reason), times in held(found)
        ]
        document = {
            "event": "waiting",
            "app": namespace,
            "next": next_due(found),
            "record": next_look(found),
            "held": kept,
        }
        say(json.dumps(document))
        return
    for line in waiting_lines(found, clock.now()):
        say(f"{namespace}: {line}")


def _app_of(path: Path) -> str:
    catalog = load_catalog(path)
    return namespace_of(catalog.label, catalog.short_key)


async def _publish(
    paths: Paths, chosen: list[str], settings: PublisherSettings, as_json: bool
) -> int:
    """Runs one publisher for each app, all at the same time. Returns the highest of their exit
    codes."""
    codes: list[int] = [OK]
    rng = random.SystemRandom()

    async def one(namespace: str) -> None:
        tell = partial(_say, namespace, settings.route, as_json)
        codes.append(
            await run_publisher(paths, namespace, settings, clock=Clock(), rng=rng, on_pass=tell)
        )

    async with trio.open_nursery() as listening:
        await on_stop_signal(listening, listening.cancel_scope.cancel)
        async with trio.open_nursery() as nursery:
            for namespace in chosen:
                nursery.start_soon(one, namespace)
        listening.cancel_scope.cancel()
    return max(codes)


def _say(namespace: str, route: str, as_json: bool, result: PassResult) -> None:
    for receipt in result.sent:
        say(json.dumps(_as_json(namespace, receipt)) if as_json else _in_words(receipt))
    summary = {
        "made": result.made,
        "acknowledged": result.acknowledged,
        "handed": result.handed,
        "postponed": dict(result.postponed),
        "struck": dict(result.struck),
        "erased": result.erased,
        "dropped": dict(result.dropped),
        "failed": str(result.failed) if result.failed else None,
        "clock": clock_words(result.clock_ahead) or None,
        "waiting": dict(result.waiting),
        "record": waiting_words(result.waiting) or result.note or None,
        "way": result.way or None,
    }
    if as_json:
        document = {"event": "pass", "app": namespace, **summary, "unusable": result.unusable}
        say(json.dumps(document))
        return
    del summary["waiting"]
    words = [_word(name, value) for name, value in summary.items() if value]
    say(f"{namespace}: {', '.join(words) or 'nothing is due'}")
    if sentence := handed_words(result.handed) or postponed_words(result):
        say(f"{namespace}: {sentence}")
    if not result.acknowledged and not result.handed:
        side = "peer" if route == "direct" else "relay"
        for addr, why in result.unusable.items():
            say(f"{namespace}: {side} {addr}: {why}")


def _word(name: str, value: object) -> str:
    if isinstance(value, dict):
        if [*value] == [UNREACHABLE]:  # the lines about the relays say more
            return f"{name} {value[UNREACHABLE]}"
        if len(value) == 1:
            return f"{name} {next(iter(value.values()))} ({next(iter(value))})"
        reasons = ", ".join(f"{n} {reason}" for reason, n in value.items())
        return f"{name} {sum(value.values())} ({reasons})"
    return str(value) if name in ("clock", "record", "way") else f"{name} {value}"


def _content(receipt: Receipt) -> dict[str, object]:
    """Returns the payload of a report, decoded as every receiver decodes it."""
    body = decode(split(receipt.raw).payload, limit=REPORT_MAX)
    return dict(body) if isinstance(body, dict) else {}


def _as_json(namespace: str, receipt: Receipt) -> dict[str, object]:
    content = _content(receipt)
    content.pop("catalog", None)
    return {
        "event": "sent",
        "app": namespace,
        "id": receipt.id.hex(),
        "bytes": len(receipt.raw),
        "report": content,
        "raw": receipt.raw.hex(),
    }


def _in_words(receipt: Receipt) -> str:
    content = _content(receipt)
    time = datetime.fromtimestamp(receipt.time, UTC).strftime("%Y-%m-%d %H:%M")
    values = {**_mapping(content.get("values"))} | {
        name: content[name] for name in ("count", "one_in", "sequence") if name in content
    }
    facts = " ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
    return f"sent {receipt.type} of {time} UTC, {len(receipt.raw)} bytes: {facts}"


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}

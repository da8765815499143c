"""`methrics preview`: shows the reports that would leave next; a person can strike them out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click

from methrics.node.cli.counted import counted
from methrics.node.cli.erase import on_a_terminal
from methrics.node.cli.naming import resolve_apps
from methrics.node.cli.options import APPS, HOME, json_option, route_option
from methrics.node.clock import Clock
from methrics.node.consent.decide import PRODUCTION, forbidden
from methrics.node.consent.ledger import policy_off
from methrics.node.consent.overview import why
from methrics.node.mine.mine import Mine
from methrics.node.mine.own import moment
from methrics.node.mine.preview import (
    PLANNED,
    SIGNED,
    UNDRAWN,
    Leaving,
    Preview,
    choose,
    look_all,
)
from methrics.node.mine.preview_text import lines
from methrics.node.mine.reports import set_aside
from methrics.node.outbox.found import namespaces_here
from methrics.node.paths import Paths, user_paths
from methrics.node.report.parts import parts_of
from methrics.schema.errors import ConfigError
from methrics.schema.wire.diagnostic import hexdump, readable
from methrics.schema.wire.envelope import split

SHOWN = 20
"""Most reports that are shown without --all, those that leave first."""


@click.command()
@APPS
@route_option("The reports that would leave by this route.")
@click.option(
    "--strike",
    "struck",
    multiple=True,
    metavar="N|ID",
    help="Strike out a report by its id, or by its number in this list; repeatable.",
)
@click.option("--all", "everything", is_flag=True, help=f"Show all, not only the first {SHOWN}.")
@click.option("--brief", is_flag=True, help="Plain words only, no CBOR and no hex.")
@json_option()
@HOME
def preview(
    apps: tuple[str, ...],
    route: str,
    struck: tuple[str, ...],
    everything: bool,
    brief: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Show the reports that would leave next, and when.

    Each report is shown in plain words, in CBOR diagnostic notation and in hex, as it would be
    sent. This changes nothing and opens no connection. On a terminal you are asked which reports to
    strike out; a report that you strike out never leaves.
    """
    paths, clock = user_paths(home), Clock()
    known = namespaces_here(paths)
    found = look_all(paths, resolve_apps(apps, known) or known, route, clock)
    for path in set_aside(paths):
        click.echo(f"methrics: {path} is damaged: the reports in it are not listed", err=True)
    entries = [one for app in found for one in app.leaving]
    if struck:
        for one in _chosen(entries, struck):
            _strike(paths, one)
        return
    shown = entries if everything else entries[:SHOWN]
    if as_json:
        click.echo(json.dumps(_document(paths, found, entries), indent=1))
        return
    for line in _lines(paths, found, shown, len(entries), brief):
        click.echo(line)
    if shown and on_a_terminal():
        words = click.prompt(
            "Strike out which? (numbers or ids, Enter for none)", default="", show_default=False
        )
        for one in _chosen(entries, tuple(words.replace(",", " ").split())):
            _strike(paths, one)


def _chosen(entries: list[Leaving], words: tuple[str, ...]) -> list[Leaving]:
    """Returns the entries that `words` name. Raises ConfigError if a word names no entry, before
    any entry is struck."""
    found: dict[tuple[str, str], Leaving] = {}
    for word in words:
        one = choose(entries, word)
        if one is None:
            raise ConfigError(
                "unknown-report", f"no report is called {word}", "`methrics preview` lists them"
            )
        found[one.namespace, one.id] = one
    return list(found.values())


def _strike(paths: Paths, one: Leaving) -> None:
    done = Mine(paths, (one.namespace,)).strike(one)
    name = f"{one.id} ({one.type} of {moment(one.time)} UTC)"
    click.echo(
        {
            "struck": f"struck out {name}: it never leaves",
            "tried": f"struck out {name}: not sent again, but sending was tried before, so it may "
            f"have left; `methrics erase {one.id}` asks for its erasure",
            "gone": f"{name} has changed meanwhile: run `methrics preview` again",
        }[done]
    )


def _lines(
    paths: Paths,
    found: list[Preview],
    shown: list[Leaving],
    total: int,
    brief: bool,
) -> Iterator[str]:
    rule = _rule(paths)
    if rule is not None:
        yield f"nothing leaves now: {why(rule, os.environ)}"
    if not total:
        yield "nothing waits to leave"
    for number, one in enumerate(shown, 1):
        yield ""
        first, *more = lines(one)
        yield f"{number}  {first}"
        yield from (f"   {line}" for line in more)
        if one.raw and not brief:
            yield ""
            yield readable(split(one.raw))
            yield ""
            yield hexdump(one.raw)
    if total > len(shown):
        yield ""
        yield f"and {total - len(shown)} more (--all)"
    for app in found:
        if app.erasures:
            yield ""
            yield (
                f"{app.namespace}: {counted(len(app.erasures), 'erasure')} waiting, the last until "
                f"{moment(app.erasures[-1])} UTC"
            )


def _rule(paths: Paths) -> str | None:
    return forbidden(policy_off=policy_off(paths.policy), env=os.environ, environment=PRODUCTION)


def _document(paths: Paths, found: list[Preview], entries: list[Leaving]) -> dict[str, object]:
    return {
        "overridden_by": _rule(paths),
        "leaving": [_as_json(number, one) for number, one in enumerate(entries, 1)],
        "erasures": {app.namespace: app.erasures for app in found if app.erasures},
    }


def _as_json(number: int, one: Leaving) -> dict[str, object]:
    document: dict[str, object] = {
        "number": number,
        "id": one.id,
        "app": one.namespace,
        "state": one.state,
        "reason": one.reason,
        "type": one.type,
        "time": one.time,
        "earliest": one.earliest,
        "attempts": one.attempts,
        "content_fixed": one.state in (SIGNED, PLANNED) and one.reason != UNDRAWN,
        "bytes_fixed": one.state == SIGNED,
    }
    if one.report is not None:
        document["values"] = parts_of(one.report)
    if one.raw:
        document["diagnostic"] = readable(split(one.raw))
        document["raw"] = one.raw.hex()
    return document

"""`methrics mine`: lists own reports, looks for them in public data, writes them to a file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from methrics.node.cli.group import CommandGroup
from methrics.node.cli.naming import resolve_apps
from methrics.node.cli.options import APPS, HOME, json_option
from methrics.node.cli.tables import Row, print_table
from methrics.node.clock import Clock
from methrics.node.mine.mine import Mine
from methrics.node.mine.own import OwnReport, moment
from methrics.node.mine.own_file import write_own
from methrics.node.mine.reports import FORMATS, ID_DIGITS, form_of, to_jsonl, to_rows
from methrics.node.outbox.found import namespaces_here
from methrics.node.outbox.rows import ACKNOWLEDGED
from methrics.node.paths import user_paths
from methrics.schema.errors import ConfigError

PATIENCE = 3 * 86_400
"""Seconds after which a report should be in public data. It rests in a relay for up to a day."""

HEAD = ("id", "app", "number", "type", "made", "state", "values")

_NO = 1


@click.group(cls=CommandGroup, invoke_without_command=True)
@APPS
@click.option(
    "--check",
    "source",
    metavar="FILE|DIR|URL",
    help="Look for your reports in an aggregator's data: its file, its Parquet, or their address.",
)
@json_option()
@HOME
@click.pass_context
def mine(
    ctx: click.Context,
    apps: tuple[str, ...],
    source: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """List your own reports: when each left, by which route, and what became of it.

    With --check, the whole data set is read or fetched and compared on this machine, so that its
    owner does not learn which reports are yours. A report rests in a relay for up to a day. Exit
    code 1 if a report that left three days ago or earlier is missing.
    """
    if ctx.invoked_subcommand is not None:
        if apps or source or as_json or home:
            raise click.UsageError("give options after the name of the subcommand")
        return
    paths = user_paths(home)
    own = Mine(paths, resolve_apps(apps, namespaces_here(paths)) or None)
    found = own.reports()
    for path in own.damaged():
        click.echo(f"methrics: {path} is damaged: the reports in it are not listed", err=True)
    if source is None:
        _list(found, as_json)
        return
    ctx.exit(_check(found, source, as_json))


def _list(found: list[OwnReport], as_json: bool) -> None:
    if as_json:
        click.echo(to_jsonl(found), nl=False)
        return
    if not found:
        click.echo("no report was made here yet (`methrics preview` shows what waits)")
        return
    print_table(HEAD, [_row(one, one.fate) for one in found])


def _row(one: OwnReport, state: str) -> Row:
    made = f"{moment(one.receipt.made)} UTC"
    report = (one.id.hex()[:ID_DIGITS], one.namespace, one.number, one.receipt.type)
    return (*report, made, state, one.words)


def _check(found: list[OwnReport], source: str, as_json: bool) -> int:
    from methrics.aggregate.mine.find import MISSING, Wanted, check

    left = [one for one in found if one.may_have_left]
    checked = check(source, [Wanted(one.id, one.receipt.time) for one in left])
    states = {one.id: checked.of[one.id] for one in left}
    old = Clock().now() - PATIENCE
    missing = any(
        states[one.id] == MISSING
        and one.erasure is None
        and one.receipt.state == ACKNOWLEDGED
        and one.receipt.made < old
        for one in left
    )
    if as_json:
        for one in left:
            record = {"id": one.id.hex(), "app": one.namespace, "type": one.receipt.type}
            click.echo(json.dumps({**record, "state": states[one.id], "fate": one.fate}))
        return _NO if missing else 0
    if left:
        print_table(HEAD, [_row(one, _state(states[one.id], one)) for one in left])
    counts = Counter(states.values())
    summary = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none of yours"
    click.echo(f"{summary}; {checked.total:,} reports compared on this machine")
    return _NO if missing else 0


def _state(state: str, one: OwnReport) -> str:
    """Return the state in public data; if the report is there, also the state of its erasure."""
    from methrics.aggregate.mine.find import FOUND

    return f"{state}, {one.fate}" if state == FOUND and one.erasure is not None else state


@mine.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: by the ending of OUT, else jsonl.",
)
@APPS
@HOME
def export(out: Path, form: str | None, apps: tuple[str, ...], home: Path | None) -> None:
    """Write all your own reports to a file.

    OUT is its name, or - for standard output. It holds the values, receipts and exact bytes of your
    reports, but no key: it cannot erase them. Anyone who has the file knows which reports are
    yours, so it is made readable for you alone.
    """
    form = form or form_of(out)
    paths = user_paths(home)
    own = Mine(paths, resolve_apps(apps, namespaces_here(paths)) or None)
    if form == "parquet":
        if str(out) == "-":
            raise ConfigError("no-stream", "Parquet goes to a file", "name one, or another format")
        from methrics.aggregate.mine.parquet_file import write_parquet

        found = own.reports()
        write_own(out, b"")
        write_parquet(out, *to_rows(found))
        count = len(found)
    elif str(out) == "-":
        click.echo(own.export(form), nl=False)
        return
    else:
        count = own.save(out, form)
    click.echo(f"{count} reports written to {out}", err=True)

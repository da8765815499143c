"""`methrics threshold`: how many others must report the same before a report of yours may leave."""

from __future__ import annotations

import json
from pathlib import Path

import click

from methrics.aggregate.cli.public_data import open_public
from methrics.node.cli.group import CommandGroup
from methrics.node.cli.naming import resolve_apps
from methrics.node.cli.options import APPS, HOME, json_option
from methrics.node.clock import Clock
from methrics.node.mine.own import moment
from methrics.node.mine.trail.gather import gather
from methrics.node.outbox.found import namespaces_here
from methrics.node.paths import Paths, user_paths
from methrics.node.report.threshold.keeping import (
    public_path,
    read_public,
    read_threshold,
    settings_path,
    write_public,
    write_threshold,
)

MOST = 1_000_000
"""The maximum threshold: no app has more reports with the same values."""

REMEMBER = "methrics threshold remember FILE"


@click.group(cls=CommandGroup, invoke_without_command=True)
@json_option()
@HOME
@click.pass_context
def threshold(ctx: click.Context, as_json: bool, home: Path | None) -> None:
    """Withhold reports that too few others share. Off unless you set it.

    Without a command: shows the threshold, and the public data that reports are compared with. A
    report leaves only if at least so many other reports have exactly the same values. The
    comparison is made on this machine, against a summary that `remember` keeps.
    """
    ctx.obj = home
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("give --json after the name of the subcommand")
        return
    _show(user_paths(home), as_json)


@threshold.command(name="show")
@json_option()
@HOME
@click.pass_obj
def show_command(outer: Path | None, as_json: bool, home: Path | None) -> None:
    """Do the same as `methrics threshold` alone."""
    _show(user_paths(home or outer), as_json)


@threshold.command(name="set")
@click.argument("others", type=click.IntRange(1, MOST))
@HOME
@click.pass_obj
def set_command(outer: Path | None, others: int, home: Path | None) -> None:
    """Send a report only if OTHERS other reports have the same values."""
    paths = user_paths(home or outer)
    write_threshold(paths, others)
    click.echo(f"threshold {others}, kept in {settings_path(paths)}")
    if not any(read_public(paths, name) for name in namespaces_here(paths)):
        click.echo(f"every report is withheld until you run: {REMEMBER}")


@threshold.command()
@HOME
@click.pass_obj
def off(outer: Path | None, home: Path | None) -> None:
    """Send every report that you agreed to.

    It no longer matters how few others share it.
    """
    write_threshold(user_paths(home or outer), 0)
    click.echo("threshold off: every report that you agreed to is sent")


@threshold.command()
@click.argument("data", metavar="FILE|URL|DIR")
@APPS
@HOME
@click.pass_obj
def remember(outer: Path | None, data: str, apps: tuple[str, ...], home: Path | None) -> None:
    """Learn from public data which reports are common.

    FILE|URL|DIR is an aggregator's file, its Parquet, or the address of either. A summary of it is
    kept on this machine and compared with each report before it is sent. Run this again now and
    then, because the summary stays as old as the data it came from.
    """
    paths, clock = user_paths(home or outer), Clock()
    gathered = gather(paths, clock, resolve_apps(apps, namespaces_here(paths)))
    if not gathered.catalogs:
        click.echo("no app has recorded anything here: there is nothing to compare yet")
        return
    with open_public(data, gathered) as others:
        for name, catalogs in gathered.catalogs.items():
            write_public(paths, others.remember(name, catalogs, data, clock.now()))
            click.echo(f"{name}: summary kept in {public_path(paths, name)}")


def _show(paths: Paths, as_json: bool) -> None:
    others = read_threshold(paths)
    public = {name: read_public(paths, name) for name in namespaces_here(paths)}
    known = {name: one for name, one in public.items() if one is not None}
    if as_json:
        compared = {name: {"source": one.source, "made": one.made} for name, one in known.items()}
        click.echo(json.dumps({"threshold": others, "compared_with": compared}, indent=1))
        return
    if others:
        click.echo(
            f"threshold {others}: a report leaves only if so many others have the same values"
        )
    else:
        click.echo("threshold off: every report that you agreed to is sent")
    for name, one in known.items():
        click.echo(f"{name}: compared with {one.source} as of {moment(one.made)} UTC")
    unknown = [name for name in public if name not in known]
    if others and unknown:
        click.echo(f"every report is withheld, for lack of public data: {', '.join(unknown)}")
        click.echo(f"to learn it: {REMEMBER}")

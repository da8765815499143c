"""`methrics trail`: shows what own reports reveal, how many others share it, what links them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from methrics.aggregate.cli.public_data import open_public
from methrics.node.cli.naming import resolve_apps
from methrics.node.cli.options import APPS, FILE, HOME, json_option
from methrics.node.clock import Clock
from methrics.node.mine.own_file import write_own
from methrics.node.mine.trail.gather import Gathered, gather
from methrics.node.mine.trail.picture import page
from methrics.node.mine.trail.text import lines
from methrics.node.mine.trail.traces import Trace, read_traces
from methrics.node.mine.trail.whole import Trail, to_json, trace
from methrics.node.outbox.found import namespaces_here
from methrics.node.paths import Paths, user_paths
from methrics.node.report.threshold.keeping import read_public, read_threshold
from methrics.schema.errors import ConfigError


@click.command()
@click.option(
    "--data",
    metavar="FILE|URL|DIR",
    help="Public data to compare with: an aggregator's file, its address, or its Parquet.",
)
@click.option(
    "--traces", type=FILE, help="A CSV file of other public traces, with columns time and label."
)
@click.option("--html", type=FILE, help="Also write a picture that opens in any browser.")
@APPS
@json_option()
@HOME
def trail(
    data: str | None,
    traces: Path | None,
    html: Path | None,
    apps: tuple[str, ...],
    as_json: bool,
    home: Path | None,
) -> None:
    """Show what your reports reveal about you, and which could be linked.

    With --data, counts on this machine how many other people report the same, and which of your
    reports could be linked to one another; no question about you leaves this machine. With
    --traces, lists the reports that lie close in time to other public traces of yours. To withhold
    reports that too few others share, see `methrics threshold`.
    """
    paths, clock = user_paths(home), Clock()
    chosen = resolve_apps(apps, namespaces_here(paths))
    beside = None if traces is None else _read_traces(traces)
    found = _measured(paths, gather(paths, clock, chosen), data, beside)
    if html is not None:
        write_own(html, page(found, made=clock.now()).encode())
        click.echo(f"picture written to {html}", err=True)
    if as_json:
        click.echo(json.dumps(to_json(found), indent=1))
        return
    for line in lines(found):
        click.echo(line)


def _measured(
    paths: Paths, gathered: Gathered, data: str | None, traces: list[Trace] | None
) -> Trail:
    threshold, remembered = read_threshold(paths), _remembered(paths, gathered)
    if data is None:
        return trace(gathered, None, traces, threshold=threshold, remembered=remembered)
    with open_public(data, gathered) as others:
        return trace(
            gathered, others, traces, source=data, threshold=threshold, remembered=remembered
        )


def _remembered(paths: Paths, gathered: Gathered) -> dict[str, tuple[str, int]]:
    found = {name: read_public(paths, name) for name in gathered.catalogs}
    return {name: (one.source, one.made) for name, one in found.items() if one is not None}


def _read_traces(path: Path) -> list[Trace]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            "traces", f"cannot read {path}: {error.strerror}", "give a CSV file"
        ) from error
    return read_traces(data)

"""`methrics trail`: what one's own reports say, who else says it, and what links them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from methrics.aggregate.mine.own_file import write_own
from methrics.node.clock import Clock
from methrics.node.mine.trail.gather import Gathered, gather
from methrics.node.mine.trail.picture import page
from methrics.node.mine.trail.text import lines
from methrics.node.mine.trail.traces import Trace, read_traces
from methrics.node.mine.trail.whole import Trail, to_json, trace
from methrics.node.paths import Paths, user_paths
from methrics.node.report.threshold.keeping import (
    public_path,
    read_public,
    read_threshold,
    settings_path,
    write_public,
    write_threshold,
)
from methrics.schema.errors import ConfigError


@click.command()
@click.option(
    "--data",
    metavar="FILE|URL|DIR",
    help="Public data to compare with: an aggregator's file, its address, or its Parquet.",
)
@click.option(
    "--traces",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A CSV file of other public traces, with columns time and label.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a picture that opens in any browser.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--app", "apps", multiple=True, help="Only this namespace; repeat for several.")
@click.option(
    "--threshold",
    type=click.IntRange(0, 1_000_000),
    help="From now on send only what so many others say as well; 0 sends everything.",
)
@click.option(
    "--remember", is_flag=True, help="Keep what --data says of others, to compare before sending."
)
@click.option("--home", type=click.Path(path_type=Path), help="Instead of METHRICS_HOME.")
def trail(
    data: str | None,
    traces: Path | None,
    html: Path | None,
    as_json: bool,
    apps: tuple[str, ...],
    threshold: int | None,
    remember: bool,
    home: Path | None,
) -> None:
    """See what trails your reports leave, and set what is never to be sent.

    Lists your own reports and what they said. With --data, counts on this machine how many other
    people say the same, and which of your reports could be joined with one another; nobody is asked
    about you. With --traces, shows which reports stand close in time to other things that are
    public about you.
    """
    if remember and data is None:
        raise click.UsageError("--remember needs --data")
    paths = user_paths(home)
    if threshold is not None:
        write_threshold(paths, threshold)
        click.echo(f"threshold {threshold}, kept in {settings_path(paths)}", err=True)
    beside = None if traces is None else _read_traces(traces)
    clock = Clock()
    gathered = gather(paths, clock, apps)
    _check_apps(gathered, apps)
    found = _measured(paths, clock, gathered, apps, data, beside, remember)
    if html is not None:
        write_own(html, page(found, made=clock.now()).encode())
        click.echo(f"picture written to {html}", err=True)
    if as_json:
        click.echo(json.dumps(to_json(found), indent=1))
        return
    for line in lines(found):
        click.echo(line)


def _measured(
    paths: Paths,
    clock: Clock,
    gathered: Gathered,
    apps: tuple[str, ...],
    data: str | None,
    traces: list[Trace] | None,
    remember: bool,
) -> Trail:
    threshold = read_threshold(paths)
    if data is None:
        remembered = _remembered(paths, gathered)
        return trace(gathered, None, traces, threshold=threshold, remembered=remembered)
    from methrics.aggregate.mine.crowd import PublicReports
    from methrics.aggregate.parquet.download import local_copy
    from methrics.aggregate.read.dataset import open_dataset

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="methrics-")))
        path = local_copy(data, folder)
        dataset = stack.enter_context(open_dataset(path))
        if dataset.path != path:
            click.echo(f"{data} is in use: reading its Parquet of {dataset.written}", err=True)
        others = PublicReports(dataset, gathered.catalogs, gathered.own)
        if remember:
            for namespace, catalogs in gathered.catalogs.items():
                public = others.remember(namespace, catalogs, data, clock.now())
                write_public(paths, public)
                kept = public_path(paths, namespace)
                click.echo(f"{namespace}: what others say is kept in {kept}", err=True)
            gathered = gather(paths, clock, apps)  # what is held depends on what is remembered
        return trace(
            gathered,
            others,
            traces,
            source=data,
            threshold=threshold,
            remembered=_remembered(paths, gathered),
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


def _check_apps(gathered: Gathered, apps: tuple[str, ...]) -> None:
    unknown = sorted(set(apps) - set(gathered.catalogs))
    if unknown:
        raise ConfigError(
            "unknown-namespace",
            f"nothing was recorded here under the name {', '.join(unknown)}",
            "`methrics trail` without --app lists the names",
        )

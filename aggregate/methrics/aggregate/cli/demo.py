"""`methrics demo`: runs the whole path from apps to tables on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from methrics.aggregate.cli.demo_tables import show
from methrics.aggregate.demo.job import run_job
from methrics.node.clock import Clock


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-data"),
    show_default=True,
    help="Folder of data, keys and logs; cleared when a demo starts.",
)
@click.option(
    "--apps", type=click.IntRange(1, 500), default=20, show_default=True, help="How many apps."
)
@click.option(
    "--days", type=click.IntRange(1, 14), default=3, show_default=True, help="How many days of use."
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of tables.")
def demo(folder: Path, apps: int, days: int, as_json: bool) -> None:
    """Run two aggregators, an entry, an exit and many small apps on this machine.

    Each is a process of its own. Each app embeds the node, has consent, simulates some days of use,
    and hands sealed boxes to the entry over HTTP; relays and aggregators speak libp2p. At the end
    every report is read back from the DuckDB file and verified.
    """
    clock = Clock()
    started = clock.monotonic()

    def say(text: str) -> None:
        if not as_json:
            click.echo(f"demo: {text}")

    logs = folder / "logs"
    say(f"two aggregators, an entry, an exit and {apps} apps, {days} days each; logs in {logs}")
    # Without a terminal the bar would print its label alone.
    hidden = as_json or not sys.stdout.isatty()
    with click.progressbar(length=apps, label="demo: apps", hidden=hidden) as bar:
        ran = run_job(
            folder,
            apps=apps,
            days=days,
            clock=clock,
            say=say,
            tick=lambda _done, _all: bar.update(1),
        )
    took = round(clock.monotonic() - started, 1)
    if as_json:
        stores = [str(store) for store in ran.stores]
        click.echo(json.dumps({"sent": ran.sent, "stores": stores, "seconds": took}))
        return
    show(ran)
    click.echo(f"demo: {ran.processes} processes, {ran.sent} reports, {took} s")

"""Takes a data set into a file with a progress bar, and says what was taken and refused."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click

from methrics.aggregate.cli.bar import progress_bar
from methrics.aggregate.read.dataset import open_files
from methrics.aggregate.restore.restore import Restored, restore
from methrics.aggregate.store.store import Store
from methrics.node.cli.counted import counted
from methrics.node.clock import Clock


def check_local(sources: Iterable[str]) -> None:
    """Raise StoreError if one of `sources` is on this machine and cannot be opened: a command that
    cannot work must not create a file."""
    for source in sources:
        if "://" not in source:
            open_files(source, partial=True).close()


def take(source: str, store: Store, *, as_json: bool) -> Restored:
    """Take the data set `source`, a file, directory or address, into `store`, and print the counts.

    Raises StoreError.
    """
    with open_files(source, partial=True) as dataset:
        if as_json:
            found = restore(dataset, store, Clock().now)
        else:
            with progress_bar("checking") as tell:
                found = restore(dataset, store, Clock().now, tell)
    (_print_json if as_json else _print_words)(source, found)
    return found


def _print_json(source: str, found: Restored) -> None:
    counts = {name: getattr(found, name) for name in found.__slots__}
    click.echo(json.dumps({"event": "restored", "from": source, **counts}))


def _print_words(source: str, found: Restored) -> None:
    click.echo(
        f"from {source}: {counted(found.reports, 'new report')}, "
        f"{counted(found.erasures, 'erasure')}, {counted(found.catalogs, 'catalog')}, "
        f"{counted(found.records, 'record')}, {counted(found.notices, 'notice')}; "
        f"{counted(found.known, 'item')} known already"
    )
    if found.erased or found.revoked:
        click.echo(f"kept out: {found.erased:,} erased, {found.revoked:,} revoked")
    for reason, count in sorted(found.refused.items()):
        click.echo(f"refused as {reason}: {count:,}")
    for what in found.unreadable:
        click.echo(f"not readable: {what}", err=True)

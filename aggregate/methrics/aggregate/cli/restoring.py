"""Takes a data set into a file with a progress bar, and says what was taken and refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import click

from methrics.aggregate.cli.bar import progress_bar
from methrics.aggregate.read.dataset import open_files
from methrics.aggregate.restore.restore import Restored, restore
from methrics.aggregate.store.store import Store
from methrics.node.cli.counted import counted
from methrics.node.cli.log import Log
from methrics.node.clock import Clock


def check_local(sources: Iterable[str]) -> None:
    """Raise StoreError if one of `sources` is on this machine and cannot be opened: a command that
    cannot work must not create a file."""
    for source in sources:
        if "://" not in source:
            open_files(source, partial=True).close()


def take(source: str, store: Store, *, as_json: bool, log: Log | None = None) -> Restored:
    """Take the data set `source`, a file, directory or address, into `store`, and print the counts:
    on `log`, if the program has one.

    Raises StoreError.
    """
    with open_files(source, partial=True) as dataset:
        if as_json:
            found = restore(dataset, store, Clock().now)
        else:
            with progress_bar("checking") as tell:
                found = restore(dataset, store, Clock().now, tell)
    if as_json:
        facts = {"from": source} | {name: getattr(found, name) for name in found.__slots__}
        if log is not None:
            log.event("restored", **facts)
        else:
            click.echo(json.dumps({"event": "restored"} | facts))
        return found
    say = click.echo if log is None else log.text
    for line in _words(source, found):
        say(line)
    for what in found.unreadable:
        if log is not None:
            log.text(f"not readable: {what}")
        else:
            click.echo(f"not readable: {what}", err=True)
    return found


def _words(source: str, found: Restored) -> Iterator[str]:
    yield (
        f"from {source}: {counted(found.reports, 'new report')}, "
        f"{counted(found.erasures, 'erasure')}, {counted(found.catalogs, 'catalog')}, "
        f"{counted(found.records, 'record')}, {counted(found.announcements, 'announcement')}; "
        f"{counted(found.known, 'item')} known already"
    )
    if found.erased or found.revoked:
        yield f"kept out: {found.erased:,} erased, {found.revoked:,} revoked"
    for reason, count in sorted(found.refused.items()):
        yield f"refused as {reason}: {count:,}"

"""Takes a data set into a file with a progress bar, and says what was taken and refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from methrics.aggregate.cli.bar import progress_bar
from methrics.aggregate.cli.source import opened_files
from methrics.aggregate.parquet.download import is_address
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.restore.restore import SIGNED, Restored, restore
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.node.cli.counted import counted
from methrics.node.cli.log import Log
from methrics.node.clock import Clock
from methrics.schema.errors import ConfigError


def check_others(sources: Iterable[str], file: Path) -> None:
    """Raise ConfigError `same-file` if one of `sources` is `file` itself, or if there is no such
    file and one is the directory that a new one would have: it could never write there."""
    directory = directory_beside(file)
    for source in sources:
        if is_address(source):
            continue
        if _same(file, source):
            raise ConfigError(
                "same-file", f"{source} and {file} are the same file", "name a new FILE"
            )
        if not file.exists() and _same(directory, source):
            raise ConfigError(
                "same-file",
                f"{source} is where a new {file} would have its Parquet",
                "rename the directory, and name it by --from",
            )


def _same(path: Path, other: str) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


@contextmanager
def opened_sources(
    sources: Iterable[str], *, partial: bool = True
) -> Iterator[list[tuple[str, Dataset]]]:
    """Open the data sets that are to be taken into a file. A command that cannot work must not
    create one, so this comes first. `partial`: a lake may lack shards.

    Raises what `open_files` raises.
    """
    with ExitStack() as stack:
        yield [
            (one, stack.enter_context(opened_files(one, "taking", salvage=True, partial=partial)))
            for one in sources
        ]


def take(
    source: str,
    dataset: Dataset,
    store: Store,
    *,
    as_json: bool,
    log: Log | None = None,
    own: bytes | None = None,
) -> Restored:
    """Take the data set `source`, a file, directory or address, into `store`, and print the counts:
    on `log`, if the program has one. `own` is the aggregator's public key, if it has one.

    Raises StoreError.
    """
    dataset.bring(*SIGNED)  # an address shows its own progress
    if as_json:
        found = restore(dataset, store, Clock().now, own=own)
    else:
        with progress_bar("checking") as tell:
            found = restore(dataset, store, Clock().now, tell, own)
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

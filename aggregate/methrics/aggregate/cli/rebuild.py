"""`methrics rebuild`: derives every table anew from the signed bytes of a data set."""

from __future__ import annotations

from pathlib import Path

import click

from methrics.aggregate.cli.restoring import check_others, opened_sources, take
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.restore.restore import Restored
from methrics.aggregate.store.digest import NamespaceDigest, combine, digests
from methrics.aggregate.store.duck import translated_errors
from methrics.aggregate.store.store import Store
from methrics.node.cli.options import FILE, json_option
from methrics.schema.errors import StoreError


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("file", type=FILE)
@json_option("Print the counts as a JSON object.")
@click.pass_context
def rebuild(ctx: click.Context, source: str, file: Path, as_json: bool) -> None:
    """Write the reports of SOURCE into a new FILE, each derived from its signed bytes again.

    SOURCE is a DuckDB file of `methrics aggregate`, a directory of its Parquet, or the address of a
    published one. Every signature is verified. The digests of both are printed; exit code 1 if they
    differ. If it was interrupted, the same command continues. To go on collecting into a file, use
    `methrics aggregate FILE --from SOURCE`.
    """
    check_others([source], file)
    with opened_sources([source], partial=False) as [(_, dataset)]:
        with Store(file) as store:
            found = take(source, dataset, store, as_json=as_json)
            new = combine(store.day_digests())
        old = _digests(dataset, found)
    if not as_json:
        _print("SOURCE", old)
        _print("FILE", new)
    if found.unreadable or [(one.key, one.digest) for one in old] != [
        (one.key, one.digest) for one in new
    ]:
        click.echo("the digests differ" if not found.unreadable else "not all was read", err=True)
        ctx.exit(1)


def _digests(dataset: Dataset, found: Restored) -> list[NamespaceDigest]:
    """Return the digests of the source; none if it cannot be read, which has been told."""
    try:
        with translated_errors(dataset.path):
            return combine(digests(dataset.connection))
    except StoreError:
        if not found.unreadable:
            raise
        return []


def _print(whose: str, found: list[NamespaceDigest]) -> None:
    for one in found:
        click.echo(f"{whose} {one.schema} {one.digest.hex()} over {one.count} reports")

"""Finds the live endpoint that a command means by a file or an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from methrics.aggregate.parquet.download import is_address, parts_of
from methrics.aggregate.read.live import live_beside, live_status
from methrics.aggregate.read.live_file import writer_of
from methrics.schema.errors import StoreError


def live_endpoint(source: str) -> tuple[str, dict[str, Any]]:
    """Return address and status of the live endpoint at the address `source`, or of the aggregator
    that writes the file `source`.

    Raises StoreError `live-none`, `live-refused` and `store-missing`, UnreachableError
    `live-unreachable`, and ConfigError `address`.
    """
    if is_address(source):
        parts_of(source)
        address = source.rstrip("/")
        status = live_status(address)
        if status is None:
            raise StoreError(
                "live-none", f"no aggregator answers at {source}", "give that of its --http"
            )
        return address, status
    path = Path(source)
    found = live_beside(path)
    if found is None:
        raise _none_beside(path)
    if found[1].get("file") != path.name:
        click.echo(
            f"another program has {path} open: this is about {found[1].get('file')}, which has "
            "what came since",
            err=True,
        )
    return found


def _none_beside(path: Path) -> StoreError:
    """Return the error for a file that has no live endpoint: it says why, and what to do."""
    if not path.exists():
        return StoreError("store-missing", f"there is no file {path}")
    if writer_of(path) is None:
        return StoreError(
            "live-none",
            f"no aggregator writes {path} now",
            f"start one: methrics aggregate {path} --http 127.0.0.1:8417",
        )
    return StoreError(
        "live-none",
        f"the aggregator that writes {path} was started without --http",
        "start it again with --http 127.0.0.1:8417",
    )

"""Finds the live endpoint that a command means by a file or an address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from methrics.aggregate.parquet.download import is_address
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.read.live import LiveDataset, live_beside, live_status
from methrics.schema.errors import ConfigError, StoreError

Data = Dataset | LiveDataset
"""What a question can be asked of."""


def live_address(source: str, *, asked: bool) -> str | None:
    """Return the address of the live endpoint that `source` means; None if it means files.

    An address with a path is taken for files without asking there. `asked`: nothing but a live
    endpoint will do. Raises StoreError `live-none`, UnreachableError `live-unreachable`, and
    ConfigError `address`.
    """
    if is_address(source):
        try:
            parts = urlsplit(source)
        except ValueError:  # such as http://[
            raise ConfigError("address", f"{source} is no address") from None
        bare = parts.scheme in ("http", "https") and parts.path in ("", "/") and not parts.query
        if bare and live_status(source.rstrip("/")) is not None:
            return source.rstrip("/")
    elif asked:
        found = live_beside(Path(source))
        if found is not None:
            return found[0]
    if asked:
        raise none_at(source)
    return None


def none_at(source: str) -> StoreError:
    """Return the error for a source without a live endpoint."""
    return StoreError(
        "live-none",
        f"{source} has no live endpoint",
        "run `methrics aggregate FILE` with --http 127.0.0.1:8417",
    )

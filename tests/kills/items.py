"""The items of the harness. Each follows from its kind, number and time, so jobs can name it."""

from __future__ import annotations

from collections.abc import Iterable

import aggregate_making as making

from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import split

DAY = making.DAY
NOW = making.NOW
RETENTION = 90
"""Days for which the reports are kept."""

CATALOG = making.catalog(replace=("retention_days = 365", f"retention_days = {RETENTION}"))

Spec = tuple[int, int]
"""A report: its number and its time (Unix seconds)."""


def report(spec: Spec) -> bytes:
    """The exact bytes of a report."""
    return making.beat(CATALOG, *spec)


def erasure(spec: Spec) -> bytes:
    """The exact bytes of the erasure of a report."""
    return making.erasure(CATALOG, report(spec), "beat", *spec)


def id_of(raw: bytes) -> str:
    """The id of an item, as text."""
    return split(raw).id.hex()


def book() -> CatalogBook:
    """A book that knows the catalog and its record."""
    return making.book(CATALOG, expires=NOW + 390 * DAY)


def batch(raws: Iterable[bytes], of: CatalogBook, now: int) -> making.Batch:
    """A batch of accepted items, behind the catalog and its record."""
    return making.batch([CATALOG.raw, *raws], of, now)

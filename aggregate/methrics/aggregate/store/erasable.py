"""Refuses erasures of days of which no report can be stored, so that invented ones take no space.

Any key can sign an erasure of a report that never was. A report counts only under a catalog that a
namespace record has listed, so nothing is to be erased before the first listing of the catalog. Nor
is there anything when all reports of the day are over by their retention.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from methrics.aggregate.store.retention import first_kept, longest
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.items import Erasure
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Reason


class _Catalogs(Protocol):
    def get(self, catalog_id: bytes, /) -> Catalog | None: ...


class _Listings(Protocol):
    def first_listed(self, key: bytes, catalog_id: bytes, /) -> int | None: ...


def erasable(
    erasures: Iterable[tuple[Item, Erasure]],
    catalogs: _Catalogs,
    listings: _Listings,
    now: int,
    refused: dict[Reason, tuple[int, bytes]],
) -> list[tuple[Item, Erasure]]:
    """Return the erasures of days up to tomorrow on which their catalog may have been listed, and
    of which reports may still be kept.

    Counts the others in `refused`, as `early`, `unlisted` or `retention`. If no record is known
    that lists the catalog, its erasures count as listed from the beginning.
    """
    kept: list[tuple[Item, Erasure]] = []
    first: dict[bytes, tuple[int, int]] = {}
    for item, erasure in erasures:
        if erasure.catalog not in first:
            catalog = catalogs.get(erasure.catalog)
            oldest = first_kept(longest(catalog), now) if catalog else 0
            first[erasure.catalog] = _first_day(catalog, listings), oldest
        listed, oldest = first[erasure.catalog]
        if max(listed, oldest) <= erasure.day <= now // DAY + 1:
            kept.append((item, erasure))
            continue
        reason = Reason.UNLISTED if erasure.day < listed else Reason.EARLY
        reason = Reason.RETENTION if listed <= erasure.day < oldest else reason
        count, sample = refused.get(reason, (0, item.raw))
        refused[reason] = count + 1, sample
    return kept


def _first_day(catalog: Catalog | None, listings: _Listings) -> int:
    """Return the first day (since 1970-01-01) that a report of the catalog can have."""
    listed = None if catalog is None else listings.first_listed(catalog.key, catalog.id)
    if catalog is None or listed is None:
        return 0
    longest = max(one.resolution for one in catalog.types.values())
    return max(0, listed - longest) // DAY

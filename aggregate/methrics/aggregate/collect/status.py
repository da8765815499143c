"""The state of a running aggregator that its operator should know of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from methrics.node.relay.clock_watch import Skew
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.topic import parse_topic


@dataclass(frozen=True, slots=True)
class NamespaceStatus:
    """The newest record of a topic's namespace. Without a record nothing of it is stored."""

    topic: str
    time: int | None = None
    """When the record was signed (Unix seconds); None if no record is known."""
    expires: int | None = None
    """No report from this time on counts (Unix seconds), unless there is a newer record."""
    expired: bool = False
    live: int = 0
    """Number of catalogs that it lists now."""
    revoked: int = 0
    """Number of event types that it revokes."""
    equivocation: bool = False
    """Whether two records prove that the namespace key was used twice."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an aggregator at one moment."""

    namespaces: tuple[NamespaceStatus, ...] = ()
    waiting: int = 0
    """Bundles that wait for a catalog or a record, now."""
    waiting_dropped: int = 0
    """Bundles that waited, and were dropped and forgotten, since the start."""
    skew: Skew | None = None
    """By how much this machine's clock is probably wrong; None if it seems right."""

    def differs(self, before: Status | None) -> bool:
        """Tell whether this says anything new, apart from the number of waiting bundles."""
        if before is None:
            return True
        same = replace(before, waiting=self.waiting)
        return self != same or bool(self.waiting) != bool(before.waiting)


def namespaces_of(
    book: CatalogBook, topics: Iterable[str], now: int
) -> tuple[NamespaceStatus, ...]:
    """Return the state of each topic's namespace at `now` (Unix seconds)."""
    found = []
    for topic in sorted(topics):
        known = book.records.newest_of(parse_topic(topic)[1])
        if not known:
            found.append(NamespaceStatus(topic))
            continue
        item, record = max(known, key=lambda one: one.rank)
        live = [
            one
            for one in record.catalogs
            if one.listed <= now and (one.delisted is None or now < one.delisted)
        ]
        found.append(
            NamespaceStatus(
                topic,
                record.time,
                record.expires,
                record.expires <= now,
                len(live),
                len(record.revoked),
                book.records.proof(item.key) is not None,
            )
        )
    return tuple(found)

"""The input and the result of one commit, and items sorted by kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from methrics.aggregate.store.quarantine import Waiting
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.judge import Accepted
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.items import Announcement, Erasure, Report, Revocation
from methrics.schema.wire.verdict import Reason


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one commit. `now` is the time of receipt, unix seconds."""

    now: int
    accepted: Sequence[Accepted] = ()
    waiting: Sequence[Waiting] = ()
    """Items whose catalog is unknown."""
    refused: Mapping[Reason, tuple[int, bytes]] = field(default_factory=dict)
    """reason -> (how many, one of them)"""
    released: Sequence[int] = ()
    """Quarantine numbers of items that this batch judges again; they leave the quarantine."""


@dataclass(slots=True)
class Committed:
    """The result of one commit. Everything it counts is durable when the caller gets it."""

    reports: int = 0
    duplicates: int = 0
    erased: int = 0
    """Reports that an erasure deleted, or that were not stored because of one."""
    erasures: int = 0
    revoked: int = 0
    """Reports that a revocation deleted."""
    notices: int = 0
    """Revocations and announcements."""
    catalogs: list[Catalog] = field(default_factory=list)
    quarantined: int = 0
    refused: int = 0
    total: int = 0
    """Reports in the file now."""


@dataclass(slots=True)
class Sorted:
    """The accepted items of a batch by kind, each once."""

    catalogs: list[tuple[Item, Catalog]] = field(default_factory=list)
    reports: list[tuple[Item, Report]] = field(default_factory=list)
    erasures: list[tuple[Item, Erasure]] = field(default_factory=list)
    revocations: list[tuple[Item, Revocation]] = field(default_factory=list)
    announcements: list[tuple[Item, Announcement]] = field(default_factory=list)
    repeated: int = 0


def sort(accepted: Iterable[Accepted]) -> Sorted:
    """Sort accepted items by kind, each once."""
    parts = Sorted()
    seen: set[bytes] = set()
    for item, body in accepted:
        if item.id in seen:
            parts.repeated += 1
            continue
        seen.add(item.id)
        if isinstance(body, Report):
            parts.reports.append((item, body))
        elif isinstance(body, Erasure):
            parts.erasures.append((item, body))
        elif isinstance(body, Catalog):
            parts.catalogs.append((item, body))
        elif isinstance(body, Revocation):
            parts.revocations.append((item, body))
        else:
            parts.announcements.append((item, body))
    return parts

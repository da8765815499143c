"""Defines the input and the result of one commit, and sorts items by kind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.judge import Accepted
from methrics.schema.judging.records import KnownRecord
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.record import Record
from methrics.schema.wire.shard import Shard
from methrics.schema.wire.verdict import Reason


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one commit. `now` is the time of receipt in Unix seconds."""

    now: int
    accepted: Sequence[Accepted] = ()
    refused: Mapping[Reason, tuple[int, bytes]] = field(default_factory=dict)
    """reason -> (number of refused items, the bytes of one of them)"""


@dataclass(slots=True)
class Committed:
    """The result of one commit. All rows that it counts are on disk when the caller gets it."""

    reports: int = 0
    duplicates: int = 0
    erased: int = 0
    """Reports that an erasure deleted, and reports not stored because of an earlier erasure."""
    erasures: int = 0
    revoked: int = 0
    """Reports that a revocation deleted."""
    announcements: int = 0
    catalogs: list[Catalog] = field(default_factory=list)
    """The new catalogs."""
    records: list[KnownRecord] = field(default_factory=list)
    """The new namespace records."""
    refused: int = 0
    known: int = 0
    """The items among the refused ones that had been judged before."""
    total: int = 0
    """Reports in the file after this commit."""
    reasons: Counter[Reason] = field(default_factory=Counter)
    """reason -> number of refused items"""
    seconds: float = 0.0
    """How long the commit took."""

    @property
    def changes_whole_tables(self) -> bool:
        """Whether the commit has changed a table that is exported as one file, such as `record`."""
        return bool(self.catalogs or self.records or self.erasures or self.refused)

    def counts(self) -> dict[str, int]:
        """Return the counts by name; catalogs and records are counted."""
        found = {name: getattr(self, name) for name in self.__slots__ if name not in _NO_COUNTS}
        return found | {"catalogs": len(self.catalogs), "records": len(self.records)}


@dataclass(frozen=True, slots=True)
class Expired:
    """What was deleted because its retention is over."""

    reports: int = 0
    tombstones: int = 0
    """Erasures whose reports would be over in any case."""
    samples: int = 0
    """Samples of refused bytes, which are kept for some days."""

    def __add__(self, other: Expired) -> Expired:
        return Expired(
            self.reports + other.reports,
            self.tombstones + other.tombstones,
            self.samples + other.samples,
        )


_NO_COUNTS = frozenset({"reasons", "seconds"})


@dataclass(slots=True)
class Sorted:
    """The accepted items of a batch by kind, without duplicates."""

    catalogs: list[tuple[Item, Catalog]] = field(default_factory=list)
    records: list[tuple[Item, Record]] = field(default_factory=list)
    reports: list[tuple[Item, Report]] = field(default_factory=list)
    erasures: list[tuple[Item, Erasure]] = field(default_factory=list)
    announcements: list[tuple[Item, Announcement]] = field(default_factory=list)
    repeated: int = 0


def own_of(shard: Shard, accepted: Sequence[Accepted]) -> Sequence[Accepted]:
    """Return the items that a shard stores. Catalogs and records concern every shard."""
    if shard.is_whole:
        return accepted
    return [one for one in accepted if _is_of(shard, one)]


def _is_of(shard: Shard, one: Accepted) -> bool:
    if isinstance(one.body, Report | Announcement):
        return shard.has(one.item.id)
    return not isinstance(one.body, Erasure) or shard.has(one.body.report_id(one.item.key))


def sort(accepted: Iterable[Accepted]) -> Sorted:
    """Sort accepted items by kind and drop duplicates."""
    parts = Sorted()
    seen: set[bytes] = set()
    for one in accepted:
        item, body = one
        if item.id in seen:
            parts.repeated += 1
            continue
        seen.add(item.id)
        if isinstance(body, Report):
            parts.reports.append(one)  # type: ignore[arg-type]  # nearly all: no pair is made
        elif isinstance(body, Erasure):
            parts.erasures.append((item, body))
        elif isinstance(body, Catalog):
            parts.catalogs.append((item, body))
        elif isinstance(body, Record):
            parts.records.append((item, body))
        else:
            parts.announcements.append((item, body))
    return parts

"""The state of the namespace records that a node has: age, expiry, equivocation (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from methrics.node.durations import about
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.topic import parse_topic

WARN = 14 * 86_400
"""Seconds before the end of a record from which its expiry is told: the owner of the namespace
needs time to sign the next one, or somebody keeps it from this node."""


@dataclass(frozen=True, slots=True)
class RecordState:
    """The newest record of a topic's namespace, if this node has one.

    `time` is its number, and `expires` its end (Unix seconds); 0 without a record. `catalogs`: how
    many it lists. `equivocation`: whether two records prove that the namespace key was used twice.
    """

    topic: str
    time: int = 0
    expires: int = 0
    catalogs: int = 0
    equivocation: bool = False

    def line(self, now: int) -> str:
        """Return the state in words."""
        if not self.expires:
            return f"{self.topic}: no record yet; its reports are refused until one arrives"
        when = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
        said = f"{self.topic}: record of {when}, catalogs {self.catalogs}"
        warning = self.warning(now)
        return f"{said}; {warning}" if warning else said

    def warning(self, now: int) -> str:
        """Return what is wrong, or will soon be; empty if nothing is."""
        if not self.expires:
            return ""
        found = []
        if self.equivocation:
            found.append("two records contradict each other, so the namespace key was used twice")
        if self.expires <= now:
            found.append("it has expired, so newer reports are refused")
        elif self.expires - now <= WARN:
            found.append(f"it expires in {about(self.expires - now)}")
        return "; ".join(found)


def record_states(book: CatalogBook, topics: Collection[str]) -> list[RecordState]:
    """Return the state for each topic, in the order of their names."""
    states = []
    for topic in sorted(topics):
        known = max(
            book.records.newest_of(parse_topic(topic)[1]), key=lambda one: one.rank, default=None
        )
        if known is None:
            states.append(RecordState(topic))
            continue
        record, proof = known.record, book.records.proof(known.item.key)
        states.append(
            RecordState(topic, record.time, record.expires, len(record.catalogs), proof is not None)
        )
    return states

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

REFUSED, WAIT = "are refused", "wait"
"""What happens to reports without a record in force: a relay refuses them, so that their publishers
keep them; at an aggregator they wait for a newer record."""


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

    def line(self, now: int, fate: str = REFUSED) -> str:
        """Return the state in words. `fate`: what happens to reports without a record in force."""
        if not self.expires:
            return f"{self.topic}: no record yet; its reports {fate} until one arrives"
        when = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
        said = f"{self.topic}: record of {when}, catalogs {self.catalogs}"
        warning = self.warning(now, fate)
        return f"{said}; {warning}" if warning else said

    def warning(self, now: int, fate: str = REFUSED) -> str:
        """Return what is wrong, or will soon be; empty if nothing is. `fate` as for `line`."""
        if not self.expires:
            return ""
        found = []
        if self.equivocation:
            found.append("two records contradict each other, so the namespace key was used twice")
        if self.expires <= now:
            found.append(f"it has expired, so newer reports {fate}")
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

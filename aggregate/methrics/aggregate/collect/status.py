"""The state of a running aggregator that its operator should know of. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from methrics.node.relay.clock_watch import Skew
from methrics.node.relay.record_state import WAIT, RecordState


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an aggregator at the time `now` (Unix seconds)."""

    now: int
    records: tuple[RecordState, ...] = ()
    """The newest record of each topic's namespace."""
    waiting: int = 0
    """Bundles that wait for a catalog or a record, now."""
    waiting_dropped: int = 0
    """Bundles that waited, and were dropped and forgotten, since the start."""
    skew: Skew | None = None
    """By how much this machine's clock is probably wrong; None if it seems right."""
    jumped: str = ""
    """What to say about a clock that has jumped; empty if it has not."""
    doubted: str = ""
    """What to say about a clock that is far from what the file knows; empty if it is not."""

    def lines(self) -> Iterator[str]:
        """Yield the state in words, without numbers that change all the time."""
        for record in self.records:
            yield record.line(self.now, WAIT)
        if self.skew is not None:
            yield f"clock: {self.skew}"
        if self.jumped or self.doubted:
            yield self.doubted or self.jumped
        if self.waiting:
            yield "bundles wait for a catalog or a newer record, which peers are asked for"
        if self.waiting_dropped:
            yield "bundles waited in vain and were dropped; they count when they arrive again"

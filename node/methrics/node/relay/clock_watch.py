"""Notices that this machine's clock is probably wrong (pure).

A node whose clock is behind refuses good reports as `early`; one whose clock is far ahead refuses
them as `late`. If that happens to most of what arrives, from most of the peers, the clock of this
machine is the likely cause. A few strangers cannot make a node say so, because each peer counts
once, whatever it sends.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from methrics.node.durations import about
from methrics.schema.errors import RefusedError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.items import decode_report
from methrics.schema.wire.verdict import Reason

WINDOW = 3600.0
"""Seconds of one window, and between two times that the same is told."""

ITEMS_LEAST = 20
"""A window with fewer items tells nothing: a few reports of one app may all be wrong."""

PEERS_LEAST = 2
"""A window with fewer peers that send early or late items tells nothing: theirs may be wrong."""

PEERS_MAX = 64
"""Most peers of a window that are counted; a further one takes the place of the one heard first."""

GAPS_MAX = 64
"""Most gaps of one peer that are kept, to estimate by how much the clock is wrong."""


class Skew(NamedTuple):
    """By how many seconds the machine's clock is probably wrong, at least; `behind` or ahead."""

    behind: bool
    seconds: int

    def __str__(self) -> str:
        return (
            f"this machine's clock is probably {about(self.seconds)} "
            f"{'behind' if self.behind else 'ahead'}, or more"
        )


class Gap(NamedTuple):
    """An item was early or late by this many seconds, by this machine's clock."""

    early: bool
    seconds: int


@dataclass(slots=True)
class _Peer:
    items: Counter[Reason] = field(default_factory=Counter)
    gaps: list[Gap] = field(default_factory=list)


class ClockWatch:
    """Counts the items that arrive live, in windows of an hour.

    `now` is in seconds on a clock that never goes back, not the clock that is watched. `peer` is
    any name of a peer; the names are forgotten with the window.
    """

    def __init__(self) -> None:
        self.skew: Skew | None = None
        """What the last window with enough items says; None if the clock seems right."""
        self._began = 0.0
        self._told: float | None = None
        self._peers: OrderedDict[str | bytes, _Peer] = OrderedDict()

    def note(self, peer: str | bytes, good: int, gaps: Sequence[Gap], now: float) -> None:
        """Count what one peer sent: `good` items that are neither early nor late, and the gaps of
        those that are."""
        if now - self._began >= WINDOW:
            self._began = now
            self._peers.clear()
        if good + len(gaps) <= 0:
            return
        if peer not in self._peers and len(self._peers) >= PEERS_MAX:
            self._peers.popitem(last=False)
        counted = self._peers.setdefault(peer, _Peer())
        counted.items[Reason.OK] += good
        for gap in gaps:
            counted.items[Reason.EARLY if gap.early else Reason.LATE] += 1
        counted.gaps += gaps[: GAPS_MAX - len(counted.gaps)]
        self._conclude()

    def tell(self, now: float) -> Skew | None:
        """Return what is to be told now: the skew, at most once per window, or None."""
        if self.skew is None or (self._told is not None and now - self._told < WINDOW):
            return None
        self._told = now
        return self.skew

    def _conclude(self) -> None:
        total = sum(one.items.total() for one in self._peers.values())
        if total < ITEMS_LEAST:
            return
        self.skew = self._found(Reason.EARLY, total) or self._found(Reason.LATE, total)

    def _found(self, reason: Reason, total: int) -> Skew | None:
        wrong = [one for one in self._peers.values() if 2 * one.items[reason] > one.items.total()]
        items = sum(one.items[reason] for one in self._peers.values())
        few = len(wrong) < PEERS_LEAST or items < ITEMS_LEAST
        if few or 2 * len(wrong) <= len(self._peers) or 2 * items <= total:
            return None
        early = reason is Reason.EARLY
        gaps = [gap.seconds for one in wrong for gap in one.gaps if gap.early == early]
        return Skew(early, round(median(gaps)))


def gaps_of(refused: Iterable[tuple[Reason, bytes]], book: CatalogBook, now: int) -> list[Gap]:
    """Return the gaps of the reports among `refused` (reason and bytes) that are early or late.

    A report's time is rounded down, and it rested before it arrived. So a clock that is behind
    differs by the gap at least, and so does one that is ahead.
    """
    found = []
    for reason, raw in refused:
        if reason not in (Reason.EARLY, Reason.LATE):
            continue
        try:
            item = split(raw)
            if item.kind is not Kind.REPORT:
                continue
            report = decode_report(item.payload)
        except RefusedError:
            continue
        catalog = book.get(report.catalog)
        declared = catalog.types.get(report.type) if catalog else None
        if reason is Reason.EARLY:
            found.append(Gap(True, report.time - now))
        elif declared is not None:
            found.append(Gap(False, now - declared.lateness - report.time))
    return found

"""Shares the memory of a relay's mix pool among the networks of submitters (pure).

A pooled item was acknowledged, so it cannot be evicted for another one. Instead, no network gets
more than a portion of the pool, and a full pool refuses new items. There is no share per peer,
because peer ids are free, and an app uses a new one for each visit.

To keep no link between an item and who submitted it, the shares do not follow single items: what a
network was given in one period counts until the end of the next, when all these items have left.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

from methrics.node.shares import Shares

STEPS = 16
"""The ends of the periods are rounded up to this part of a period, because the machine's clock may
be corrected. So the number of ends to remember is bounded."""


class Submitter(NamedTuple):
    """Who submits: a name of the peer, an opaque token of its network, and whether the operator
    listed the peer. Only a listed peer is counted by its name."""

    name: bytes
    origin: bytes
    listed: bool = False

    @property
    def holder(self) -> tuple[bool, bytes]:
        """Who is counted."""
        return self.listed, self.name if self.listed else self.origin


class PoolShares:
    """Counts the bytes of each network. `period`: seconds of a period of rest. `entries`: number of
    listed peers. If there are any, half of the pool is theirs, in equal parts.

    `now` and `until` are in seconds on a clock that never goes back.
    """

    def __init__(self, capacity: int, *, period: float, entries: int = 0) -> None:
        reserve = capacity // 2 if entries else 0
        self._shares: Shares[tuple[bool, bytes]] = Shares(
            capacity,
            per_holder=capacity,
            evicts=False,
            reserve=reserve,
            per_listed=reserve // max(1, entries),
        )
        self._step = period / STEPS
        self._ends: dict[int, defaultdict[tuple[bool, bytes], int]] = {}

    @property
    def used(self) -> int:
        """Bytes that count now."""
        return self._shares.used

    def take(self, who: Submitter, size: int, until: float, now: float) -> bool:
        """Count `size` bytes of a submitter until `until`; return False if it has no room left."""
        self.expire(now)
        taken = self._shares.take(who.holder, who.origin, now, size, listed=who.listed)
        if taken.granted:
            self._counted(until)[who.holder] += size
        return taken.granted

    def give(self, who: Submitter, size: int, until: float) -> None:
        """Undo a `take` whose item was not pooled after all."""
        self._counted(until)[who.holder] -= size
        self._shares.give(who.holder, size)

    def expire(self, now: float) -> None:
        """Forget what was counted until `now`."""
        for end in [end for end in self._ends if end * self._step <= now]:
            for holder, size in self._ends.pop(end).items():
                self._shares.give(holder, size)

    def next_end(self) -> float | None:
        """Return when the next bytes stop counting; None if none count."""
        return min(self._ends) * self._step if self._ends else None

    def _counted(self, until: float) -> defaultdict[tuple[bool, bytes], int]:
        return self._ends.setdefault(math.ceil(until / self._step), defaultdict(int))

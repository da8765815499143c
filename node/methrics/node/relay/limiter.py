"""How many items one connection may hand in (pure): a token bucket per peer, in bounded memory.

Peers are told apart by a keyed hash whose key is drawn for this process, so that even the memory of
a relay holds no peer id, and nothing is kept longer than it takes a bucket to fill again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

_CAPACITY = 65_536
"""Peers told apart at once; beyond it the longest quiet one starts afresh."""


class Limiter:
    """`per_minute` items a minute for each peer, and as many at once."""

    def __init__(self, *, per_minute: int, key: bytes, capacity: int = _CAPACITY) -> None:
        self._most = float(per_minute)
        self._rate = per_minute / 60
        self._key = key
        self._capacity = capacity
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, peer: str, wanted: int, now: float) -> int:
        """How many of `wanted` items `peer` may hand in at `now` (steady clock, seconds)."""
        self._forget(now)
        name = hashlib.blake2b(peer.encode(), digest_size=16, key=self._key).digest()
        left, since = self._left.pop(name, (self._most, now))
        left = min(self._most, left + (now - since) * self._rate)
        given = min(wanted, int(left))
        self._left[name] = (left - given, now)
        return given

    def _forget(self, now: float) -> None:
        while self._left:
            left, since = next(iter(self._left.values()))
            full = left + (now - since) * self._rate >= self._most
            if not full and len(self._left) < self._capacity:
                return
            self._left.popitem(last=False)

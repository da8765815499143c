"""How many items one peer may hand in (pure): a token bucket per peer, in bounded memory.

The key of a bucket is a keyed hash of the peer's id, whose own key is drawn for this process: even
the memory of a relay holds no peer id. A bucket is forgotten once it is full again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from methrics.node.token_bucket import TokenBucket

_CAPACITY = 65_536
"""Peers that have a bucket at once; beyond it the peer that was quiet for longest loses its own."""


class Limiter:
    """`per_minute` items a minute for each peer, and as many at once."""

    def __init__(self, *, per_minute: int, key: bytes, capacity: int = _CAPACITY) -> None:
        self._per_minute = per_minute
        self._key = key
        self._capacity = capacity
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, peer: str, wanted: int, now: float) -> int:
        """How many of `wanted` items `peer` may hand in at `now` (steady clock, seconds)."""
        self._forget(now)
        name = hashlib.blake2b(peer.encode(), digest_size=16, key=self._key).digest()
        bucket = self._buckets.get(name)
        if bucket is None:
            size = float(self._per_minute)
            bucket = self._buckets[name] = TokenBucket(rate=size / 60, size=size, now=now)
        self._buckets.move_to_end(name)
        return bucket.take(wanted, now)

    def _forget(self, now: float) -> None:
        buckets = self._buckets
        while buckets:
            quietest = next(iter(buckets.values()))
            if not quietest.is_full(now) and len(buckets) < self._capacity:
                return
            buckets.popitem(last=False)

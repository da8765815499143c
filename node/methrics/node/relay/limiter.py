"""Limits how many items one peer may submit: a token bucket per peer, in bounded memory (pure).

Each bucket is stored under a keyed hash of the peer's id, so that the limiter does not store the id
itself. The key is drawn for this process. A bucket is forgotten once it is full again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from methrics.node.token_bucket import TokenBucket

_CAPACITY = 65_536
"""Most peers that have a bucket at once. For a further peer, the bucket that was not used for the
longest time is forgotten."""


class Limiter:
    """Allows each peer a burst of `per_minute` items, and `per_minute` items a minute after it."""

    def __init__(self, *, per_minute: int, key: bytes, capacity: int = _CAPACITY) -> None:
        self._per_minute = per_minute
        self._key = key
        self._capacity = capacity
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, peer: str, wanted: int, now: float) -> int:
        """Return how many of `wanted` items `peer` may submit now, and count them as submitted.
        `now` is in seconds on a clock that never goes back."""
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

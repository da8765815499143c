"""Limits how many items one peer may submit: a token bucket per peer, in bounded memory (pure).

A peer is named by a keyed hash of its id (`Names`), so that no limit stores the id itself. The key
is drawn for this process. A bucket is forgotten once it is full again.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from typing import NamedTuple

from methrics.node.token_bucket import TokenBucket

_CAPACITY = 65_536
"""Most peers that have a bucket at once. For a further peer, the bucket that was not used for the
longest time is forgotten."""


class Allowed(NamedTuple):
    """How many items a peer may submit now, and after how many seconds the others."""

    items: int
    again: int


class Names:
    """Names peers by a keyed hash of their ids. `key`: at most 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, peer: str) -> bytes:
        """Return the name of a peer, by which every limit counts it."""
        return hashlib.blake2b(peer.encode(), digest_size=16, key=self._key).digest()


class Limiter:
    """Allows each peer a burst of `per_minute` items, and `per_minute` items a minute after it. A
    listed peer may submit `listed_per_minute` items."""

    def __init__(
        self,
        *,
        per_minute: int,
        listed_per_minute: int | None = None,
        capacity: int = _CAPACITY,
    ) -> None:
        self._per_minute = per_minute
        self._listed_per_minute = listed_per_minute or per_minute
        self._capacity = capacity
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: bytes, wanted: int, now: float, *, listed: bool = False) -> Allowed:
        """Allow the peer of `name` up to `wanted` items, and count them as submitted. `now` is in
        seconds on a clock that never goes back."""
        size = self._size(listed=listed)
        count = self._bucket(name, now, listed=listed).take(wanted, now)
        return Allowed(count, math.ceil(min(wanted - count, size) * 60 / size))

    def take_all(self, name: bytes, wanted: int, now: float, *, listed: bool = False) -> Allowed:
        """Allow the peer of `name` all of `wanted` items, or none and count none, so that who asks
        for many at once in vain does not use up what would be allowed a moment later."""
        bucket = self._bucket(name, now, listed=listed)
        there = bucket.there(now)
        if there < wanted:
            return Allowed(0, math.ceil((wanted - there) * 60 / self._size(listed=listed)))
        return Allowed(bucket.take(wanted, now), 0)

    def _size(self, *, listed: bool) -> float:
        return float(self._listed_per_minute if listed else self._per_minute)

    def _bucket(self, name: bytes, now: float, *, listed: bool) -> TokenBucket:
        self._forget(now)
        bucket = self._buckets.get(name)
        if bucket is None:
            size = self._size(listed=listed)
            bucket = self._buckets[name] = TokenBucket(rate=size / 60, size=size, now=now)
        self._buckets.move_to_end(name)
        return bucket

    def _forget(self, now: float) -> None:
        buckets = self._buckets
        while buckets:
            quietest = next(iter(buckets.values()))
            if not quietest.is_full(now) and len(buckets) < self._capacity:
                return
            buckets.popitem(last=False)

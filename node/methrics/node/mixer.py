"""The mix pool of a relay: holds verified items for a window, forgets their order, packs bundles.

Pure: `now` (seconds on a steady clock) and `rng` come in, bundles go out; nothing touches a disk.
The windows lie on a grid that does not depend on arrivals, so the moment a bundle leaves says of an
item only in which window it arrived. A window closes early when a bundle's worth of other items
stands in the pool already, and then everything held for that topic leaves together, shuffled.

An adversary that fills a window with items of its own recognises the one that is not (the n-1
attack); more than one relay and the tor route stand against that, not this module.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from methrics.schema.bundle import pack
from methrics.schema.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX
from methrics.schema.verdict import Reason

_ARRAY_HEAD = 3
_ITEM_HEAD = 5
"""Bytes of CBOR around a bundle and around each item, at most."""

ITEM_COST = 400
"""Bytes of memory that holding an item takes besides its own: two dictionary entries and its id."""


@dataclass(frozen=True, slots=True)
class MixLimits:
    """How long and how much a pool holds."""

    hold: float = 30.0
    """Seconds of one window: the longest an item waits. METH-1 counts from its end."""
    count: int = 1000
    """Items of one topic that close its window early: four bundles, so a crowd to hide in."""
    bytes_max: int = 32 * 1024 * 1024
    """Bytes of memory over all topics; beyond it the answer is `quota`: the submitter keeps it."""

    def __post_init__(self) -> None:
        if not self.hold > 0 or self.count < 1 or self.bytes_max < BUNDLE_MAX:
            raise ValueError("hold and count are positive, bytes_max is at least one bundle")


@dataclass(frozen=True, slots=True)
class Mixed:
    """One bundle ready to publish on `topic`; `items` are the (id, bytes) it holds."""

    topic: str
    bundle: bytes
    items: tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class _Pool:
    closes: float
    items: dict[bytes, bytes] = field(default_factory=dict)
    patient: bool = False
    """Whether a crowd no longer closes the window: nobody was there to take it."""


class Mixer:
    """The pools of all topics of one relay. Not thread safe: one task owns it."""

    def __init__(self, limits: MixLimits) -> None:
        self._limits = limits
        self._pools: dict[str, _Pool] = {}
        self._topic_of: dict[bytes, str] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._topic_of)

    def __contains__(self, item_id: bytes) -> bool:
        return item_id in self._topic_of

    @property
    def bytes_held(self) -> int:
        """Bytes of memory for the items in all pools."""
        return self._bytes

    def add(self, topic: str, item_id: bytes, raw: bytes, now: float) -> Reason:
        """Hold a verified item: OK, DUPLICATE when it is held already, QUOTA when full."""
        if item_id in self._topic_of:
            return Reason.DUPLICATE
        if self._bytes + len(raw) + ITEM_COST > self._limits.bytes_max:
            return Reason.QUOTA
        self._pool(topic, now).items[item_id] = raw
        self._topic_of[item_id] = topic
        self._bytes += len(raw) + ITEM_COST
        return Reason.OK

    def put_back(self, mixed: Mixed, now: float) -> int:
        """Hold a bundle's items until the next window ends, because nobody was there to take it.

        Returns how many there was still room for.
        """
        self._pool(mixed.topic, now).patient = True
        reasons = [self.add(mixed.topic, *pair, now) for pair in mixed.items]
        return reasons.count(Reason.OK)

    def _pool(self, topic: str, now: float) -> _Pool:
        pool = self._pools.get(topic)
        if pool is None:
            hold = self._limits.hold
            pool = self._pools[topic] = _Pool(closes=(now // hold + 1) * hold)
        return pool

    def discard(self, ids: Iterable[bytes]) -> int:
        """Forget items that reached the topic by another way; returns how many were held."""
        found = 0
        for item_id in ids:
            topic = self._topic_of.pop(item_id, None)
            if topic is None:
                continue
            pool = self._pools[topic]
            self._bytes -= len(pool.items.pop(item_id)) + ITEM_COST
            if not pool.items:
                del self._pools[topic]
            found += 1
        return found

    def next_due(self, now: float) -> float | None:
        """When `take` has something to give: a time on the same clock, or None while empty."""
        times = [now if self._full(pool) else pool.closes for pool in self._pools.values()]
        return min(times, default=None)

    def take(self, now: float, rng: random.Random, *, everything: bool = False) -> list[Mixed]:
        """Empty each pool that is due (all of them with `everything`) into shuffled bundles."""
        mixed: list[Mixed] = []
        for topic, pool in sorted(self._pools.items()):
            if everything or self._full(pool) or now >= pool.closes:
                mixed += self._empty(topic, pool, rng)
        return mixed

    def _full(self, pool: _Pool) -> bool:
        return not pool.patient and len(pool.items) >= self._limits.count

    def _empty(self, topic: str, pool: _Pool, rng: random.Random) -> list[Mixed]:
        del self._pools[topic]
        for item_id, raw in pool.items.items():
            del self._topic_of[item_id]
            self._bytes -= len(raw) + ITEM_COST
        # Sorted first: the result is then a function of the set and the rng, whatever the arrival
        # order, which a test can show.
        items = sorted(pool.items.items())
        rng.shuffle(items)
        return [
            Mixed(topic, pack([raw for _, raw in chunk]), tuple(chunk)) for chunk in chunks(items)
        ]


def chunks(items: Collection[tuple[bytes, bytes]]) -> list[list[tuple[bytes, bytes]]]:
    """Split (id, bytes) pairs, in order, into what fits one bundle each: BUNDLE_AIM bytes or less.

    An item larger than the aim (a catalog) gets a bundle of its own, still under BUNDLE_MAX.
    """
    result: list[list[tuple[bytes, bytes]]] = []
    size = 0
    for pair in items:
        needed = len(pair[1]) + _ITEM_HEAD
        if not result or size + needed > BUNDLE_AIM or len(result[-1]) == BUNDLE_ITEMS_MAX:
            result.append([])
            size = _ARRAY_HEAD
        result[-1].append(pair)
        size += needed
    return result

"""The mix pool of a relay: holds verified items for a window, forgets their order, packs bundles.

Pure: `now` (seconds on a steady clock) and `rng` come in, bundles go out; nothing touches a disk.
The windows lie on a grid that does not depend on arrivals, so the moment a bundle leaves says of an
item only in which window it arrived. A window closes early when a bundle's worth of other items
stands in it already, and then all of that window leaves together, shuffled.

What one machine hands in at one moment would still leave in one window, and be known to belong
together. So each item rests first, for a time of its own that its caller draws (`MixLimits.linger`
says how long at most), and joins the window in which that ends. Where many rest, the soonest leave
before their time: memory bounds how long items rest, never whether they are taken.

An adversary that fills a window with items of its own recognises the one that is not (the n-1
attack); more than one relay and the tor route stand against that, not this module.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from methrics.schema.wire.bundle import pack
from methrics.schema.wire.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX
from methrics.schema.wire.verdict import Reason

_ARRAY_HEAD = 3
_ITEM_HEAD = 5
"""Bytes of CBOR around a bundle and around each item, at most."""

ITEM_COST = 400
"""Bytes of memory that holding an item takes besides its own: two dictionary entries and its id."""


@dataclass(frozen=True, slots=True)
class MixLimits:
    """How long and how much a pool holds."""

    hold: float = 30.0
    """Seconds of one window. METH-1 counts from its end."""
    linger: float = 86_400.0
    """Seconds of the period in whose next one an item leaves: a day, because people have daily
    habits. Measured in docs/privacy-measured.md: with less, what arrives together shows."""
    count: int = 1000
    """Items of one topic that close its window early: four bundles, so a crowd to hide in."""
    bytes_max: int = 32 * 1024 * 1024
    """Bytes of memory over all topics; beyond it the answer is `quota`: the submitter keeps it."""

    def __post_init__(self) -> None:
        if not self.hold > 0 or self.count < 1 or self.bytes_max < BUNDLE_MAX:
            raise ValueError("hold and count are positive, bytes_max is at least one bundle")
        if not self.linger >= 0:
            raise ValueError("linger is not negative")


@dataclass(frozen=True, slots=True)
class Mixed:
    """One bundle ready to publish on `topic`; `items` are the (id, bytes) it holds."""

    topic: str
    bundle: bytes
    items: tuple[tuple[bytes, bytes], ...]


class _Window(NamedTuple):
    closes: float
    topic: str


@dataclass(slots=True)
class _Pool:
    items: dict[bytes, bytes] = field(default_factory=dict)
    patient: bool = False
    """Whether a crowd no longer closes the window: nobody was there to take it."""


class Mixer:
    """The pools of all topics of one relay. Not thread safe: one task owns it."""

    def __init__(self, limits: MixLimits) -> None:
        self._limits = limits
        self._pools: dict[_Window, _Pool] = {}
        self._window_of: dict[bytes, _Window] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._window_of)

    def __contains__(self, item_id: bytes) -> bool:
        return item_id in self._window_of

    @property
    def bytes_held(self) -> int:
        """Bytes of memory for the items in all pools."""
        return self._bytes

    def add(
        self, topic: str, item_id: bytes, raw: bytes, now: float, *, rest: float = 0.0
    ) -> Reason:
        """Hold a verified item for `rest` seconds and then until its window closes.

        OK, DUPLICATE when it is held already, QUOTA when full.
        """
        if item_id in self._window_of:
            return Reason.DUPLICATE
        if self._bytes + len(raw) + ITEM_COST > self._limits.bytes_max:
            return Reason.QUOTA
        window = self._window(topic, now + rest)
        self._pools.setdefault(window, _Pool()).items[item_id] = raw
        self._window_of[item_id] = window
        self._bytes += len(raw) + ITEM_COST
        return Reason.OK

    def put_back(self, mixed: Mixed, now: float) -> int:
        """Hold a bundle's items until the next window ends, because nobody was there to take it.

        Returns how many there was still room for.
        """
        window = self._window(mixed.topic, now)
        self._pools.setdefault(window, _Pool()).patient = True
        reasons = [self.add(mixed.topic, *pair, now) for pair in mixed.items]
        return reasons.count(Reason.OK)

    def _window(self, topic: str, moment: float) -> _Window:
        hold = self._limits.hold
        return _Window((moment // hold + 1) * hold, topic)

    def discard(self, ids: Iterable[bytes]) -> int:
        """Forget items that reached the topic by another way; returns how many were held."""
        found = 0
        for item_id in ids:
            window = self._window_of.pop(item_id, None)
            if window is None:
                continue
            pool = self._pools[window]
            self._bytes -= len(pool.items.pop(item_id)) + ITEM_COST
            if not pool.items:
                del self._pools[window]
            found += 1
        return found

    def next_due(self, now: float) -> float | None:
        """When `take` has something to give: a time on the same clock, or None while empty."""
        if self._crowded() and not all(pool.patient for pool in self._pools.values()):
            return now
        times = [now if self._full(pool) else window.closes for window, pool in self._pools.items()]
        return min(times, default=None)

    def take(self, now: float, rng: random.Random, *, everything: bool = False) -> list[Mixed]:
        """Empty each window that is due (all of them with `everything`) into shuffled bundles."""
        due = [
            window
            for window, pool in self._pools.items()
            if everything or self._full(pool) or now >= window.closes
        ]
        taken: dict[str, dict[bytes, bytes]] = {}
        for window in sorted(due):
            self._release(window, taken)
        for window in sorted(self._pools):
            # Those that wait for a peer wait on: nobody is there to make room for them.
            if self._crowded() and not self._pools[window].patient:
                self._release(window, taken)
        return [one for topic in sorted(taken) for one in shuffled(topic, taken[topic], rng)]

    def _full(self, pool: _Pool) -> bool:
        return not pool.patient and len(pool.items) >= self._limits.count

    def _crowded(self) -> bool:
        """Whether so much rests that a burst might not find room."""
        return self._bytes > self._limits.bytes_max // 2 and self._limits.linger > 0

    def _release(self, window: _Window, taken: dict[str, dict[bytes, bytes]]) -> None:
        items = self._pools.pop(window).items
        for item_id, raw in items.items():
            del self._window_of[item_id]
            self._bytes -= len(raw) + ITEM_COST
        taken.setdefault(window.topic, {}).update(items)


def rest(now: float, linger: float, rng: random.Random) -> float:
    """Seconds until a random moment of the next day (of `linger`) by the clock that all share:
    it says on which day an item came, and nothing of the hour, whichever relay was first."""
    return linger - now % linger + rng.random() * linger if linger else 0.0


def shuffled(topic: str, held: dict[bytes, bytes], rng: random.Random) -> list[Mixed]:
    """The items of one window (id -> bytes) in random order, as bundles."""
    # Sorted first: the result is then a function of the set and the rng, whatever the arrival
    # order, which a test can show.
    items = sorted(held.items())
    rng.shuffle(items)
    return [Mixed(topic, pack([raw for _, raw in chunk]), tuple(chunk)) for chunk in chunks(items)]


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

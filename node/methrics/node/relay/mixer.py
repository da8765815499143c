"""The mix pool of a relay: keeps verified items for a time, shuffles them and packs bundles.

The pool is pure: its methods get `now` (seconds on a clock that never goes back) and `rng`, return
bundles, and write to no disk. What rests is on disk, too (`rest_store`).

Each item first rests for a time that its caller draws for this item alone, so that items which one
machine submits together are not published together. The item then joins the batch window in which
its rest ends. Batch windows begin at fixed times, independent of arrivals and common to all topics
and catalogs, so the time at which a bundle is published reveals only the window. When a window
closes, its items are shuffled, and published in bundles of one catalog each. However many items
arrive, no item leaves before its rest ends: a full pool refuses new items instead.

An adversary who fills a window with items of their own recognises the one item that is not (the n-1
attack). This module does not stop that attack; submitters make it harder by using two relays.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from methrics.node.relay.rest_file import Resting
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX, DAY
from methrics.schema.wire.verdict import Reason

_BUNDLE_HEAD = 3 + 2 + 32
_ITEM_HEAD = 5
"""Most bytes of CBOR that a bundle adds, with the id of its catalog, and that each item adds."""

ITEM_COST = 400
"""Bytes of memory that an item needs besides its own bytes: two dictionary entries, its id, and
the name of its catalog (340 measured)."""


OVERDUE = 4 * 3600.0
"""Most seconds over which a relay that was down spreads the items that were due meanwhile."""


@dataclass(frozen=True, slots=True)
class MixLimits:
    """Limits the time that items stay in a pool, and their number and bytes."""

    batch_window: float = 30.0
    """Seconds of one batch window. The time limit of METH-1 begins at its end."""
    rest: float = 86_400.0
    """Seconds of a period. An item's rest ends at a drawn moment of the period after the one in
    which it arrived. The default is a day, because people have daily habits. With a shorter period,
    items that arrive together can be linked to each other (see docs/privacy-measured.md)."""
    count: int = 1000
    """Without a rest, a topic's batch window closes early when it has this many items. They fill
    four bundles, so each item is one of many."""
    bytes_max: int = 256 * 1024 * 1024
    """Bytes of memory for the items of all topics: 400,000 reports of ordinary size. If an item
    does not fit, the answer is `quota`, and the submitter keeps the item."""

    def __post_init__(self) -> None:
        if not self.batch_window > 0 or self.count < 1 or self.bytes_max < BUNDLE_MAX:
            raise ValueError(
                "batch_window and count must be positive, bytes_max must fit one bundle"
            )
        if not self.rest >= 0:
            raise ValueError("rest must not be negative")


@dataclass(frozen=True, slots=True)
class Mixed:
    """One bundle to publish on `topic`. `about`: the id of its catalog. `items`: pairs of (id,
    bytes) in the bundle."""

    topic: str
    about: bytes
    bundle: bytes
    items: tuple[tuple[bytes, bytes], ...]


class _Window(NamedTuple):
    closes: float
    topic: str


class Pooled(NamedTuple):
    """The bytes of a pooled report or erasure, and the id of its catalog."""

    about: bytes
    raw: bytes

    @property
    def cost(self) -> int:
        """Bytes of memory that the item needs."""
        return len(self.raw) + ITEM_COST


@dataclass(slots=True)
class _Pool:
    items: dict[bytes, Pooled] = field(default_factory=dict)
    patient: bool = False
    """Whether the window waits for its end however many items it has, because no peer was connected
    when its items were to be published."""


class Mixer:
    """The pools of all topics of one relay. Not thread safe; only one task may use it."""

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
    def bytes_used(self) -> int:
        """Bytes of memory for the items in all pools."""
        return self._bytes

    def add(
        self, topic: str, about: bytes, item_id: bytes, raw: bytes, now: float, *, rest: float = 0.0
    ) -> Reason:
        """Keep a verified item of the catalog `about` for `rest` seconds and then until its window
        closes.

        Returns OK; DUPLICATE if the item is in a pool already; or QUOTA if the memory is full.
        """
        if item_id in self._window_of:
            return Reason.DUPLICATE
        pooled = Pooled(about, raw)
        if self._bytes + pooled.cost > self._limits.bytes_max:
            return Reason.QUOTA
        self._keep(self._window(topic, now + rest), item_id, pooled)
        return Reason.OK

    def keep(self, resting: Resting, now: float, *, rest: float) -> None:
        """Keep an item that was acknowledged for `rest` seconds and then until its window closes,
        even if others have taken its room meanwhile."""
        if resting.id not in self._window_of:
            window = self._window(resting.topic, now + rest)
            self._keep(window, resting.id, Pooled(resting.catalog, resting.raw))

    def put_back(self, mixed: Mixed, now: float) -> None:
        """Put the items of a bundle back until the current window ends, because no peer of the
        topic was connected. They were acknowledged, so they are kept even if others have taken
        their room meanwhile."""
        window = self._window(mixed.topic, now)
        self._pools.setdefault(window, _Pool()).patient = True
        for item_id, raw in mixed.items:
            if item_id not in self._window_of:
                self._keep(window, item_id, Pooled(mixed.about, raw))

    def _keep(self, window: _Window, item_id: bytes, pooled: Pooled) -> None:
        self._pools.setdefault(window, _Pool()).items[item_id] = pooled
        self._window_of[item_id] = window
        self._bytes += pooled.cost

    def _window(self, topic: str, moment: float) -> _Window:
        length = self._limits.batch_window
        return _Window((moment // length + 1) * length, topic)

    def discard(self, ids: Iterable[bytes]) -> int:
        """Forget items that another node has published; return how many of them were in a pool."""
        found = 0
        for item_id in ids:
            window = self._window_of.pop(item_id, None)
            if window is None:
                continue
            pool = self._pools[window]
            self._bytes -= pool.items.pop(item_id).cost
            if not pool.items:
                del self._pools[window]
            found += 1
        return found

    def next_due(self, now: float) -> float | None:
        """Return the time on the same clock from which `take` returns bundles; None if the pools
        are empty."""
        times = [now if self._full(pool) else window.closes for window, pool in self._pools.items()]
        return min(times, default=None)

    def take(self, now: float, rng: random.Random, *, everything: bool = False) -> list[Mixed]:
        """Empty the windows that are due (with `everything`, all windows); return their items,
        shuffled, as bundles."""
        due = [
            window
            for window, pool in self._pools.items()
            if everything or self._full(pool) or now >= window.closes
        ]
        taken: dict[str, dict[bytes, Pooled]] = {}
        for window in due:
            items = self._pools.pop(window).items
            for item_id, pooled in items.items():
                del self._window_of[item_id]
                self._bytes -= pooled.cost
            taken.setdefault(window.topic, {}).update(items)
        return [one for topic in sorted(taken) for one in shuffled(topic, taken[topic], rng)]

    def _full(self, pool: _Pool) -> bool:
        """Tell whether a window closes early. If items rest, none does: strangers could then make
        the others' items leave before their rest ends."""
        return not self._limits.rest and not pool.patient and len(pool.items) >= self._limits.count


def draw_rest(now: float, period: float, rng: random.Random) -> float:
    """Return the seconds from `now` (unix seconds) to a random moment of the next period.

    Periods begin at the same time on every relay. So the time at which an item is published reveals
    the period in which it arrived, but not the hour, even to an observer who sees which of two
    relays published it first.
    """
    return period - now % period + rng.random() * period if period else 0.0


def rest_again(leaves: int, now: int, period: float, rng: random.Random) -> float:
    """Return for how many seconds an item rests on that was to leave at `leaves` (both Unix
    seconds), when a relay starts again.

    If that moment has passed, it is drawn anew: what was due while the relay was down must not
    leave in one bundle, which would show when these items came. So it is if the moment is further
    away than any that is drawn: then the clock was wrong.
    """
    if now < leaves <= now + max(2 * period, 2 * DAY):
        return float(leaves - now)
    return rng.random() * min(period, OVERDUE)


def shuffled(topic: str, pooled: Mapping[bytes, Pooled], rng: random.Random) -> list[Mixed]:
    """Return the items of one topic (by id) in random order, as bundles of one catalog each."""
    # Sort first, so that the result depends on the items and the rng, not on the order of arrival.
    items = sorted(pooled.items())
    rng.shuffle(items)
    by_catalog: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for item_id, one in items:
        by_catalog.setdefault(one.about, []).append((item_id, one.raw))
    return [
        Mixed(topic, about, pack(about, [raw for _, raw in chunk]), tuple(chunk))
        for about, own in by_catalog.items()
        for chunk in chunks(own)
    ]


def chunks(items: Collection[tuple[bytes, bytes]]) -> list[list[tuple[bytes, bytes]]]:
    """Split (id, bytes) pairs of one catalog, in order, into groups that fit one bundle each
    (BUNDLE_AIM bytes)."""
    result: list[list[tuple[bytes, bytes]]] = []
    size = 0
    for pair in items:
        needed = len(pair[1]) + _ITEM_HEAD
        if not result or size + needed > BUNDLE_AIM or len(result[-1]) == BUNDLE_ITEMS_MAX:
            result.append([])
            size = _BUNDLE_HEAD
        result[-1].append(pair)
        size += needed
    return result

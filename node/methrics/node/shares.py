"""Shares a bounded pool fairly among strangers, by holder and by origin (pure).

A pool has `capacity` units, such as slots or bytes. A *holder* holds some of them. It may be a
peer or one stream. Its *origin* is an opaque token of where it comes from, such as a keyed hash of
an address prefix, because one machine can invent any number of peers, but few address prefixes.

- While there is room, every holder may take up to `per_holder` units.
- A full pool that can evict takes units back from the origin that holds most, if that origin holds
  more than the newcomer's would. There, the holder with the least progress per second goes first.
  If the newcomer's origin holds as much as any other, only an idle holder makes room.
- A pool whose content cannot be evicted (`evicts=False`) never gives one origin more than its
  portion, so that other origins find room later.
- Listed holders are those that the operator has configured. `reserve` units are kept for them, and
  they are never evicted.

`now` is in seconds on a clock that never goes back. Nothing here is written to a disk.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

H = TypeVar("H", bound=Hashable)

PORTION = 1 / 8
"""The part of a contended pool that one origin gets. An attacker needs eight address prefixes to
fill a pool, and eight honest networks of ordinary size do not crowd each other out."""

GRACE = 5.0
"""Seconds for which a new holder is not idle yet: a slow handshake takes that long."""

MEMORY = 10.0
"""Seconds after which past progress counts half."""


class Taken(NamedTuple, Generic[H]):
    """Whether the units were granted, and the holders that lost all theirs to make room."""

    granted: bool
    evicted: tuple[H, ...] = ()


@dataclass(slots=True)
class _Holding:
    origin: bytes
    listed: bool
    since: float
    amount: int = 0
    progress: float = 0.0
    noted: float = 0.0

    def faded(self, now: float) -> float:
        """Return the progress so far, of which the past counts less."""
        return self.progress * math.exp2((self.noted - now) / MEMORY)

    def rate(self, now: float) -> float:
        """Return the recent progress per second."""
        return self.faded(now) * math.log(2) / MEMORY


class Shares(Generic[H]):
    """The units of one pool, and who holds them. Not thread safe.

    `per_holder`: most units of one holder. `portion`: the part of the pool that one origin gets
    when the pool is full, or ever, if it cannot evict. `reserve`: units that only listed holders
    may take; each of them may take `per_listed` units (by default all of the reserve). `floor`: a
    holder with less progress per second is idle.
    """

    def __init__(
        self,
        capacity: int,
        *,
        per_holder: int,
        portion: float = PORTION,
        evicts: bool = True,
        reserve: int = 0,
        per_listed: int | None = None,
        floor: float = 1.0,
    ) -> None:
        if not 0 <= reserve < capacity or per_holder < 1 or not 0 < portion <= 1:
            raise ValueError("a pool has room for strangers, and a portion of it is not empty")
        self._capacity = capacity
        self._per_holder = per_holder
        self._per_listed = max(per_holder, reserve) if per_listed is None else per_listed
        self._portion = max(1, int((capacity - reserve) * portion))
        self._evicts = evicts
        self._reserve = reserve
        self._floor = floor
        self._holdings: dict[H, _Holding] = {}
        self._origins: dict[bytes, int] = {}
        self._strangers = 0
        self._listed = 0

    def __len__(self) -> int:
        """Return the number of holders."""
        return len(self._holdings)

    def __contains__(self, holder: H) -> bool:
        return holder in self._holdings

    @property
    def used(self) -> int:
        """Units that are held."""
        return self._strangers + self._listed

    @property
    def portion(self) -> int:
        """Units that one origin gets when the pool is full, or ever, if the pool cannot evict."""
        return self._portion

    def held(self, holder: H) -> int:
        """Return the units of a holder."""
        holding = self._holdings.get(holder)
        return 0 if holding is None else holding.amount

    def held_by(self, origin: bytes) -> int:
        """Return the units of all holders of an origin that are not listed."""
        return self._origins.get(origin, 0)

    def take(
        self, holder: H, origin: bytes, now: float, amount: int = 1, *, listed: bool = False
    ) -> Taken[H]:
        """Take `amount` units for `holder`. If they are not granted, nothing changes.

        A holder keeps the origin with which it took its first units. The caller must end what the
        evicted holders do; they hold nothing any more.
        """
        if amount < 1:
            raise ValueError("a holder takes at least one unit")
        holding = self._holdings.get(holder) or _Holding(origin, listed, now, noted=now)
        if holding.amount + amount > (self._per_listed if holding.listed else self._per_holder):
            return Taken(False)
        origin, listed = holding.origin, holding.listed
        if not self._evicts and not listed and self.held_by(origin) + amount > self._portion:
            return Taken(False)
        evicted = self._make_room(holder, holding, now, amount)
        if evicted is None:
            return Taken(False)
        for one in evicted:
            self.give(one)
        self._holdings[holder] = holding
        self._change(holding, amount)
        return Taken(True, tuple(evicted))

    def give(self, holder: H, amount: int | None = None) -> None:
        """Give back `amount` units of a holder, or all. A holder without units is forgotten, and a
        holder that is not known has none to give back."""
        holding = self._holdings.get(holder)
        if holding is None:
            return
        given = holding.amount if amount is None else min(amount, holding.amount)
        self._change(holding, -given)
        if not holding.amount:
            del self._holdings[holder]

    def progress(self, holder: H, amount: float, now: float) -> None:
        """Note that a holder made progress, such as a number of bytes that it sent or read."""
        holding = self._holdings.get(holder)
        if holding is not None:
            holding.progress, holding.noted = holding.faded(now) + amount, now

    def is_idle(self, holder: H, now: float) -> bool:
        """Tell whether a holder has made less progress than the floor, and is not new."""
        holding = self._holdings.get(holder)
        return holding is not None and self._idle(holding, now)

    def _idle(self, holding: _Holding, now: float) -> bool:
        return now - holding.since >= GRACE and holding.rate(now) < self._floor

    def _change(self, holding: _Holding, amount: int) -> None:
        holding.amount += amount
        if holding.listed:
            self._listed += amount
            return
        self._strangers += amount
        total = self._origins.get(holding.origin, 0) + amount
        if total:
            self._origins[holding.origin] = total
        else:
            del self._origins[holding.origin]

    def _missing(self, amount: int, *, listed: bool) -> int:
        """Return how many units have to be freed before `amount` units can be taken."""
        if listed:
            return self.used + amount - self._capacity
        return self._strangers + amount - (self._capacity - max(self._reserve, self._listed))

    def _make_room(self, holder: H, holding: _Holding, now: float, amount: int) -> list[H] | None:
        """Return the holders to evict for `amount` units of `holder`; None if it gets none."""
        missing = self._missing(amount, listed=holding.listed)
        if missing > 0 and not self._evicts:
            return None
        evicted: list[H] = []
        held = dict(self._origins) if missing > 0 else {}
        while missing > 0:
            mine = 0 if holding.listed else held.get(holding.origin, 0) + amount
            victim = self._victim(holder, holding, held, evicted, now, mine)
            if victim is None:
                return None
            lost = self._holdings[victim]
            evicted.append(victim)
            held[lost.origin] -= lost.amount
            missing -= lost.amount
        return evicted

    def _victim(
        self,
        holder: H,
        holding: _Holding,
        held: dict[bytes, int],
        evicted: Iterable[H],
        now: float,
        mine: int,
    ) -> H | None:
        """Return the next holder to evict. `held`: units by origin without those of `evicted`.
        `mine`: units of the newcomer's origin with those it wants."""
        gone = set(evicted) | {holder}
        most = max(held.values(), default=0)
        candidates = []
        for name, one in self._holdings.items():
            if one.listed or name in gone:
                continue
            theirs, own = held[one.origin], one.origin == holding.origin and not holding.listed
            idle = self._idle(one, now)
            larger = theirs == most and theirs > mine and not own
            if larger or (idle and (own or theirs >= mine)):
                candidates.append((not larger, -theirs, not idle, one.rate(now), one.since, name))
        # Names need not be comparable, so `min` compares only what precedes them.
        return min(candidates, key=lambda one: one[:-1])[-1] if candidates else None

"""Shards: parts of all ids, by their first hexadecimal digit. Pure.

N shards, where N is 1, 2, 4, 8 or 16, have equal ranges of ids in ascending order. So two shards
are either nested or have no id in common, the ids of all shards in order are the ids of the whole
in order, and a shard is a few whole nodes of the tree by which sets are compared. Ids are hashes,
so each shard has about as many. An erasure belongs to the shard of the report that it erases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COUNTS = (1, 2, 4, 8, 16)
"""How many shards there may be."""

_DIGITS = "0123456789abcdef"
_TEXT = re.compile(r"([1-9][0-9]?)/([1-9][0-9]?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number`, from 1 on, of `count`. Made by `shard_of` or `parse_shard`."""

    number: int
    count: int

    def has(self, item_id: bytes) -> bool:
        """Tell whether an id of a report belongs to the shard."""
        return item_id[0] * self.count >> 8 == self.number - 1

    @property
    def is_whole(self) -> bool:
        """Whether the shard has all ids."""
        return self.count == 1

    @property
    def digits(self) -> str:
        """The first hexadecimal digits of its ids, ascending."""
        size = 16 // self.count
        return _DIGITS[(self.number - 1) * size : self.number * size]

    @property
    def folder(self) -> str:
        """Its name in paths: `2-of-4`."""
        return f"{self.number}-of-{self.count}"

    def covers(self, other: Shard) -> bool:
        """Tell whether the shard has all ids of `other`."""
        return other.count >= self.count and (
            (other.number - 1) * self.count // other.count == self.number - 1
        )

    def meet(self, other: Shard) -> Shard | None:
        """Return the shard of the ids that both have, which is the smaller one; None without
        any."""
        if self.covers(other):
            return other
        return self if other.covers(self) else None

    def first(self, bits: int) -> int:
        """Return the number after which the shard numbers its rows, so that no two of sixteen
        shards use the same: each has a range of its own, of 2 to the power of `bits`."""
        return (self.number - 1) << bits

    @property
    def part(self) -> list[int]:
        """How messages name it: `read_part` reads that. The whole is never named."""
        return [self.number, self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Shard(1, 1)
"""All ids."""


def shard_of(number: object, count: object) -> Shard:
    """Return a shard by its numbers. Raises ValueError if there is no such shard."""
    if type(number) is not int or type(count) is not int or count not in COUNTS:
        raise ValueError("there are 1, 2, 4, 8 or 16 shards")
    if not 1 <= number <= count:
        raise ValueError(f"the shards of {count} are 1/{count} to {count}/{count}")
    return Shard(number, count)


def read_part(value: object) -> Shard:
    """Read how a message names a shard: two numbers. Raises ValueError, also for the whole."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("a shard is its number and how many there are")
    found = shard_of(*value)
    if found.is_whole:
        raise ValueError("the whole is no shard")
    return found


def parse_shard(text: str) -> Shard:
    """Read a shard such as `2/4`. Raises ValueError."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("a shard looks like 2/4: its number and how many there are")
    return shard_of(int(found[1]), int(found[2]))


def shards_of(count: int) -> tuple[Shard, ...]:
    """Return all shards of `count`, in order of their ids."""
    return tuple(Shard(number, count) for number in range(1, count + 1))

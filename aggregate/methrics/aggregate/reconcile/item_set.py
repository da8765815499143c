"""The sets that are compared, as both sides of a session read them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.wire import DaySum, Node, Which

_DOMAIN = b"methrics/1 sets"


class Stored(NamedTuple):
    """An item, and the id of the catalog that it names."""

    catalog: bytes
    raw: bytes


class ItemSet(Protocol):
    """The erasures and reports of one namespace at one moment. It never changes.

    Its methods may read a disk, so call them in a worker thread. Days are counted from 1970-01-01.
    The day of an erasure is the one that it names.
    """

    @property
    def scanned(self) -> int:
        """The rows read so far: what a session costs."""
        ...

    def days(self, which: Which) -> Sequence[DaySum]:
        """Return the days with items, ascending."""
        ...

    def index(self, which: Which, day: int) -> IdIndex:
        """Return the ids of one day."""
        ...

    def items(self, which: Which, wanted: Mapping[int, Iterable[bytes]]) -> list[Stored]:
        """Return the items with these ids, by day; ids that are not there are left out."""
        ...

    def page(
        self, which: Which, node: Node, cursor: int, most_bytes: int
    ) -> tuple[list[Stored], int]:
        """Return items below `node` of about `most_bytes`, and the cursor of the next page.

        Pages come in any order that stays the same; the first cursor is 0, and 0 is the end.
        """
        ...


def set_digest(key: bytes, which: Which, days: Iterable[DaySum]) -> bytes:
    """Return the digest of all days of one set: equal sets have equal digests, and others do
    not."""
    state = hashlib.sha256(_DOMAIN + key + bytes([which]))
    for day in days:
        state.update(day.day.to_bytes(8, "big") + day.count.to_bytes(8, "big") + day.digest)
    return state.digest()

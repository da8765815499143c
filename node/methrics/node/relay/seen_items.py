"""Remembers the items of a topic, and which of them it is not decided yet whether to pass on."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from methrics.schema.judging.seen import Seen
from methrics.schema.wire.envelope import Item


class SeenItems(Seen):
    """As `Seen`, which the judge of bundles uses from worker threads. An item that the judge adds
    is undecided until `decide`. So at no moment is an item settled that may be forgotten again."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._undecided: set[bytes] = set()
        self._adding = Lock()

    def add(self, item: Item) -> bool:
        """Add a verified item of a bundle, undecided. Returns False if its id is already known."""
        with self._adding:
            if item.id in self:
                return False
            self._undecided.add(item.id)
            return super().add(item)

    def add_settled(self, item: Item) -> bool:
        """Add an item that this node publishes. Returns False if its id is already known."""
        with self._adding:
            return super().add(item)

    def decide(self, ids: Iterable[bytes]) -> None:
        """Note that these items are passed on, unless they were discarded."""
        with self._adding:
            self._undecided.difference_update(ids)

    def settled(self, item_id: bytes) -> bool:
        """Whether an item was published or passed on, so that it need not be kept."""
        with self._adding:
            return item_id in self and item_id not in self._undecided

"""What has passed already: a bounded memory of accepted items, shared by threads."""

from __future__ import annotations

from threading import Lock

from methrics.schema.wire.envelope import Item


class Seen:
    """Remembers at least the last `capacity` items added, and at most twice as many.

    With each id its signature is kept: the id does not cover the signature, so only an item that
    bears both was checked before. Two generations of a dictionary make forgetting cheap; an item
    takes about 300 bytes.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        if capacity < 1:
            raise ValueError("a memory holds at least one item")
        self._capacity = capacity
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, item_id: bytes) -> bool:
        return item_id in self._young or item_id in self._old

    def holds(self, item: Item) -> bool:
        """Whether this very item, signature included, was added before."""
        signature = self._young.get(item.id) or self._old.get(item.id)
        return signature is not None and signature == item.raw[-64:]

    def add(self, item: Item) -> bool:
        """Remember a verified item. False if its id is remembered already."""
        with self._lock:
            if item.id in self:
                return False
            if len(self._young) >= self._capacity:
                self._old, self._young = self._young, {}
            self._young[item.id] = item.raw[-64:]
            return True

    def discard(self, item_id: bytes) -> None:
        """Forget an item, because what was to be done with it failed; it may come again."""
        with self._lock:
            self._young.pop(item_id, None)
            self._old.pop(item_id, None)

"""Remember the last accepted items, in limited memory. Threads may share it."""

from __future__ import annotations

from threading import Lock

from methrics.schema.wire.envelope import Item


class Seen:
    """Remembers at least the last `capacity` items that were added, and at most twice as many.

    It keeps the signature and the nonce of each id. The id of a report does not cover the nonce,
    and other ids do not cover the signature, so only an item with the same id, signature and nonce
    was checked before. To forget cheaply, it has a young and an old dictionary; when the young one
    is full, it replaces the old one. An item takes about 300 bytes.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        if capacity < 1:
            raise ValueError("the capacity must be at least one item")
        self._capacity = capacity
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, item_id: bytes) -> bool:
        return item_id in self._young or item_id in self._old

    def holds(self, item: Item) -> bool:
        """Tell whether this item was added before with the same signature and nonce."""
        mark = self._young.get(item.id) or self._old.get(item.id)
        return mark is not None and mark == _mark(item)

    def add(self, item: Item) -> bool:
        """Add a verified item. Returns False if its id is already known."""
        item_id, mark = item.id, _mark(item)
        with self._lock:
            if item_id in self._young or item_id in self._old:
                return False
            if len(self._young) >= self._capacity:
                self._old, self._young = self._young, {}
            self._young[item_id] = mark
            return True

    def discard(self, item_id: bytes) -> None:
        """Forget an item that could not be stored, so that it is accepted when it arrives again."""
        with self._lock:
            self._young.pop(item_id, None)
            self._old.pop(item_id, None)


def _mark(item: Item) -> bytes:
    signature = item.raw[-64:]
    return signature if item.work is None else signature + item.work.to_bytes(8, "big")

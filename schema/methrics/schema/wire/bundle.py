"""Bundles: one gossip message, a CBOR array of byte strings, each one item's exact bytes.

Bundling is not signed: who passes an item on adds nothing to it. Order has no meaning, but a
catalog that the bundle's reports need stands before them.
"""

from __future__ import annotations

from collections.abc import Iterable

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import head
from methrics.schema.wire.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX, ITEM_MAX
from methrics.schema.wire.verdict import Reason


def pack(items: Iterable[bytes]) -> bytes:
    """The bundle of `items`. Raises ValueError if `unpack` would refuse it."""
    parts = [head(2, len(item)) + item for item in items]
    bundle = head(4, len(parts)) + b"".join(parts)
    try:
        unpack(bundle)
    except RefusedError as error:
        raise ValueError(error.message) from error
    return bundle


def unpack(data: bytes) -> list[bytes]:
    """The items of a bundle, 1 to `BUNDLE_ITEMS_MAX`, not yet looked into.

    Raises RefusedError: OVERSIZE if the bundle, an item or the number of items is too large,
    MALFORMED for anything but the shortest encoding of a non-empty array of byte strings.
    """
    size = len(data)
    if size > BUNDLE_MAX:
        raise RefusedError(Reason.OVERSIZE, f"a bundle of {size} bytes")
    count, at = _head(data, 0, 4)
    if count > BUNDLE_ITEMS_MAX:
        raise RefusedError(Reason.OVERSIZE, f"a bundle of {count} items")
    items = []
    for _ in range(count):
        length, at = _head(data, at, 2)
        if length > ITEM_MAX:
            raise RefusedError(Reason.OVERSIZE, f"an item of {length} bytes")
        items.append(data[at : at + length])
        at += length
    if at != size or not items:
        raise RefusedError(Reason.MALFORMED, "the bundle is empty, cut short or too long")
    return items


def _head(data: bytes, at: int, major: int) -> tuple[int, int]:
    """The argument of the head at `at`, which must be the shortest, and the offset behind it."""
    extra = data[at] - (major << 5) if at < len(data) else -1
    if 0 <= extra < 24:
        return extra, at + 1
    end = at + 1 + {24: 1, 25: 2, 26: 4, 27: 8}.get(extra, 0)
    number = int.from_bytes(data[at + 1 : end], "big")
    if data[at:end] != head(major, number):
        raise RefusedError(Reason.MALFORMED, "not an array of byte strings in shortest form")
    return number, end


class Packer:
    """Fills one bundle after another; for one owner, not for threads.

    `add` until it says full, then `take`. What was added before always fits: a bundle is full
    from `BUNDLE_AIM` bytes on, and the largest item still fits behind that.
    """

    def __init__(self, aim: int = BUNDLE_AIM) -> None:
        if aim > BUNDLE_AIM:
            raise ValueError(f"a bundle aims at {BUNDLE_AIM} bytes at most, not {aim}")
        self._aim = aim
        self._items: list[bytes] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, raw: bytes) -> bool:
        """Put an item in. True if the bundle is now full and has to be taken.

        Raises ValueError if it was full already, or for an item no bundle may hold.
        """
        if self.full:
            raise ValueError("the bundle is full")
        if not 0 < len(raw) <= ITEM_MAX:
            raise ValueError(f"an item has 1 to {ITEM_MAX} bytes, not {len(raw)}")
        self._items.append(raw)
        self.size += len(head(2, len(raw))) + len(raw)
        return self.full

    @property
    def full(self) -> bool:
        """Whether nothing more should be added."""
        return self.size >= self._aim or len(self._items) >= BUNDLE_ITEMS_MAX

    def take(self) -> bytes:
        """The bundle of what was added; starts the next one. Raises ValueError if it is empty."""
        bundle = pack(self._items)
        self._items, self.size = [], 0
        return bundle

"""Pack and unpack bundles: `[about, items...]`, each item its exact bytes.

`about` is the id of a catalog, and all items are reports and erasures of that catalog; or it is
empty, and the bundle is a notice: one catalog, record or announcement. So a node can judge all
items of a bundle or none. A bundle has no signature of its own: a node that forwards an item adds
nothing to it. The order of the items has no meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import head
from methrics.schema.wire.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX, ITEM_MAX
from methrics.schema.wire.verdict import Reason

ABOUT_SIZE = 32
"""Size in bytes of the catalog id in the head of a bundle that is no notice."""


class Bundle(NamedTuple):
    """A bundle's parts. `about` is a catalog id of 32 bytes, or empty in a notice."""

    about: bytes
    items: list[bytes]


def pack(about: bytes, items: Iterable[bytes]) -> bytes:
    """Encode `items` as one bundle. Raises ValueError if `unpack` would refuse the bundle."""
    parts = [head(2, len(item)) + item for item in (about, *items)]
    bundle = head(4, len(parts)) + b"".join(parts)
    try:
        unpack(bundle)
    except RefusedError as error:
        raise ValueError(error.message) from error
    return bundle


def pack_notice(item: bytes) -> bytes:
    """Encode a bundle that has only this catalog, record or announcement. Raises ValueError as
    `pack` does."""
    return pack(b"", [item])


def unpack(data: bytes) -> Bundle:
    """Split a bundle into its head and its items, 1 to `BUNDLE_ITEMS_MAX`, without decoding them.

    Raises RefusedError: OVERSIZE if the bundle, an item or the number of items is too large,
    MALFORMED for anything but the shortest encoding of an array of byte strings with a head and at
    least one item, or for a notice of more than one item.
    """
    size = len(data)
    if size > BUNDLE_MAX:
        raise RefusedError(Reason.OVERSIZE, f"a bundle of {size} bytes; the limit is {BUNDLE_MAX}")
    count, at = _head(data, 0, 4)
    if count > BUNDLE_ITEMS_MAX + 1:
        raise RefusedError(Reason.OVERSIZE, f"a bundle of {count - 1} items is too large")
    parts = []
    for _ in range(count):
        # Nearly all items have 24 to 255 bytes, and a call for each takes five times as long.
        if data[at : at + 1] == b"\x58" and at + 1 < size and data[at + 1] >= 24:
            length, at = data[at + 1], at + 2
        else:
            length, at = _head(data, at, 2)
        if length > ITEM_MAX:
            raise RefusedError(Reason.OVERSIZE, f"an item of {length} bytes is too large")
        parts.append(data[at : at + length])
        at += length
    if at != size or len(parts) < 2:
        raise RefusedError(Reason.MALFORMED, "the bundle is empty, cut short or too long")
    about = parts.pop(0)
    if len(about) != ABOUT_SIZE and (about or len(parts) > 1):
        raise RefusedError(Reason.MALFORMED, "neither a bundle of one catalog nor a single notice")
    return Bundle(about, parts)


def _head(data: bytes, at: int, major: int) -> tuple[int, int]:
    """Read the CBOR head at `at`. Returns its argument, and the offset after it. Raises
    RefusedError if the head is not in shortest form."""
    extra = data[at] - (major << 5) if at < len(data) else -1
    if 0 <= extra < 24:
        return extra, at + 1
    end = at + 1 + {24: 1, 25: 2, 26: 4, 27: 8}.get(extra, 0)
    number = int.from_bytes(data[at + 1 : end], "big")
    if data[at:end] != head(major, number):
        raise RefusedError(Reason.MALFORMED, "not an array of byte strings in shortest form")
    return number, end


class Packer:
    """Collects the items of one catalog into one bundle after another. Not thread-safe.

    Call `add` until it returns True, then `take`. `add` reports a full bundle at `aim` bytes,
    `BUNDLE_AIM` by default. Before that, an item of the largest size still fits. Raises ValueError
    if `about` is no catalog id.
    """

    def __init__(self, about: bytes, aim: int = BUNDLE_AIM) -> None:
        if len(about) != ABOUT_SIZE:
            raise ValueError(f"a catalog id has {ABOUT_SIZE} bytes, not {len(about)}")
        if aim > BUNDLE_AIM:
            raise ValueError(f"a bundle aims at {BUNDLE_AIM} bytes at most, not {aim}")
        self._about = about
        self._aim = aim
        self._items: list[bytes] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, raw: bytes) -> bool:
        """Add an item. Returns True if the bundle is now full and the caller must `take` it.

        Raises ValueError if the bundle was full already, or if the item is empty or too large.
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
        """Whether the bundle is full, so that `add` refuses further items."""
        return self.size >= self._aim or len(self._items) >= BUNDLE_ITEMS_MAX

    def take(self) -> bytes:
        """Encode the added items as a bundle and start the next. Raises ValueError without
        items."""
        bundle = pack(self._about, self._items)
        self._items, self.size = [], 0
        return bundle

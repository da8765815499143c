"""Seals one item in a box for a relay: a wiretap learns neither the content nor the exact size.

A box is `crypto_box_seal` (libsodium sealed box: X25519, XSalsa20-Poly1305, a fresh sender key per
box) over the item padded with ISO/IEC 7816-4 padding to a multiple of `BOX_STEP`. Every report is
smaller than one step, so all boxes that contain a report have the same length.
A relay makes its box key when it starts and forgets the key when it ends. So boxes that a wiretap
recorded cannot be opened later, and the key does not link one run of a relay to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nacl.bindings import (
    crypto_box_keypair,
    crypto_box_PUBLICKEYBYTES,
    crypto_box_seal,
    crypto_box_seal_open,
    crypto_box_SEALBYTES,
    crypto_box_seed_keypair,
    sodium_pad,
    sodium_unpad,
)
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from methrics.schema.errors import RefusedError
from methrics.schema.wire.limits import ITEM_MAX
from methrics.schema.wire.verdict import Reason

BOX_STEP = 1280
"""The padded length of a box's content is a multiple of this many bytes. It is more than the bytes
of the largest report (1,024)."""

BOX_MAX = (ITEM_MAX // BOX_STEP + 1) * BOX_STEP + crypto_box_SEALBYTES
"""Bytes of the box that contains the largest item."""

KEY_SIZE = crypto_box_PUBLICKEYBYTES
"""Bytes of a box key."""


@dataclass(frozen=True, slots=True)
class BoxKey:
    """A relay's key pair for one run. Its description contains `public`."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> BoxKey:
        """Make a new key pair from the system's randomness."""
        return cls(*crypto_box_keypair())

    @classmethod
    def from_seed(cls, seed: bytes) -> BoxKey:
        """Return the key pair of a 32-byte seed, for tests and vectors."""
        return cls(*crypto_box_seed_keypair(seed))


def seal(item: bytes, key: bytes) -> bytes:
    """Return the box with `item` for the relay whose public box key is `key` (32 bytes).

    Raises RefusedError `oversize` if the item has more than `ITEM_MAX` bytes, and `bad-key` if the
    key does not have 32 bytes or is a point of small order.
    """
    if len(item) > ITEM_MAX:
        raise RefusedError(Reason.OVERSIZE, f"an item has at most {ITEM_MAX} bytes")
    if len(key) != KEY_SIZE:
        raise RefusedError(Reason.BAD_KEY, f"a box key has {KEY_SIZE} bytes")
    try:
        return crypto_box_seal(sodium_pad(item, BOX_STEP), key)
    except SodiumError as error:
        raise RefusedError(Reason.BAD_KEY, "nothing can be sealed for this box key") from error


def unseal(box: bytes, key: BoxKey) -> bytes:
    """Return the item in `box`. Raises RefusedError `oversize` or `malformed` if `box` is not a box
    sealed for `key`."""
    if len(box) > BOX_MAX:
        raise RefusedError(Reason.OVERSIZE, "the box is larger than any item needs")
    content = len(box) - crypto_box_SEALBYTES
    if content <= 0 or content % BOX_STEP:
        raise RefusedError(Reason.MALFORMED, "the box is not padded to a whole number of steps")
    try:
        padded = crypto_box_seal_open(box, key.public, key.secret)
        item = sodium_unpad(padded, BOX_STEP)
    except CryptoError as error:
        raise RefusedError(Reason.MALFORMED, "the box does not open with this key") from error
    # Each item has one padded form, so padding of a whole step more than needed is refused.
    if len(item) // BOX_STEP + 1 != content // BOX_STEP:
        raise RefusedError(Reason.MALFORMED, "the box is padded more than it needs to be")
    return item

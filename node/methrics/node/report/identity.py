"""One-time keys: each report is signed with a fresh Ed25519 key, derived from one secret seed.

There is one seed for each app and user. Without it, two keys of one person look like keys of two
people. With the seed and the key index in the receipt, the node can sign an erasure of that report.
"""

from __future__ import annotations

import hashlib

SEED_SIZE = 32
"""Bytes of the seed, of a derived key seed (RFC 8032) and of a BLAKE2b key."""

INDEX_MAX = (1 << 63) - 1
"""SQLite's largest integer."""

_PERSON = b"methrics-report1"


def report_seed(seed: bytes, index: int) -> bytes:
    """The Ed25519 seed, 32 bytes, of report number `index`.

    BLAKE2b (RFC 7693) keyed with the 32-byte `seed` and personalised; the message is `index` as
    8 bytes, big-endian. Raises ValueError for another length or a negative or larger index.
    """
    if len(seed) != SEED_SIZE:
        raise ValueError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"a key index lies in 0..{INDEX_MAX}, not {index}")
    message = index.to_bytes(8, "big")
    return hashlib.blake2b(message, digest_size=SEED_SIZE, key=seed, person=_PERSON).digest()

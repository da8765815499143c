"""Derives the one-time keys: each report is signed with a fresh Ed25519 key from one secret seed.

There is one seed for each app and user. Without the seed, two keys of one person look like the keys
of two people. With the seed and the key index in the receipt, the node can sign an erasure of the
report.
"""

from __future__ import annotations

import hashlib

SEED_SIZE = 32
"""Bytes of the secret seed, and of the Ed25519 seed of a report's key (RFC 8032)."""

INDEX_MAX = (1 << 63) - 1
"""The largest key index, which is SQLite's largest integer."""

_PERSON = b"methrics-report1"


def report_seed(seed: bytes, index: int) -> bytes:
    """Returns the Ed25519 seed (32 bytes) of the report with key index `index`.

    It is the BLAKE2b hash (RFC 7693) of `index` as 8 bytes, big-endian, with the 32-byte `seed` as
    the key and a fixed personalisation. Raises ValueError for a seed of another length or an index
    outside 0..INDEX_MAX.
    """
    if len(seed) != SEED_SIZE:
        raise ValueError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"a key index lies in 0..{INDEX_MAX}, not {index}")
    message = index.to_bytes(8, "big")
    return hashlib.blake2b(message, digest_size=SEED_SIZE, key=seed, person=_PERSON).digest()

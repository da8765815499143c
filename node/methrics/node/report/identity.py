"""Derives the one-time keys: each report is signed with a fresh Ed25519 key.

A key derives from the secret seed of the app and user, the key index, and a random salt that is
drawn when the report is made. The receipt stores index and salt, so the node can sign an erasure of
the report later. Without the seed, two keys of one person look like the keys of two people.

Seed and index alone would not suffice: if a machine image is cloned or a backup is restored, two
copies of the outbox continue with the same seed and index. With the salt, each copy signs with keys
of its own.
"""

from __future__ import annotations

import hashlib

SEED_SIZE = 32
"""Bytes of the secret seed, and of the Ed25519 seed of a report's key (RFC 8032)."""

INDEX_MAX = (1 << 63) - 1
"""The largest key index, which is SQLite's largest integer."""

SALT_SIZE = hashlib.blake2b.SALT_SIZE
"""Bytes of a salt. With 16 random bytes, two copies of an outbox never draw the same salt."""

NO_SALT = b""
"""The salt of a receipt that was stored before receipts had salts (layout 3 of the outbox)."""

_PERSON = b"methrics-report1"


def report_seed(seed: bytes, index: int, salt: bytes) -> bytes:
    """Returns the Ed25519 seed (32 bytes) of the report with key index `index` and this `salt`.

    It is the BLAKE2b hash (RFC 7693) of `index` as 8 bytes, big-endian, with the 32-byte `seed` as
    the key, `salt` (SALT_SIZE bytes, or NO_SALT) as the salt, and a fixed personalisation. Raises
    ValueError for a seed or salt of another length, or an index outside 0..INDEX_MAX.
    """
    if len(seed) != SEED_SIZE:
        raise ValueError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
    if len(salt) not in (SALT_SIZE, len(NO_SALT)):
        raise ValueError(f"a salt has {SALT_SIZE} bytes or none, not {len(salt)}")
    if not 0 <= index <= INDEX_MAX:
        raise ValueError(f"a key index lies in 0..{INDEX_MAX}, not {index}")
    message = index.to_bytes(8, "big")
    return hashlib.blake2b(
        message, digest_size=SEED_SIZE, key=seed, salt=salt, person=_PERSON
    ).digest()

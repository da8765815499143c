"""Check the signatures of many items with one call.

The optional distribution `methrics-native` does it in C and releases Python's lock once for all of
them; without it, a loop in Python does the same. Both call the same function of the same libsodium,
so their answers are equal (docs/decisions/0025-native-verifier.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from methrics.schema.wire.envelope import Item

_OpenMany = Callable[[Sequence[bytes], Sequence[bytes]], int]


def count_valid(items: Sequence[Item]) -> int:
    """Return how many of the items have a valid signature before the first one that has none.

    `envelope.verify` tells why that one does not verify.
    """
    return _verifier()([item.raw[-64:] + item.signed for item in items], [i.key for i in items])


def is_native() -> bool:
    """Tell whether signatures are checked in C."""
    return _verifier() is not open_many


@cache
def _verifier() -> _OpenMany:
    """Load the verifier on first use, because libsodium takes 30 ms."""
    try:
        from methrics_native import open_many as native
    except ImportError:
        return open_many
    return native


def open_many(messages: Sequence[bytes], keys: Sequence[bytes]) -> int:
    """Count the messages (signature and signed bytes) that verify under their keys (32 bytes each),
    up to the first that does not. Raises ValueError for a key of another size, or for another
    number of keys than messages."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    good = 0
    try:
        for message, key in zip(messages, keys, strict=True):
            if len(key) != 32:
                raise ValueError("a key has 32 bytes")
            crypto_sign_open(message, key)
            good += 1
    except BadSignatureError:
        return good
    return good

"""Compute and parse topics. A topic contains a namespace's label and a short form of its key.

    /methrics/1/<label>-<short key>/cbor

The short key is the first 80 bits of SHA-256(namespace key), in base32 without padding, lower case
(RFC 4648). The label is for people and proves nothing: a catalog is accepted on a topic only if its
label and the key that signed it give that topic.
"""

from __future__ import annotations

from functools import lru_cache

from methrics.schema.errors import RefusedError
from methrics.schema.wire.reading import is_label
from methrics.schema.wire.sha256 import sha256
from methrics.schema.wire.verdict import Reason

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_HEAD, _TAIL = "/methrics/1/", "/cbor"


@lru_cache(1024)
def short_key(key: bytes) -> str:
    """Return the short form (16 characters) of a namespace key. ValueError unless it has 32
    bytes."""
    if len(key) != 32:
        raise ValueError(f"a namespace key has 32 bytes, not {len(key)}")
    number = int.from_bytes(sha256(key).digest()[:10], "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))


def topic(label: str, key: bytes) -> str:
    """Return the gossip topic of a namespace's items."""
    return f"{_HEAD}{label}-{short_key(key)}{_TAIL}"


def parse_topic(text: str) -> tuple[str, str]:
    """Split a topic into label and short key. Raises RefusedError(MALFORMED) for any other text."""
    label, dash, short = text.removeprefix(_HEAD).removesuffix(_TAIL).rpartition("-")
    spelled = is_label(label) and len(short) == 16 and set(_ALPHABET) >= set(short)
    if not spelled or text != f"{_HEAD}{label}{dash}{short}{_TAIL}":
        raise RefusedError(Reason.MALFORMED, "not a topic of this network")
    return label, short

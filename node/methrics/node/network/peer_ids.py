"""Reads and writes the text form of a peer id that holds its Ed25519 key (libp2p's peer-id spec).

Such an id is base58 (Bitcoin's alphabet) over the identity multihash of the key in protobuf:
`00 24 08 01 12 20` and the 32 bytes of the key. It starts with `12D3KooW`.
"""

from __future__ import annotations

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_ALPHABET)}
_HEAD = bytes.fromhex("002408011220")
_LENGTH = 52
_KEY_SIZE = 32


def key_of(peer_id: str) -> bytes | None:
    """Return the Ed25519 key (32 bytes) that a peer id holds, or None if it holds none."""
    if len(peer_id) != _LENGTH or not _VALUES.keys() >= set(peer_id):
        return None
    number = 0
    for digit in peer_id:
        number = number * 58 + _VALUES[digit]
    size = len(_HEAD) + _KEY_SIZE
    if number >= 1 << 8 * size:
        return None
    data = number.to_bytes(size, "big")
    if not data.startswith(_HEAD) or peer_id_of(data[len(_HEAD) :]) != peer_id:
        return None
    return data[len(_HEAD) :]


def peer_id_of(key: bytes) -> str:
    """Return the peer id of an Ed25519 key (32 bytes)."""
    number, digits = int.from_bytes(_HEAD + key, "big"), ""
    while number:
        number, value = divmod(number, 58)
        digits = _ALPHABET[value] + digits
    return "1" + digits  # a 1 for the zero byte at the start

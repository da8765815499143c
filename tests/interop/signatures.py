"""Items signed by hand, also in ways that an honest signer never would."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import cbor2
from nacl import bindings as sodium
from nacl.signing import SigningKey

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
_EIGHTH = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def _torsion() -> list[bytes]:
    """The eight points of small order in their canonical encodings: multiples of one of order 8."""
    found = [(1).to_bytes(32, "little"), _EIGHTH]
    while len(found) < 8:
        found.append(sodium.crypto_core_ed25519_add(found[-1], _EIGHTH))
    return found


TORSION = _torsion()
ODD_POINTS = [
    *TORSION,
    (PRIME + 1).to_bytes(32, "little"),  # the identity, not canonical
    PRIME.to_bytes(32, "little"),
    (2**255 + 1).to_bytes(32, "little"),  # the identity with the sign bit of an x that is 0
    (2).to_bytes(32, "little"),  # no point
    bytes([255] * 32),
]


def header(kind: int, key: bytes) -> dict[Any, Any]:
    """The protected header of an item of that kind."""
    return {1: -8, 3: 65_000 + kind, 4: key}


def _signed(protected: bytes, payload: bytes) -> bytes:
    return cbor2.dumps(["Signature1", protected, b"methrics/1", payload], canonical=True)


def _item(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    return cbor2.dumps([protected, {}, payload, signature], canonical=True)


def by_hand(headers: Any, payload: bytes, seed: bytes) -> bytes:
    """An item with any headers, signed as it should be."""
    protected = cbor2.dumps(headers, canonical=True)
    signature = SigningKey(seed).sign(_signed(protected, payload)).signature
    return _item(protected, payload, signature)


def scalar(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


def unusual(rng: Random, kind: int, payload: bytes) -> bytes:
    """An item whose key, R or S is out of the ordinary; some verify, and libraries part on others.

    The equation holds for the parts in the prime-order group. Those of small order are drawn at
    random, so that now and then they cancel out, and S may have the group's order added to it.
    """
    secret, nonce = rng.randrange(ORDER), rng.choice([0, rng.randrange(1, ORDER)])
    key = _plus(_multiple(rng.choice([0, secret, secret])), rng.choice([TORSION[0], *TORSION]))
    r = _plus(_multiple(nonce), rng.choice([TORSION[0], *TORSION]))
    if rng.random() < 0.15:
        key = rng.choice(ODD_POINTS)
    if rng.random() < 0.15:
        r = rng.choice(ODD_POINTS)
    protected = cbor2.dumps(header(kind, key), canonical=True)
    digest = hashlib.sha512(r + key + _signed(protected, payload)).digest()
    s = (nonce + int.from_bytes(digest, "little") * secret) % ORDER
    s += rng.choice([0, 0, 0, 0, ORDER])
    return _item(protected, payload, r + s.to_bytes(32, "little"))


def again(rng: Random, kind: int, payload: bytes, seed: bytes) -> bytes:
    """The item of that seed's key under another valid signature."""
    key = bytes(SigningKey(seed).verify_key)
    half = bytearray(hashlib.sha512(seed).digest()[:32])
    half[0] &= 248
    half[31] = half[31] & 63 | 64
    nonce = rng.randrange(1, ORDER)
    r = _multiple(nonce)
    protected = cbor2.dumps(header(kind, key), canonical=True)
    digest = hashlib.sha512(r + key + _signed(protected, payload)).digest()
    s = nonce + int.from_bytes(digest, "little") * int.from_bytes(half, "little")
    return _item(protected, payload, r + scalar(s))


def _multiple(number: int) -> bytes:
    """That many times the base point."""
    if number % ORDER == 0:
        return TORSION[0]
    return sodium.crypto_scalarmult_ed25519_base_noclamp(scalar(number))


def _plus(one: bytes, other: bytes) -> bytes:
    return sodium.crypto_core_ed25519_add(one, other)

"""HPKE in base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305 (pure).

pyhpke does the work. The HPKE of `cryptography` is faster, but it cannot export a secret, which the
answers of RFC 9458 need.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, KEMKeyInterface, KEMKeyPair
from pyhpke.exceptions import PyHPKEError

from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

KEM, KDF, AEAD = 0x0020, 0x0001, 0x0003
"""The identifiers of the algorithms (RFC 9180 section 7)."""

KEY_SIZE = 32
"""Bytes of a public key, of a private key, and of `enc`."""

NONCE_SIZE = 12
"""Bytes of the AEAD's nonce; its key has `KEY_SIZE` bytes."""

TAG_SIZE = 16
"""Bytes that sealing adds."""

_SUITE = CipherSuite.new(
    KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305
)


class Exported(NamedTuple):
    """What sealing or opening returns: `text`, the ciphertext or plaintext; `enc`, the encapsulated
    key; and `secret`, the exported secret."""

    text: bytes
    enc: bytes
    secret: bytes


def public_of(secret: bytes) -> bytes:
    """Return the public key of a private key (32 bytes)."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def seal(
    public: bytes,
    info: bytes,
    plaintext: bytes,
    *,
    label: bytes,
    ephemeral: bytes | None = None,
) -> Exported:
    """Seal a plaintext for a public key (32 bytes), and export 32 bytes under `label`.

    `ephemeral`: the private key of the sender's fresh key pair, for vectors only. Raises
    RefusedError `bad-key` if nothing can be sealed for the key, such as one of small order.
    """
    if len(public) != KEY_SIZE:
        raise RefusedError(Reason.BAD_KEY, f"a key has {KEY_SIZE} bytes")
    pair = None
    if ephemeral is not None:
        own = X25519PrivateKey.from_private_bytes(ephemeral)
        pair = KEMKeyPair(
            KEMKey.from_pyca_cryptography_key(own),
            KEMKey.from_pyca_cryptography_key(own.public_key()),
        )
    try:
        key = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(public))
        enc, context = _SUITE.create_sender_context(key, info, eks=pair)
        return Exported(context.seal(plaintext), enc, context.export(label, KEY_SIZE))
    except (PyHPKEError, ValueError) as error:
        raise RefusedError(Reason.BAD_KEY, "nothing can be sealed for this key") from error


def open_sealed(
    secret: bytes, info: bytes, enc: bytes, ciphertext: bytes, *, label: bytes
) -> Exported:
    """Open what `seal` made, and export the same 32 bytes. `secret`: the private key, 32 bytes.

    Raises RefusedError `malformed` if it does not open."""
    try:
        context = _SUITE.create_recipient_context(enc, _own(secret), info)
        return Exported(context.open(ciphertext), enc, context.export(label, KEY_SIZE))
    except (PyHPKEError, ValueError, InvalidTag) as error:
        raise RefusedError(Reason.MALFORMED, "the box does not open with this key") from error


@lru_cache(maxsize=8)
def _own(secret: bytes) -> KEMKeyInterface:
    return KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(secret))

"""HPKE in base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305 (pure).

This module only combines X25519 and the cipher of libsodium with the HMAC of Python. pyhpke takes
twice as long to open a box; the HPKE of `cryptography` cannot export a secret, which the answers of
RFC 9458 need (docs/decisions/0031-hpke.md). Tests compare with both, and with the RFC's vectors.

A context is for one message: its nonce is that of sequence number 0.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from methrics.node.clock import system_entropy
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

KEM, KDF, AEAD = 0x0020, 0x0001, 0x0003
"""The identifiers of the algorithms (RFC 9180 section 7)."""

KEY_SIZE = 32
"""Bytes of a public key, of a private key, and of `enc`."""

HASH_SIZE = 32
"""Bytes of a SHA-256."""

NONCE_SIZE = 12
"""Bytes of a cipher's nonce."""

TAG_SIZE = 16
"""Bytes that sealing adds."""


class Cipher(NamedTuple):
    """An AEAD. `number`: its identifier; `key_size` in bytes. `encrypt` and `decrypt` take text,
    associated data, nonce and key; `decrypt` raises `CryptoError` if the text does not open."""

    number: int
    key_size: int
    encrypt: Callable[[bytes, bytes, bytes, bytes], bytes]
    decrypt: Callable[[bytes, bytes, bytes, bytes], bytes]


CHACHA = Cipher(
    AEAD,
    32,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_aead_chacha20poly1305_ietf_decrypt,
)
"""ChaCha20-Poly1305 (RFC 8439). Tests also use AES-128-GCM, for the example of RFC 9458."""


@dataclass(frozen=True, slots=True)
class Context:
    """What both sides derive (RFC 9180 section 5.1): key and nonce of one message, and the secret
    from which further secrets are exported."""

    cipher: Cipher
    key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    exporter: bytes = field(repr=False)

    def seal(self, text: bytes, aad: bytes = b"") -> bytes:
        """Encrypt the message."""
        return self.cipher.encrypt(text, aad, self.nonce, self.key)

    def open(self, text: bytes, aad: bytes = b"") -> bytes:
        """Decrypt the message. Raises RefusedError `malformed` if it does not open."""
        return decrypt(self.cipher, text, aad, self.nonce, self.key)

    def export(self, label: bytes, size: int) -> bytes:
        """Return a secret of `size` bytes, at most 32 (RFC 9180 section 5.3)."""
        return _expand(_suite(self.cipher), self.exporter, b"sec", label, size)


def decrypt(cipher: Cipher, text: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    """Decrypt `text`. Raises RefusedError `malformed` if it does not open."""
    if len(text) < TAG_SIZE:
        raise RefusedError(Reason.MALFORMED, "the ciphertext is cut short")
    try:
        return cipher.decrypt(text, aad, nonce, key)
    except CryptoError as error:
        raise RefusedError(Reason.MALFORMED, "the ciphertext does not open") from error


def public_of(secret: bytes) -> bytes:
    """Return the public key of a private key. Raises ValueError unless it has 32 bytes."""
    # PyNaCl passes the bytes on without a look at their number.
    if len(secret) != KEY_SIZE:
        raise ValueError(f"a private key has {KEY_SIZE} bytes")
    return crypto_scalarmult_base(secret)


def derive_secret(seed: bytes) -> bytes:
    """Return the private key of a seed of 32 or more bytes (RFC 9180 section 7.1.3)."""
    return _expand(_KEM_SUITE, _extract(_KEM_SUITE, b"", b"dkp_prk", seed), b"sk", b"", KEY_SIZE)


def sender(
    public: bytes, info: bytes, *, ephemeral: bytes | None = None, cipher: Cipher = CHACHA
) -> tuple[bytes, Context]:
    """Return `enc`, which the receiver needs, and the sender's context (SetupBaseS).

    `public`: the receiver's key, 32 bytes. `ephemeral`: the private key for this one message, 32
    bytes; it is drawn unless a vector names it. Raises RefusedError `bad-key` if nothing can be
    sealed for `public`, such as for a point of small order.
    """
    if len(public) != KEY_SIZE:
        raise RefusedError(Reason.BAD_KEY, f"a key has {KEY_SIZE} bytes")
    own = system_entropy(KEY_SIZE) if ephemeral is None else ephemeral
    enc = public_of(own)
    try:
        shared = crypto_scalarmult(own, public)
    except SodiumError as error:
        raise RefusedError(Reason.BAD_KEY, "nothing can be sealed for this key") from error
    return enc, _schedule(_shared_secret(shared, enc, public), info, cipher)


def receiver(
    secret: bytes, public: bytes, enc: bytes, info: bytes, cipher: Cipher = CHACHA
) -> Context:
    """Return the receiver's context (SetupBaseR). `secret` and `public`: its key pair.

    Raises RefusedError `malformed` if `enc` is not a key of 32 bytes, or is of small order."""
    if len(secret) != KEY_SIZE or len(enc) != KEY_SIZE:
        raise RefusedError(Reason.MALFORMED, f"a key has {KEY_SIZE} bytes")
    try:
        shared = crypto_scalarmult(secret, enc)
    except SodiumError as error:
        raise RefusedError(Reason.MALFORMED, "the ephemeral key is not a key") from error
    return _schedule(_shared_secret(shared, enc, public), info, cipher)


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869 section 2.2)."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869 section 2.3), to at most 32 bytes: one block."""
    return hmac.digest(key, info + b"\x01", "sha256")[:size]


def _extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    """LabeledExtract (RFC 9180 section 4)."""
    return extract(salt, b"HPKE-v1" + suite + label + secret)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """LabeledExpand (RFC 9180 section 4)."""
    return expand(key, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, size)


_KEM_SUITE = b"KEM" + KEM.to_bytes(2, "big")


@lru_cache(maxsize=8)
def _suite(cipher: Cipher) -> bytes:
    return b"HPKE" + b"".join(one.to_bytes(2, "big") for one in (KEM, KDF, cipher.number))


def _shared_secret(shared: bytes, enc: bytes, public: bytes) -> bytes:
    """ExtractAndExpand (RFC 9180 section 4.1), where `shared` is the result of X25519."""
    key = _extract(_KEM_SUITE, b"", b"eae_prk", shared)
    return _expand(_KEM_SUITE, key, b"shared_secret", enc + public, HASH_SIZE)


def _schedule(shared: bytes, info: bytes, cipher: Cipher) -> Context:
    """KeySchedule (RFC 9180 section 5.1) in base mode, without a pre-shared key."""
    suite, context = _suite(cipher), _schedule_context(_suite(cipher), info)
    secret = _extract(suite, shared, b"secret", b"")
    return Context(
        cipher,
        _expand(suite, secret, b"key", context, cipher.key_size),
        _expand(suite, secret, b"base_nonce", context, NONCE_SIZE),
        _expand(suite, secret, b"exp", context, HASH_SIZE),
    )


@lru_cache(maxsize=64)
def _schedule_context(suite: bytes, info: bytes) -> bytes:
    """The part of the key schedule that is the same for all messages with this `info`."""
    mode = b"\x00"
    no_psk = _extract(suite, b"", b"psk_id_hash", b"")
    return mode + no_psk + _extract(suite, b"", b"info_hash", info)

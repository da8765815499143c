"""Seals a message for an exit, and the exit's answer for who sealed it (RFC 9458 section 4) (pure).

    box    = key id, KEM id, KDF id, AEAD id (7 bytes), enc (32), ciphertext (message + 16)
    answer = nonce (32), ciphertext (response + 16)

The message is a Binary HTTP request, the response a Binary HTTP response. Nobody but the exit can
read a box; nobody but its maker can read the answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from methrics.node.clock import system_entropy
from methrics.node.ohttp import hpke
from methrics.node.ohttp.key_config import ExitKey, KeyConfig
from methrics.node.ohttp.reading import malformed
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

REQUEST_TYPE, RESPONSE_TYPE = "message/ohttp-req", "message/ohttp-res"
"""Media types of a box and of an answer."""

_REQUEST, _RESPONSE = b"message/bhttp request", b"message/bhttp response"

HEAD_SIZE = 7
NONCE_SIZE = hpke.KEY_SIZE
"""Bytes of an answer's nonce: the larger of the lengths of the AEAD's key and nonce."""

BOX_OVERHEAD = HEAD_SIZE + hpke.KEY_SIZE + hpke.TAG_SIZE
"""Bytes of a box besides its message: 55."""

ANSWER_OVERHEAD = NONCE_SIZE + hpke.TAG_SIZE
"""Bytes of an answer besides its response: 48."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A box, and the secret with which its maker opens the answer."""

    box: bytes
    _secret: bytes = field(repr=False)

    def open(self, answer: bytes) -> bytes:
        """Return the response in an answer. Raises RefusedError `malformed` if it is not an answer
        to this box."""
        if len(answer) < ANSWER_OVERHEAD:
            raise malformed("the answer is cut short")
        nonce = answer[:NONCE_SIZE]
        enc = self.box[HEAD_SIZE : HEAD_SIZE + hpke.KEY_SIZE]
        key, iv = _answer_keys(self._secret, enc, nonce)
        try:
            return ChaCha20Poly1305(key).decrypt(iv, answer[NONCE_SIZE:], b"")
        except InvalidTag as error:
            raise malformed("the answer does not belong to this box") from error


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened box: its message, and the means to answer it."""

    message: bytes
    key_id: int
    _enc: bytes = field(repr=False)
    _secret: bytes = field(repr=False)

    def seal(self, response: bytes, nonce: bytes | None = None) -> bytes:
        """Return the answer with `response`. `nonce` (32 bytes) is for vectors only."""
        nonce = system_entropy(NONCE_SIZE) if nonce is None else nonce
        key, iv = _answer_keys(self._secret, self._enc, nonce)
        return nonce + ChaCha20Poly1305(key).encrypt(iv, response, b"")


def seal(config: KeyConfig, message: bytes, *, ephemeral: bytes | None = None) -> Sealed:
    """Seal a message for the exit with this key configuration.

    `ephemeral`: a private key of 32 bytes, for vectors only. Raises RefusedError `bad-key` if the
    key is of small order, or the algorithms are not ours.
    """
    if not config.usable:
        raise RefusedError(Reason.BAD_KEY, "the exit's key is for other algorithms")
    head = _head(config.key_id)
    made = hpke.seal(config.public, _info(head), message, label=_RESPONSE, ephemeral=ephemeral)
    return Sealed(head + made.enc + made.text, made.secret)


def open_box(box: bytes, keys: Mapping[int, ExitKey]) -> Opened:
    """Open a box with one of these keys, by their ids.

    Raises RefusedError `bad-key` if the box is for another key or for other algorithms, and
    `malformed` if it does not open."""
    if len(box) < BOX_OVERHEAD:
        raise malformed("the box is cut short")
    head, key = box[:HEAD_SIZE], keys.get(box[0])
    if key is None or head != _head(key.key_id):
        raise RefusedError(Reason.BAD_KEY, "the box is for a key that is not here")
    enc = box[HEAD_SIZE : HEAD_SIZE + hpke.KEY_SIZE]
    text = box[HEAD_SIZE + hpke.KEY_SIZE :]
    made = hpke.open_sealed(key.secret, _info(head), enc, text, label=_RESPONSE)
    return Opened(made.text, key.key_id, enc, made.secret)


def _head(key_id: int) -> bytes:
    numbers = (hpke.KEM, hpke.KDF, hpke.AEAD)
    return bytes((key_id,)) + b"".join(number.to_bytes(2, "big") for number in numbers)


def _info(head: bytes) -> bytes:
    return _REQUEST + b"\x00" + head


def _answer_keys(secret: bytes, enc: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """Return the key and the nonce of an answer (RFC 9458 section 4.4), by HKDF (RFC 5869)."""
    prk = hmac.digest(enc + nonce, secret, hashlib.sha256)
    key = hmac.digest(prk, b"key\x01", hashlib.sha256)
    return key, hmac.digest(prk, b"nonce\x01", hashlib.sha256)[: hpke.NONCE_SIZE]

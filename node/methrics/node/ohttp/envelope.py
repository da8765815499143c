"""Seals a message for an exit, and the exit's answer for who sealed it (RFC 9458 section 4) (pure).

    box    = key id, KEM id, KDF id, AEAD id (7 bytes), enc (32), ciphertext (message + 16)
    answer = nonce (32), ciphertext (response + 16)

The message is a Binary HTTP request, the response a Binary HTTP response. Nobody but the exit can
read a box; nobody but its maker can read the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from methrics.node.clock import system_entropy
from methrics.node.ohttp import hpke
from methrics.node.ohttp.hpke import CHACHA, Cipher, Context
from methrics.node.ohttp.key_config import ExitKey, KeyConfig
from methrics.node.ohttp.reading import malformed
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

REQUEST_TYPE, RESPONSE_TYPE = "message/ohttp-req", "message/ohttp-res"
"""Media types of a box and of an answer."""

_REQUEST, _RESPONSE = b"message/bhttp request", b"message/bhttp response"

HEAD_SIZE = 7
NONCE_SIZE = CHACHA.key_size
"""Bytes of an answer's nonce: the larger of the lengths of the cipher's key and nonce."""

BOX_OVERHEAD = HEAD_SIZE + hpke.KEY_SIZE + hpke.TAG_SIZE
"""Bytes of a box besides its message: 55."""

ANSWER_OVERHEAD = NONCE_SIZE + hpke.TAG_SIZE
"""Bytes of an answer besides its response: 48."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A box, and the secret with which its maker opens the answer."""

    box: bytes
    _enc: bytes = field(repr=False)
    _secret: bytes = field(repr=False)
    _cipher: Cipher = field(repr=False, default=CHACHA)

    @property
    def kept(self) -> bytes:
        """What `open_answer` needs, to be kept until the answer comes: 64 bytes."""
        return self._enc + self._secret

    def open(self, answer: bytes) -> bytes:
        """Return the response in an answer. Raises RefusedError `malformed` if it is not an answer
        to this box."""
        size = _nonce_size(self._cipher)
        key, nonce = _answer_keys(self._secret, self._enc, answer[:size], self._cipher)
        return hpke.decrypt(self._cipher, answer[size:], b"", nonce, key)


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened box: its message, and the means to answer it."""

    message: bytes
    key_id: int
    _enc: bytes = field(repr=False)
    _secret: bytes = field(repr=False)
    _cipher: Cipher = field(repr=False, default=CHACHA)

    def seal(self, response: bytes, nonce: bytes | None = None) -> bytes:
        """Return the answer with `response`. `nonce` (32 bytes) is for vectors only."""
        salt = system_entropy(_nonce_size(self._cipher)) if nonce is None else nonce
        key, iv = _answer_keys(self._secret, self._enc, salt, self._cipher)
        return salt + self._cipher.encrypt(response, b"", iv, key)


def seal(
    config: KeyConfig, message: bytes, *, ephemeral: bytes | None = None, cipher: Cipher = CHACHA
) -> Sealed:
    """Seal a message for the exit with this key configuration.

    `ephemeral`: a private key of 32 bytes; `cipher`: another one; both are for vectors only. Raises
    RefusedError `bad-key` if the key is of small order, or the exit does not take our algorithms.
    """
    if config.kem != hpke.KEM or (hpke.KDF, cipher.number) not in config.suites:
        raise RefusedError(Reason.BAD_KEY, "the exit's key is for other algorithms")
    head = _head(config.key_id, cipher)
    enc, context = hpke.sender(config.public, _info(head), ephemeral=ephemeral, cipher=cipher)
    return Sealed(head + enc + context.seal(message), enc, _exported(context), cipher)


def open_answer(kept: bytes, answer: bytes) -> bytes:
    """Return the response in an answer to the box of which `Sealed.kept` was kept. Raises
    RefusedError `malformed` if it is not an answer to that box."""
    enc, secret = kept[: hpke.KEY_SIZE], kept[hpke.KEY_SIZE :]
    return Sealed(b"", enc, secret).open(answer)


def open_box(box: bytes, keys: Mapping[int, ExitKey], *, cipher: Cipher = CHACHA) -> Opened:
    """Open a box with one of these keys, by their ids.

    Raises RefusedError `bad-key` if the box is for another key or for other algorithms, and
    `malformed` if it does not open. `cipher`: another one, for vectors only."""
    if len(box) < BOX_OVERHEAD:
        raise malformed("the box is cut short")
    head, key = box[:HEAD_SIZE], keys.get(box[0])
    if key is None or head != _head(key.key_id, cipher):
        raise RefusedError(Reason.BAD_KEY, "the box is for a key that is not here")
    enc = box[HEAD_SIZE : HEAD_SIZE + hpke.KEY_SIZE]
    context = hpke.receiver(key.secret, key.public, enc, _info(head), cipher)
    message = context.open(box[HEAD_SIZE + hpke.KEY_SIZE :])
    return Opened(message, key.key_id, enc, _exported(context), cipher)


@lru_cache(maxsize=64)
def _head(key_id: int, cipher: Cipher) -> bytes:
    numbers = (hpke.KEM, hpke.KDF, cipher.number)
    return bytes((key_id,)) + b"".join(number.to_bytes(2, "big") for number in numbers)


def _info(head: bytes) -> bytes:
    return _REQUEST + b"\x00" + head


def _exported(context: Context) -> bytes:
    return context.export(_RESPONSE, context.cipher.key_size)


def _nonce_size(cipher: Cipher) -> int:
    return max(cipher.key_size, hpke.NONCE_SIZE)


def _answer_keys(secret: bytes, enc: bytes, nonce: bytes, cipher: Cipher) -> tuple[bytes, bytes]:
    """Return the key and the nonce of an answer (RFC 9458 section 4.4)."""
    key = hpke.extract(enc + nonce, secret)
    return hpke.expand(key, b"key", cipher.key_size), hpke.expand(key, b"nonce", hpke.NONCE_SIZE)

"""AES-128-GCM, with which RFC 9180 A.1 and RFC 9458 Appendix A seal."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.exceptions import CryptoError

from methrics.node.ohttp.hpke import Cipher


def _encrypt(text: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    return AESGCM(key).encrypt(nonce, text, aad)


def _decrypt(text: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, text, aad)
    except InvalidTag as error:
        raise CryptoError("it does not open") from error


AES_128_GCM = Cipher(0x0001, 16, _encrypt, _decrypt)

"""Reads the RSA keys of strangers, of which only ordinary ones are accepted.

Anyone may send a key, in a message or before the handshake is over. `compat.py` puts this reader
into libp2p. Stock tries all formats that its library knows: a public key of 120 KB then takes most
of a minute of computing, a private key is searched for its primes, and a large public exponent
makes each signature a hundred times as costly as an ordinary one.
"""

from __future__ import annotations

from Crypto.PublicKey import RSA
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from methrics._vendor.libp2p.crypto.exceptions import CryptographyError

EXPONENT = 65_537
"""The public exponent of every RSA key that a libp2p implementation makes."""

BITS_LEAST = 2048
BITS_MOST = 4096
"""Sizes of RSA keys: go-libp2p refuses smaller ones; libp2p's own check refuses larger ones."""

BYTES_MAX = 1024
"""Most bytes of an encoded key. A key of 4096 bits has 550."""


def read_rsa(data: bytes) -> RSA.RsaKey:
    """Return a public key from its DER form. Raises CryptographyError if it is not an ordinary
    RSA key."""
    if len(data) > BYTES_MAX:
        raise CryptographyError("an RSA key that is too long")
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CryptographyError("not a public key in DER form") from error
    if not isinstance(key, RSAPublicKey) or not BITS_LEAST <= key.key_size <= BITS_MOST:
        raise CryptographyError("not an RSA key of an ordinary size")
    numbers = key.public_numbers()
    if numbers.e != EXPONENT:
        raise CryptographyError("an RSA key with an unusual exponent")
    try:
        return RSA.construct((numbers.n, numbers.e))
    except ValueError as error:
        raise CryptographyError("not the product of two primes") from error

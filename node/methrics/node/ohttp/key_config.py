"""An exit's keys: the private one, and its key configuration (RFC 9458 section 3) (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from methrics.node.clock import system_entropy
from methrics.node.ohttp.hpke import AEAD, KDF, KEM, KEY_SIZE, derive_secret, public_of
from methrics.node.ohttp.reading import Reader, malformed
from methrics.schema.errors import RefusedError

MEDIA_TYPE = "application/ohttp-keys"

SUITES_MAX = 16
"""Most pairs of algorithms of one configuration that are read."""

CONFIGS_MAX = 16
"""Most configurations that are read at once."""


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """One key configuration. `key_id`: 0 to 255. `public`: the KEM's public key, 32 bytes.
    `suites`: pairs of (KDF id, AEAD id) that the exit takes."""

    key_id: int
    public: bytes
    kem: int = KEM
    suites: tuple[tuple[int, int], ...] = ((KDF, AEAD),)

    @property
    def usable(self) -> bool:
        """Whether this implementation can seal for it."""
        return self.kem == KEM and (KDF, AEAD) in self.suites


@dataclass(frozen=True)
class ExitKey:
    """An exit's key pair. `key_id`: 0 to 255. `secret`: 32 bytes."""

    key_id: int
    secret: bytes = field(repr=False)

    @classmethod
    def fresh(cls, key_id: int) -> ExitKey:
        """Make a new key pair from the system's randomness."""
        return cls(key_id, system_entropy(KEY_SIZE))

    @classmethod
    def from_seed(cls, key_id: int, seed: bytes) -> ExitKey:
        """Return the key pair of a seed of 32 bytes (RFC 9180 section 7.1.3), for tests and
        vectors."""
        return cls(key_id, derive_secret(seed))

    @cached_property
    def public(self) -> bytes:
        """The X25519 public key, 32 bytes."""
        return public_of(self.secret)

    @property
    def config(self) -> KeyConfig:
        """What others need to seal for this key."""
        return KeyConfig(self.key_id, self.public)


def encode_key_config(config: KeyConfig) -> bytes:
    """Encode one configuration (RFC 9458 section 3.1)."""
    suites = b"".join(
        kdf.to_bytes(2, "big") + aead.to_bytes(2, "big") for kdf, aead in config.suites
    )
    head = config.key_id.to_bytes(1, "big") + config.kem.to_bytes(2, "big") + config.public
    return head + len(suites).to_bytes(2, "big") + suites


def decode_key_config(data: bytes) -> KeyConfig:
    """Decode one configuration of our KEM. Raises RefusedError `malformed` for other bytes, and for
    a configuration of another KEM, whose key has another length."""
    reader = Reader(data)
    key_id, kem = reader.number(1), reader.number(2)
    if kem != KEM:
        raise malformed(f"the key is for another KEM ({kem})")
    public, size = reader.take(KEY_SIZE), reader.number(2)
    if size % 4 or not 4 <= size <= 4 * SUITES_MAX or size != reader.left:
        raise malformed("a key configuration names one or more pairs of algorithms")
    suites = tuple((reader.number(2), reader.number(2)) for _ in range(size // 4))
    return KeyConfig(key_id, public, kem, suites)


def encode_key_configs(configs: Sequence[KeyConfig]) -> bytes:
    """Encode a document of the media type `application/ohttp-keys` (RFC 9458 section 3.2)."""
    encoded = [encode_key_config(config) for config in configs]
    return b"".join(len(one).to_bytes(2, "big") + one for one in encoded)


def decode_key_configs(data: bytes) -> list[KeyConfig]:
    """Decode such a document; pass over configurations of other KEMs (RFC 9458 section 3.2).

    Raises RefusedError `malformed` if the lengths do not fit, or if there are too many."""
    reader, found = Reader(data), list[KeyConfig]()
    for _ in range(CONFIGS_MAX):
        if not reader.left:
            return found
        one = reader.take(reader.number(2))
        try:
            found.append(decode_key_config(one))
        except RefusedError:
            if len(one) >= 3 and int.from_bytes(one[1:3], "big") != KEM:
                continue
            raise
    if reader.left:
        raise malformed(f"more than {CONFIGS_MAX} key configurations")
    return found

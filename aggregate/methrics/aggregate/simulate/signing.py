"""The current cost of bare Ed25519 in this process, to compare every measured rate with."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

ROUNDS = 40

_MESSAGE = bytes(200)
"""As long as the signed part of a heartbeat."""


@dataclass(frozen=True, slots=True)
class RawCost:
    """CPU seconds of `n` key pairs made from seeds (each report needs one) and of `n` signatures of
    200 bytes, with libsodium alone."""

    n: int = 0
    keypairs: float = 0.0
    signatures: float = 0.0

    def __add__(self, other: RawCost) -> RawCost:
        return RawCost(
            self.n + other.n, self.keypairs + other.keypairs, self.signatures + other.signatures
        )

    @property
    def keypair_s(self) -> float:
        """Seconds for one key pair."""
        return self.keypairs / self.n

    @property
    def sign_s(self) -> float:
        """Seconds for one signature."""
        return self.signatures / self.n


def raw_cost(rounds: int = ROUNDS) -> RawCost:
    """Measured now, with `rounds` of each."""
    seeds = [number.to_bytes(32, "big") for number in range(rounds)]
    begun = time.process_time()
    pairs = [crypto_sign_seed_keypair(seed) for seed in seeds]
    between = time.process_time()
    for _, secret in pairs:
        crypto_sign(_MESSAGE, secret)
    return RawCost(rounds, between - begun, time.process_time() - between)

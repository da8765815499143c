"""Measures the cost of Ed25519 alone in this process, with which other rates are compared."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

ROUNDS = 40

_MESSAGE = bytes(200)
"""A message as long as the signed part of a heartbeat."""


@dataclass(frozen=True, slots=True)
class RawCost:
    """The CPU seconds that libsodium alone takes for `n` key pairs from seeds (each report needs
    one), and for `n` signatures of 200 bytes."""

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
    """Measure the cost now, with `rounds` key pairs and signatures."""
    seeds = [number.to_bytes(32, "big") for number in range(rounds)]
    begun = time.process_time()
    pairs = [crypto_sign_seed_keypair(seed) for seed in seeds]
    between = time.process_time()
    for _, secret in pairs:
        crypto_sign(_MESSAGE, secret)
    return RawCost(rounds, between - begun, time.process_time() - between)

"""Limits what the requests of a network may cost: rows that are read and bytes that are sent.
Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

from methrics.node.token_bucket import TokenBucket

LISTED_FACTOR = 4
"""How much more a peer gets that the operator named."""

KNOWN_MAX = 1024
"""Most networks whose use is remembered. The one that asked longest ago is forgotten first."""


class Allowance(NamedTuple):
    """What a network may use: `burst` at once, then `rate` per second."""

    rate: float
    burst: float


class Budget:
    """The use of each network. `now` is in seconds on a clock that never goes back."""

    def __init__(self, rows: Allowance, size: Allowance) -> None:
        self._allowed = rows, size
        self._known: OrderedDict[bytes, tuple[TokenBucket, TokenBucket]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def wait(self, network: bytes, now: float, *, listed: bool = False) -> int:
        """Return the whole seconds until the network may ask again; 0 if it may ask now."""
        return max(math.ceil(one.spend(0, now)) for one in self._of(network, now, listed))

    def spend(
        self, network: bytes, rows: int, size: int, now: float, *, listed: bool = False
    ) -> None:
        """Note what a reply cost: rows that were read, and its size in bytes."""
        for bucket, amount in zip(self._of(network, now, listed), (rows, size), strict=True):
            bucket.spend(amount, now)

    def _of(self, network: bytes, now: float, listed: bool) -> tuple[TokenBucket, TokenBucket]:
        found = self._known.get(network)
        if found is None:
            factor = LISTED_FACTOR if listed else 1
            rows, size = self._allowed
            found = (
                TokenBucket(rate=rows.rate * factor, size=rows.burst * factor, now=now),
                TokenBucket(rate=size.rate * factor, size=size.burst * factor, now=now),
            )
            self._known[network] = found
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(network)
        return found

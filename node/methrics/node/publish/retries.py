"""How long the publisher waits before it sends a report again that no relay took (pure)."""

from __future__ import annotations

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng

BACKOFF = Backoff(120, 6 * 3600)
"""Seconds before a report that no relay took is sent again: half of the time at least."""


def backoff(attempts: int, rng: Rng) -> int:
    """Whole seconds to wait after an attempt that failed, with `attempts` failed ones before it."""
    return int(BACKOFF.drawn(attempts, rng))

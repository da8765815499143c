"""Computes when a report that no relay accepted is sent again (pure)."""

from __future__ import annotations

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng
from methrics.node.outbox.rows import POSTPONED_MAX

BACKOFF = Backoff(120, 6 * 3600)
"""Two minutes after the first failed attempt, doubled with each further one, up to six hours. The
wait is drawn from the upper half of that time."""


def backoff(attempts: int, rng: Rng, again: int = 0) -> int:
    """Return the whole seconds to wait after a failed attempt. `attempts` is the number of attempts
    before that one, so it is 0 after the first attempt. `again`: the seconds for which a full relay
    asked to be left alone; the wait is no shorter, but at most `POSTPONED_MAX`."""
    return max(int(BACKOFF.drawn(attempts, rng)), min(again, POSTPONED_MAX))

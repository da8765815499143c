"""What a peer's sessions may cost: rows that are read and bytes that are sent. Pure."""

from __future__ import annotations

from methrics.aggregate.closing.budget import Allowance, Budget

ROWS = Allowance(1_000_000.0, 50_000_000.0)
"""Rows that are read for one network: a session over a million reports reads some two million."""

BYTES = Allowance(4_194_304.0, 536_870_912.0)
"""Bytes that are sent to one network: two million reports at once, then 18,000 a second."""


def session_budget() -> Budget:
    """Return the budget of the sessions of one aggregator."""
    return Budget(ROWS, BYTES)

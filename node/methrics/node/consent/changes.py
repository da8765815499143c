"""Counts the ledger changes of this process, so that each `ConsentSwitch` notices them at once."""

from __future__ import annotations

_made = 0


def count() -> int:
    """How many changes this process has made. A switch that sees it grow reads the ledger again
    (METH-15)."""
    return _made


def note() -> None:
    """Counts one more change; to be called after the ledger was written."""
    global _made
    _made += 1

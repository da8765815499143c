"""Counts the ledger changes of this process, so that each `ConsentSwitch` notices them at once."""

from __future__ import annotations

_made = 0


def count() -> int:
    """Returns how many changes this process has made. A switch reads the ledger again when this
    number has grown (METH-15)."""
    return _made


def note() -> None:
    """Counts one more change. Call this after the ledger was written."""
    global _made
    _made += 1

"""Counts the ledger changes made by this process, so that every switch in it looks at once."""

from __future__ import annotations

_made = 0


def count() -> int:
    """How many changes this process has made. A switch that sees it grow reads the ledger again
    (METH-15)."""
    return _made


def note() -> None:
    """Counts one more change. To be called once the ledger has been written."""
    global _made
    _made += 1

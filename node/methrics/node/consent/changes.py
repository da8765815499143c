"""Tells each `ConsentSwitch` of this process at once that the ledger was changed here."""

from __future__ import annotations

import weakref
from typing import Protocol


class Watching(Protocol):
    """A switch. `deadline`: the monotonic time at which it checks the files again."""

    deadline: float


_watching: weakref.WeakSet[Watching] = weakref.WeakSet()
_made = 0


def watch(switch: Watching) -> None:
    """Tells `switch` of every later change."""
    _watching.add(switch)


def count() -> int:
    """Returns how many changes this process has made."""
    return _made


def note() -> None:
    """Makes all switches read the ledger again at their next use (METH-15). Call this after the
    ledger was written."""
    global _made
    _made += 1
    for switch in list(_watching):
        switch.deadline = -1.0

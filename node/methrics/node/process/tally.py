"""Counts by reason, which stay exact when threads or forks share them."""

from __future__ import annotations

import threading

from methrics.node.process.forks import watch


class Tally:
    """Counts per reason. A fork of the process waits until no other thread runs `add`."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler of the app may record within `add`.
        self._lock = threading.RLock()
        self._counts: dict[str, int] = {}
        self._watched = False

    def add(self, reason: str, n: int = 1) -> None:
        """Adds `n` to the count of `reason`."""
        if not self._watched:
            watch(self)
            self._watched = True
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + n

    def totals(self) -> dict[str, int]:
        """Returns the counts so far, by reason."""
        return dict(self._counts)

    def before_fork(self, patience: float) -> bool:
        """Part of `forks.Forkable`."""
        return self._lock.acquire(True, patience)

    def after_fork(self) -> None:
        """Part of `forks.Forkable`."""
        self._lock.release()

    def abandon(self) -> None:
        """Part of `forks.Forkable`."""
        self._lock = threading.RLock()

"""Checks again when something becomes due, also in an app that records nothing more.

One daemon thread per process waits for all outboxes of the app. It exists only while something
waits, does not keep the app from exiting, and does not exist in a forked child until the child
records something itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from methrics.node.backoff import Backoff
from methrics.node.clock import Clock

LEAST, MOST = 60.0, 900.0
"""Seconds until the next check: at least LEAST, and at most MOST, because the machine may be
suspended or its clock be set meanwhile. A check takes less than a millisecond."""

STILL_DUE = Backoff(300, 6 * 3600)
"""Waits while what is due does not leave: each start of a publisher takes a second of processor
time."""

NAME = "methrics-timer"
"""Name of the thread."""


def wait_until_due(due: int | None, now: int, failures: int) -> float | None:
    """Return the seconds until the next check; None if nothing waits (pure).

    `due`: when something is due (Unix seconds). `failures`: how many checks in a row, before this
    one, found that something was due already."""
    if due is None:
        return None
    return STILL_DUE.wait(failures) if due <= now else min(MOST, max(LEAST, due - now))


class Timer:
    """Calls functions at given times in one thread, which ends when none is left."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._now = (clock or Clock()).monotonic
        self.forget_all()

    def forget_all(self) -> None:
        """Forget everything, as is right in a forked child, in which no thread of the parent
        exists, and in which one may have held the lock."""
        self._changed = threading.Condition(threading.Lock())
        self._waiting: dict[str, tuple[float, Callable[[], object]]] = {}
        self._running = False

    def set(self, key: str, wait: float, act: Callable[[], object]) -> None:
        """Call `act` after `wait` seconds, in place of what was set for `key` before. Errors of
        `act` are ignored. Never raises."""
        with self._changed:
            self._waiting[key] = (self._now() + wait, act)
            if self._running:
                self._changed.notify()
                return
            self._running = True
        thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            self._running = False

    def unset(self, key: str) -> None:
        """Forget what was set for `key`."""
        with self._changed:
            self._waiting.pop(key, None)
            self._changed.notify()

    def _run(self) -> None:
        while (act := self._next()) is not None:
            try:
                act()
            except Exception:  # noqa: BLE001 - an app must not fail because it is measured
                continue

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next function; None if none is left."""
        with self._changed:
            while self._waiting:
                key, (at, act) = min(self._waiting.items(), key=lambda item: item[1][0])
                wait = at - self._now()
                if wait <= 0:
                    del self._waiting[key]
                    return act
                self._changed.wait(wait)
            self._running = False
            return None


TIMER = Timer()
"""The timer of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TIMER.forget_all)

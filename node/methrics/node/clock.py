"""The one module that reads the clock and the random numbers of the machine.

All other modules take `now` (whole seconds UTC), a `Clock` or an `Rng` from their caller, so that
schedules, flags and retention can be tested without waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Rng = Callable[[], float]
"""Returns a number in [0, 1); `random.Random(seed).random` is one."""


class Clock:
    """The clock of the machine. Tests pass a `ManualClock`."""

    __slots__ = ()

    def now(self) -> int:
        """Whole seconds since 1970-01-01 UTC."""
        return int(time.time())

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Seconds from an arbitrary start; never goes back."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)
    """Blocks the calling thread; used for fractions of a millisecond on a locked outbox."""


class ManualClock(Clock):
    """A clock that stands still until a test moves it (public testing API)."""

    __slots__ = ("_monotonic", "_now")

    def __init__(self, now: int = 1_800_000_000) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> int:
        """Whole seconds since 1970-01-01 UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds by which the clock was moved forward so far."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Moves the clock forward; returns at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Moves `now` and `monotonic` forward by `seconds`."""
        self._monotonic += seconds
        self._now += int(seconds)


def system_rng() -> Rng:
    """Python's generator, which is seeded by the operating system, and again after each fork. It
    draws schedules, never keys. Imported at first use, because an app without consent needs
    none."""
    from random import random

    return random

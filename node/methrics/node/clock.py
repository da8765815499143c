"""The only module that reads the machine's clock and its random numbers.

All other modules take `now` (whole seconds UTC), a `Clock` or an `Rng` from their caller, so that
schedules, flags and retention can be tested without waiting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

Rng = Callable[[], float]
"""Returns a number in [0, 1); `random.Random(seed).random` is one."""


Entropy = Callable[[int], bytes]
"""Returns as many unpredictable bytes as asked; `random.Random(seed).randbytes` is one for tests
and simulations."""

system_entropy: Entropy = os.urandom
"""The operating system's randomness, from which keys and salts are made."""


class Clock:
    """The machine's clock. Tests pass a `ManualClock` instead."""

    __slots__ = ()

    def now(self) -> int:
        """Returns whole seconds since 1970-01-01 UTC."""
        return int(time.time())

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Returns seconds since an arbitrary moment; the number never decreases."""

    sleep: Callable[[float], None] = staticmethod(time.sleep)
    """Blocks the calling thread. It is used only while the outbox is locked, for less than a
    millisecond at a time."""


class ManualClock(Clock):
    """A clock that changes only when a test moves it (public testing API)."""

    __slots__ = ("_monotonic", "_now")

    def __init__(self, now: int = 1_800_000_000) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> int:
        """Returns whole seconds since 1970-01-01 UTC."""
        return self._now

    def monotonic(self) -> float:
        """Returns the seconds by which the clock was moved forward so far."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Moves the clock forward; returns at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Moves `now` and `monotonic` forward by `seconds`."""
        self._monotonic += seconds
        self._now += int(seconds)


def system_rng() -> Rng:
    """Returns Python's generator, which the operating system seeds at the start and after each
    fork. It draws schedules, never keys. It is imported at first use, because an app without
    consent does not need it."""
    from random import random

    return random

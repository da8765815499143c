"""The only module that reads the machine's clock and its random numbers.

All other modules take `now` (whole seconds UTC), a `Clock` or an `Rng` from their caller, so that
schedules, flags and retention can be tested without waiting. The numbers come from the operating
system: Python's own generator belongs to the app, which may seed it.
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
    """Returns a generator without state: each number comes from the operating system.

    Python's `random.random` belongs to the app. If the app seeds it, all installs of the app would
    draw the same numbers, and each draw of ours would change the numbers that the app draws. A
    forked child also draws numbers of its own here. A number costs half a microsecond (measured).
    """
    return _drawn


def _drawn() -> float:
    return (int.from_bytes(os.urandom(7), "big") >> 3) * 2.0**-53  # a float has 53 bits

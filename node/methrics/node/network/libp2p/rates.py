"""How long a peer must wait: token buckets for messages and bytes (pure)."""

from __future__ import annotations


class Rate:
    """`rate` units per second with a burst of one second's worth. `now` is monotonic seconds."""

    __slots__ = ("_level", "_rate", "_then")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._level = rate
        self._then = now

    def take(self, amount: float, now: float) -> float:
        """Use `amount` units and return the seconds to wait before the next use (0: none)."""
        level = min(self._rate, self._level + (now - self._then) * self._rate) - amount
        self._level = level
        self._then = now
        return max(0.0, -level / self._rate)

"""The least pace of bytes, so that nobody holds a place with a byte a second (pure).

A transfer has a deadline at any time: `grace` seconds from its start, and one second more for each
`rate` bytes that have moved. Thus a transfer that stops is given up after `grace` seconds at most,
and one that is merely slow goes on as long as its average is above `rate`.
"""

from __future__ import annotations


class Pace:
    """One transfer. `now` is in seconds on a clock that never goes back."""

    def __init__(self, now: float, *, grace: float, rate: float) -> None:
        self.deadline = now + grace
        self._grace = grace
        self._rate = rate

    def moved(self, n: int, now: float) -> None:
        """Note that `n` bytes have moved. A quick transfer gains no more than `grace` seconds
        ahead, so that it may not stop for long afterwards."""
        self.deadline = min(self.deadline + n / self._rate, now + self._grace)

"""A token bucket, which limits a burst and a rate per second (pure)."""

from __future__ import annotations


class TokenBucket:
    """Contains at most `size` tokens, gains `rate` tokens per second, and is full at the start.

    `now` is in seconds on a clock that never goes back.
    """

    __slots__ = ("_now", "_rate", "_size", "_tokens")

    def __init__(self, *, rate: float, size: float, now: float) -> None:
        self._rate = rate
        self._size = size
        self._tokens = size
        self._now = now

    def take(self, wanted: int, now: float) -> int:
        """Removes up to `wanted` whole tokens, as many as there are; returns their number."""
        self._fill(now)
        taken = max(0, min(wanted, int(self._tokens)))
        self._tokens -= taken
        return taken

    def there(self, now: float) -> int:
        """Returns how many whole tokens there are."""
        self._fill(now)
        return int(self._tokens)

    def spend(self, amount: float, now: float) -> float:
        """Removes `amount` tokens, even if there are fewer. Returns the seconds until the number of
        tokens is no longer negative; 0 if it is not."""
        self._fill(now)
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate)

    def is_full(self, now: float) -> bool:
        """Whether the bucket is full, as at the start; then it need not be kept."""
        self._fill(now)
        return self._tokens >= self._size

    def _fill(self, now: float) -> None:
        self._tokens = min(self._size, self._tokens + (now - self._now) * self._rate)
        self._now = now

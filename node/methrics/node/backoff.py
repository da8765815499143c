"""How long to wait before something that failed is tried again (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.node.clock import Rng


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double with each failure in a row, from `least` to `most` seconds."""

    least: float
    most: float

    def wait(self, failures: int) -> float:
        """Seconds to wait after the first failure (`failures` is 0) or a later one."""
        # 2 ** 60 seconds exceed any `most`; without a bound the power would overflow a float.
        return min(self.most, self.least * 2.0 ** min(failures, 60))

    def drawn(self, failures: int, rng: Rng) -> float:
        """As `wait`, drawn from the upper half of that time: when a peer returns, those that wait
        for it do not all come at once."""
        return self.wait(failures) * (0.5 + rng() / 2)

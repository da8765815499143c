"""Computes how long to wait before a failed attempt is repeated (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.node.clock import Rng


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double with each failure in a row, from `least` to `most` seconds."""

    least: float
    most: float

    def wait(self, failures: int) -> float:
        """Returns the seconds to wait after a failure; `failures` counts the failures before it in
        a row, so it is 0 after the first one."""
        # 2 ** 60 seconds exceed any `most`; without a bound the power would overflow a float.
        return min(self.most, self.least * 2.0 ** min(failures, 60))

    def drawn(self, failures: int, rng: Rng) -> float:
        """Returns seconds drawn from the upper half of `wait(failures)`, so that not all nodes that
        wait for a peer connect at the same moment when it returns."""
        return self.wait(failures) * (0.5 + rng() / 2)

"""Measures processes over time: memory, descriptors, threads, and whether they keep growing."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from itertools import combinations

from tests.attacks.processes import Service


@dataclass
class Series:
    """What one process has used since its start: (seconds, MiB, descriptors, threads)."""

    name: str
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)

    def take(self, service: Service) -> None:
        """Add a sample; nothing if the process has just ended."""
        try:
            found = (service.memory, service.descriptors, service.threads)
        except (OSError, IndexError):
            return
        self.samples.append((time.monotonic(), *found))

    def after(self, seconds: float) -> list[tuple[float, float, int, int]]:
        """The samples after a warm-up."""
        start = self.samples[0][0]
        return [one for one in self.samples if one[0] - start >= seconds]

    def slope(self, warm_up: float) -> float:
        """MiB per minute after the warm-up: the median of the slopes between all pairs."""
        return median_slope([(when, memory) for when, memory, _, _ in self.after(warm_up)])

    def most(self, warm_up: float) -> tuple[int, int]:
        """The most descriptors and threads after the warm-up."""
        kept = self.after(warm_up)
        return max(one[2] for one in kept), max(one[3] for one in kept)


def median_slope(points: list[tuple[float, float]]) -> float:
    """The median slope (Theil and Sen) of y over x, per 60 units of x; 0 of too few points."""
    step = max(1, len(points) // 200)
    thin = points[::step]
    slopes = [(two[1] - one[1]) / (two[0] - one[0]) for one, two in combinations(thin, 2)]
    return 60 * statistics.median(slopes) if slopes else 0.0

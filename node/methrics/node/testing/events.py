"""Events in virtual time: each one happens at its time, and those of one time in order (pure)."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Events:
    """The events still to come. `now`: virtual seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, time: float, act: Callable[..., object], *arguments: Any) -> None:
        """Call `act(*arguments)` at `time`, or now if that has passed."""
        self._added += 1
        heapq.heappush(self._heap, (max(time, self.now), self._added, act, arguments))

    def after(self, seconds: float, act: Callable[..., object], *arguments: Any) -> None:
        """Call `act(*arguments)` in so many seconds."""
        self.at(self.now + seconds, act, *arguments)

    def run(self, seconds: float) -> None:
        """Let so many seconds pass: every event of this time happens."""
        end = self.now + seconds
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, act, arguments = pop(heap)
            act(*arguments)
        self.now = end

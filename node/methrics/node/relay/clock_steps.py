"""Notices that this machine's clock was set, or has jumped, while the program runs (pure).

A clock that never goes back tells how much time has really passed. What deletes by the clock waits
after a jump, so that an operator, or the watch over what peers send, can notice a wrong clock
first.
"""

from __future__ import annotations

from methrics.node.durations import about

JUMP = 3600.0
"""A difference of fewer seconds is no jump: it changes the retention of no report by a day."""

DOUBT = 86_400.0
"""Seconds for which the clock is doubted after a jump. A machine that slept has jumped, too."""


class ClockSteps:
    """Compares the clock `now` (Unix seconds) with `monotonic`, which starts anywhere."""

    def __init__(self, now: float, monotonic: float) -> None:
        self._offset = now - monotonic
        self._jump = 0.0
        self._since = monotonic

    def look(self, now: float, monotonic: float) -> bool:
        """Note the time, and return whether the clock is doubted now."""
        jump = now - monotonic - self._offset
        if abs(jump - self._jump) >= JUMP:
            self._jump, self._since = jump, monotonic
        if abs(self._jump) >= JUMP and monotonic - self._since >= DOUBT:
            self._offset += self._jump
            self._jump = 0.0
        return abs(self._jump) >= JUMP

    def line(self) -> str:
        """Return what an operator should know, or an empty text."""
        if abs(self._jump) < JUMP:
            return ""
        way = "forward" if self._jump > 0 else "back"
        return f"clock: it jumped {about(self._jump)} {way}; nothing is deleted by it for a day"

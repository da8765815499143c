"""Draws when a recorded event is due, by the release schedule of its type (pure)."""

from __future__ import annotations

from typing import Protocol

from methrics.node.clock import Rng

DELAY_MIN = 300
"""Least seconds from an event to its report, also if the schedule has a shorter `delay` (MIM-7,
METH-14)."""


class Release(Protocol):
    """The release schedule of an event type, in seconds (report/pacing.py)."""

    @property
    def delay(self) -> int: ...
    @property
    def every(self) -> tuple[int, int] | None: ...
    @property
    def jitter(self) -> int: ...


def event_due(release: Release, now: int, rng: Rng) -> int:
    """Returns the earliest time at which a row recorded at `now` may become a report (Unix
    seconds). It is drawn in the app, so that the spool never holds the exact time of an event."""
    delay = release.delay
    return now + (delay if delay > DELAY_MIN else DELAY_MIN) + int(rng() * (release.jitter + 1))

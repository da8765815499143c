"""When things may leave: pure functions of (release schedule, now, rng, last).

A schedule has `delay` (seconds before the first release), `every` (least and most seconds
between two reports of the type, or None: each event on its own) and `jitter` (most seconds added
at random).
The draw is made once and kept in the outbox, so a restart neither hastens nor repeats it.
"""

from __future__ import annotations

from typing import Protocol

from methrics.node.clock import Rng

DELAY_MIN = 300
"""Seconds: nothing leaves sooner after it happened (MIM-7's lower clamp, METH-14)."""

EVERY_MIN = 300
"""Seconds: no schedule is faster."""


class Release(Protocol):
    """The part of an event type's definition that pacing reads. All in seconds."""

    @property
    def delay(self) -> int: ...
    @property
    def every(self) -> tuple[int, int] | None: ...
    @property
    def jitter(self) -> int: ...


def event_due(release: Release, now: int, rng: Rng) -> int:
    """The earliest time at which what was recorded at `now` may become a report."""
    delay = release.delay
    return now + (delay if delay > DELAY_MIN else DELAY_MIN) + int(rng() * (release.jitter + 1))


def next_due(release: Release, now: int, rng: Rng, last: int | None) -> int:
    """The earliest time of the type's next report, drawn anew each time (MARS-8).

    `last` is when the previous one was made; None asks for the first one. A `last` in the future
    (the clock was set back) counts as now, so that no type falls silent for years.
    """
    if last is None:
        return event_due(release, now, rng)
    start = min(last, now)
    if release.every is None:
        return start
    least = max(EVERY_MIN, release.every[0])
    most = max(least, release.every[1])
    return start + least + _drawn(most - least, rng) + _drawn(release.jitter, rng)


def _drawn(most: int, rng: Rng) -> int:
    """A whole number in 0..most, each equally likely."""
    return int(rng() * (most + 1))

"""When a recorded row may become a report, and when the next report of its type may be made (pure).

A release schedule has `delay` (seconds from recording to the report), `every` (least and most
seconds between two reports of the type, None if each event makes its own) and `jitter` (the most
seconds added at random). Each time is drawn once and stored in the outbox, so a restart does not
change it.
"""

from __future__ import annotations

from typing import Protocol

from methrics.node.clock import Rng

DELAY_MIN = 300
"""Least seconds from an event to its report, whatever the schedule (MIM-7, METH-14)."""

EVERY_MIN = 300
"""Least seconds between two reports of a type, whatever the schedule."""


class Release(Protocol):
    """The release schedule of an event type, in seconds."""

    @property
    def delay(self) -> int: ...
    @property
    def every(self) -> tuple[int, int] | None: ...
    @property
    def jitter(self) -> int: ...


def event_due(release: Release, now: int, rng: Rng) -> int:
    """The earliest time at which a row recorded at `now` may become a report (Unix seconds)."""
    delay = release.delay
    return now + (delay if delay > DELAY_MIN else DELAY_MIN) + int(rng() * (release.jitter + 1))


def next_due(release: Release, now: int, rng: Rng, last: int | None) -> int:
    """The earliest time of the type's next report (Unix seconds), drawn at random (MARS-8).

    `last` is when the previous report was made, None before the first one. A `last` in the future
    counts as `now`: the clock was set back, and the type must not fall silent for years.
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
    """A random whole number in 0..most, uniformly distributed."""
    return int(rng() * (most + 1))

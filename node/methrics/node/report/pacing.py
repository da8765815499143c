"""When rows may become reports, when the next report of a type is due, when erasures leave (pure).

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


WINDOW = 7 * 86_400
"""Default seconds over which erasures leave: each weekday and hour is equally likely."""

WINDOW_MAX = 60 * 86_400
"""Seconds of the longest window, so that an erasure cannot be put off for ever."""

GAP = (120, 1200)
"""Seconds (least, most) that each overdue erasure adds to the time over which all are spread again.
That is long enough for a relay's batch windows to pass in between, and short enough for a machine
that is on for an hour a day."""


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


def spread(count: int, now: int, window: int, rng: Rng) -> list[int]:
    """`count` independent random times (Unix seconds) between `now` and `window` seconds later.

    Raises ValueError if `window` is not within 0..WINDOW_MAX.
    """
    if not 0 <= window <= WINDOW_MAX:
        raise ValueError(f"a window has 0..{WINDOW_MAX} seconds, not {window}")
    return [now + int(rng() * (window + 1)) for _ in range(count)]


def spread_again(count: int, now: int, rng: Rng) -> list[int]:
    """New random times (Unix seconds) for `count` overdue erasures.

    The more there are, the longer the time over which they are spread. The earliest possible time
    is GAP[0] seconds after `now`.
    """
    least, most = GAP
    return [now + least + int(rng() * count * (most - least)) for _ in range(count)]


def _drawn(most: int, rng: Rng) -> int:
    """A random whole number in 0..most, uniformly distributed."""
    return int(rng() * (most + 1))

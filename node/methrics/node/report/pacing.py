"""Draws the times at which rows may become reports and erasures may be sent (pure).

A release schedule has `delay` (seconds from recording an event to its report), `every` (the least
and most seconds between two reports of the type, None if each event has a report of its own) and
`jitter` (the most seconds that are added at random). Each time is drawn once and stored in the
outbox, so a restart does not change it.
"""

from __future__ import annotations

from methrics.node.clock import Rng
from methrics.node.spool.due import Release, event_due

EVERY_MIN = 300
"""Least seconds between two reports of a type, also if the schedule has a shorter `every`."""

WINDOW = 7 * 86_400
"""Default length (seconds) of the window within which requested erasures are sent at random times.
In one week, each weekday and hour is equally likely."""

WINDOW_MAX = 60 * 86_400
"""Greatest length (seconds) of that window, so that an erasure cannot be put off for ever."""

GAP = (120, 1200)
"""Overdue erasures get new random times. GAP[0]: least seconds until the first one. Each erasure
makes the time over which all are spread GAP[1] - GAP[0] seconds longer. So a relay's batch windows
pass between two erasures, and a machine that is on for an hour a day still sends them."""


def next_due(release: Release, now: int, rng: Rng, last: int | None) -> int:
    """Returns the earliest time of the type's next report (Unix seconds). If the schedule has
    `every`, the time is drawn at random (MARS-8).

    `last`: when the previous report was made, None before the first. A `last` in the future counts
    as `now`, because otherwise no report would be made for years after the clock was set back.
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
    """Returns `count` independent random times (Unix seconds) from `now` to `window` seconds later.

    Raises ValueError if `window` is not within 0..WINDOW_MAX.
    """
    if not 0 <= window <= WINDOW_MAX:
        raise ValueError(f"a window has 0..{WINDOW_MAX} seconds, not {window}")
    return [now + int(rng() * (window + 1)) for _ in range(count)]


def spread_again(count: int, now: int, rng: Rng) -> list[int]:
    """Returns new random times (Unix seconds) for `count` overdue erasures.

    The more there are, the longer the time over which they are spread (see GAP). The earliest
    possible time is GAP[0] seconds after `now`.
    """
    least, most = GAP
    return [now + least + int(rng() * count * (most - least)) for _ in range(count)]


def _drawn(most: int, rng: Rng) -> int:
    """Returns a random whole number in 0..most, uniformly distributed."""
    return int(rng() * (most + 1))

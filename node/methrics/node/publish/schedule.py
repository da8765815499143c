"""Draws when the next visit to an entry is (pure).

The times do not depend on what is due, so that they tell nothing. They are drawn in advance and
stored (`outbox.visit_times`). A visit that failed is repeated after a while, because a machine may
be online for an hour a day.
"""

from __future__ import annotations

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng
from methrics.node.outbox.visit_times import VisitTime

GAP = (4 * 3600.0, 12 * 3600.0)
"""Least and most seconds from one visit to the next, uniformly distributed: three visits on an
average day, each with room for as many reports as most apps make in a week."""

RETRY = Backoff(300, 4 * 3600)
"""Five minutes after the first failed visit, doubled with each further one, up to four hours. The
wait is drawn from the upper half of that time."""


def begun(time: VisitTime | None, now: int, rng: Rng) -> VisitTime:
    """Return what to store before a visit at `now` (Unix seconds): it counts as failed until it has
    succeeded, so a publisher that is killed again and again does not visit all the time."""
    failures = 0 if time is None else time.failures
    return VisitTime(now + int(RETRY.drawn(failures, rng)), failures + 1)


def succeeded(now: int, gap: tuple[float, float], rng: Rng) -> VisitTime:
    """Return what to store after a visit. `gap`: least and most seconds until the next one."""
    least, most = gap
    return VisitTime(now + int(least + rng() * (most - least)))


def put_off(time: VisitTime, now: int, again: int) -> VisitTime:
    """Return what to store after an entry took no boxes and asked to be left alone for `again`
    seconds. `time`: what is stored."""
    return VisitTime(max(time.next, now + again), time.failures)

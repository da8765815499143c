"""Says when a day is over, and whether the clock can be relied on to say so. Pure.

A report that is heard live counts until its type's lateness has passed. What comes later from a
peer or a file must not be a way round that. `MARGIN` leaves aggregators a day to exchange what they
heard in time. Days are counted from 1970-01-01.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from methrics.node.relay.clock_watch import Skew
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.limits import DAY, EARLY_MAX

MARGIN = DAY
"""Seconds after the last report of a day could be heard live until the day is over: an aggregator
that was off for a night still gets what it missed from any peer."""

STEADY = 3600.0
"""Seconds for which a clock must run evenly before a day is closed by it: as long as the window in
which `ClockWatch` compares it with what peers send."""


def is_over(day: int, lateness: int, now: int) -> bool:
    """Tell whether no report of `day` with this `lateness` (seconds) may be added any more without
    a quorum. `now` is in Unix seconds."""
    return now >= (day + 1) * DAY + lateness + MARGIN


def longest_lateness(catalogs: Iterable[Catalog]) -> int:
    """Return the longest lateness (seconds) of the event types of `catalogs`; 0 without any."""
    return max((one.lateness for of in catalogs for one in of.types.values()), default=0)


def likely_now(now: int, skew: Skew | None) -> int:
    """Return the time to judge days by: `now`, or later if this clock is probably behind.

    A clock that is behind would take days for open that are over for everybody else.
    """
    return now + skew.seconds if skew is not None and skew.behind else now


@dataclass(slots=True)
class Steadiness:
    """Compares the clock with one that never goes back, and tells whether it has run evenly.

    After a jump in either direction, or a start, it takes `STEADY` seconds before days are closed.
    """

    _offset: float | None = None
    _since: float = 0.0

    def note(self, now: int, monotonic: float) -> None:
        """Note both clocks, in seconds."""
        offset = now - monotonic
        if self._offset is None or abs(offset - self._offset) > EARLY_MAX:
            self._offset, self._since = offset, monotonic

    def may_close(self, monotonic: float, skew: Skew | None) -> bool:
        """Tell whether a day may be closed by the clock: it is steady, and not probably wrong."""
        return self._offset is not None and skew is None and monotonic - self._since >= STEADY

"""Tells whether this machine's clock may delete reports by their retention.

A clock that is wrong from the start does not jump, and without peers nobody contradicts it. So it
is compared with what the file knows: when the clock was last believed, and of which day the newest
report is. If it is far from both, nothing is deleted at first: a machine that has just started sets
its clock by NTP in that time, and peers say if it is wrong. Then it is believed, because people
were promised that what is over is deleted, even from a data set to which nothing comes any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from methrics.aggregate.store.clock_notes import ClockNotes, newest_day, read_notes, write_notes
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.schema.wire.limits import DAY

AHEAD_MAX = 30 * DAY
"""Seconds by which the clock may be later than what the file knows: an aggregator may be off for a
month, and its clock deletes a month too early at most."""

BEHIND_MAX = 2 * DAY
"""Seconds by which it may be earlier: reports have the time of their day or week."""

PATIENCE = 60
"""Seconds of running after which a clock is believed that nothing confirms or contradicts."""

NOTE_EVERY = 3600
"""Seconds between two notes in the file while nothing changes."""


@dataclass(slots=True)
class Belief:
    """What to think of the clock, given what the file remembers. Pure."""

    notes: ClockNotes
    believes: bool = False
    _since: float | None = None

    def look(self, now: int, monotonic: float, newest: int | None) -> None:
        """Note the time `now` (Unix seconds), that of a clock which never goes back, and the newest
        day with a report (since 1970-01-01), if there is one."""
        ran = 0.0 if self._since is None else monotonic - self._since
        self._since = monotonic
        notes = self.notes
        known = [notes.believed, (newest or 0) * DAY]
        if any(time and _near(now, time) for time in known):
            self.believes, self.notes = True, ClockNotes(now, now, 0)
            return
        before = notes.doubted if _near(now, notes.looked) else 0
        doubted = before + round(ran)
        self.believes = doubted >= PATIENCE
        self.notes = (
            ClockNotes(now, now, 0) if self.believes else ClockNotes(notes.believed, now, doubted)
        )

    def line(self, newest: int | None) -> str:
        """Return what the operator should know of a clock that is doubted, else an empty text."""
        if self.believes or not self.notes.looked or newest is None:
            return ""
        says = datetime.fromtimestamp(self.notes.looked, UTC)
        of = datetime.fromtimestamp(newest * DAY, UTC)
        return (
            f"clock: it says {says:%Y-%m-%d}, but the newest report is of {of:%Y-%m-%d}; retention "
            "deletes nothing in the first minute, in which NTP or peers may correct it"
        )


def _near(now: int, time: int) -> bool:
    return -BEHIND_MAX <= now - time <= AHEAD_MAX


class ClockBelief:
    """The belief in `clock`, which is kept in the file of `store`. Only one thread at a time may
    call `allows`. `steady`: seconds for which the aggregator must have run, so that peers can
    contradict its clock first."""

    def __init__(self, store: Store, clock: Clock, steady: float) -> None:
        self._store = store
        self._clock = clock
        self._steady = steady
        self._began = clock.monotonic()
        with store.reading() as con:
            self._kept = read_notes(con)
        self._belief = Belief(self._kept)
        self.line = ""
        """What the operator should know, or an empty text."""

    def believes(self) -> bool:
        """Tell whether the clock was believed when it was last looked at."""
        return self._belief.believes

    def allows(self, now: int) -> bool:
        """Look at the clock, which says `now`, and tell whether retention may delete by it. Raises
        StoreError."""
        monotonic = self._clock.monotonic()
        with self._store.reading() as con:
            newest = newest_day(con)
        self._belief.look(now, monotonic, newest)
        self.line = self._belief.line(newest)
        self._keep(self._belief.notes)
        return self._belief.believes and monotonic - self._began >= self._steady

    def _keep(self, notes: ClockNotes) -> None:
        """Write the notes down, unless nothing of importance has changed."""
        old = self._kept
        same = (notes.believed == notes.looked) == (old.believed == old.looked)
        if not same or abs(notes.looked - old.looked) >= NOTE_EVERY:
            with self._store.writing() as con:
                write_notes(con, notes)
            self._kept = notes

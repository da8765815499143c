"""Stores when the next visit to an entry is, so that it survives a restart of the publisher."""

from __future__ import annotations

from typing import NamedTuple

from methrics.node.outbox.due_times import NEXT_VISIT
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.rows import VISIT_MAX

_FAILURES = "visit_failures"


class VisitTime(NamedTuple):
    """The time of the next visit (Unix seconds), and how many before it failed in a row."""

    next: int
    failures: int = 0


class VisitTimes:
    """The time of the next visit in a journal's file. Every method raises StoreError as the journal
    does."""

    def __init__(self, journal: Journal) -> None:
        self._database = journal.database

    def load(self, now: int) -> VisitTime | None:
        """Returns the time of the next visit, None if none was drawn yet. A time that was drawn
        while the clock was ahead is replaced by `now` (Unix seconds)."""
        rows = self._database.rows(
            "SELECT name, value FROM meta WHERE name IN (?, ?)", (NEXT_VISIT, _FAILURES)
        )
        found = {str(name): int(value) for name, value in rows}
        if NEXT_VISIT not in found:
            return None
        after = found[NEXT_VISIT] if found[NEXT_VISIT] <= now + VISIT_MAX else now
        return VisitTime(after, found.get(_FAILURES, 0))

    def save(self, time: VisitTime) -> None:
        """Replaces the stored time."""
        with self._database.transaction() as con:
            con.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(NEXT_VISIT, time.next), (_FAILURES, time.failures)],
            )

    def clear(self) -> None:
        """Forgets the time, because no visit may happen."""
        if self._database.rows("SELECT 1 FROM meta WHERE name = ?", (NEXT_VISIT,)):
            self._database.execute("DELETE FROM meta WHERE name IN (?, ?)", (NEXT_VISIT, _FAILURES))

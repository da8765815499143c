"""The app's side of the outbox: cheap and durable appends, with limits on size and age.

An `Outbox` is one SQLite file for each user and app. The app appends rows to `event`, adds to sums
in `counter`, and replaces rows of `state` (one for each period, see `flags.period`). The publisher
makes reports of these rows (`methrics.node.outbox.journal.Journal`). Times are rounded before they
are stored. `due` is the earliest moment at which a row may become a report. Every method raises
StoreError, with a stable code, and no other exception.
"""

from __future__ import annotations

import os

from methrics.node.clock import Clock
from methrics.node.outbox.database import Database
from methrics.node.outbox.rows import CLOCK_SLACK, ERASURE_MAX, PACE_MAX, POSTPONED_MAX
from methrics.schema.wire.limits import LATE_DEFAULT

SIZE_MAX = 16 * 1024 * 1024
"""Bytes of an app's outbox. ROWS_MAX pending events and RECEIPTS_MAX receipts (`journal`), each
with an erasure, take about 11 MiB, so receipts cannot use up the space for new events."""

AGE_MAX = LATE_DEFAULT
"""Seconds after which an event of which no report was made is dropped: receivers would refuse its
report as late."""

ROWS_MAX = 10_000
"""Most pending events, so that a publisher that starts after weeks has a limited amount of work."""

PATIENCE = 0.1
"""Seconds for which an append waits for other writers. They lock the file for tens of microseconds,
unless the system suspends one meanwhile. After a wait that failed, the next calls wait for a much
shorter time."""

TRIM_EVERY = 256
"""Appends between two checks of the limits. The first append of a process checks them too."""

# Most events need neither `one_in` nor `steps`, and each column takes half a microsecond.
_PLAIN = "INSERT INTO event (catalog, type, time, due, fields) VALUES (?,?,?,?,?)"
_EVENT = (
    "INSERT INTO event (catalog, type, time, due, one_in, fields, steps) VALUES (?,?,?,?,?,?,?)"
)
_COUNTER = (
    "INSERT INTO counter (catalog, type, time, due, one_in, fields, count) VALUES (?,?,?,?,?,?,?) "
    "ON CONFLICT (type, time, fields, catalog, one_in) DO UPDATE SET count = count + excluded.count"
)
# The earlier due time stays, so that a state that is recorded all the time still becomes a report.
_STATE = (
    "INSERT INTO state (catalog, type, period, time, due, one_in, fields, n) "
    "VALUES (?,?,?,?,?,?,?,1) ON CONFLICT (type, period) DO UPDATE SET catalog = excluded.catalog, "
    "time = excluded.time, due = min(due, excluded.due), one_in = excluded.one_in, "
    "fields = excluded.fields, n = n + 1"
)
_DROP = (
    "INSERT INTO dropped (reason, count) VALUES (?, ?) "
    "ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count"
)


REPORT_DUE = f"CASE WHEN due > ?1 + {POSTPONED_MAX} THEN time ELSE max(due, time) END"
ERASURE_DUE = f"CASE WHEN due > ?1 + {ERASURE_MAX} OR made > ?1 + {CLOCK_SLACK} THEN 0 ELSE due END"
PACE_NEXT = (
    f"CASE WHEN p.last > ?1 + {CLOCK_SLACK} OR p.next > ?1 + {PACE_MAX} THEN 0 "
    "ELSE coalesce(p.next, 0) END"
)
"""SQL expressions for when a report, an erasure or the next report of a type is due. ?1: now. A
time that was stored while the clock was ahead is not waited for. A report is not due before its own
time: no receiver would accept it."""


class Outbox:
    """The outbox at `path`. The file is opened, and made if missing, at the first call."""

    def __init__(
        self,
        path: str,
        *,
        clock: Clock | None = None,
        size_max: int = SIZE_MAX,
        rows_max: int = ROWS_MAX,
        age_max: int = AGE_MAX,
        patience: float = PATIENCE,
        durable: bool = False,
    ) -> None:
        self.path = path
        self.clock = clock or Clock()
        self.database = Database(
            path, patience=patience, durable=durable, size_max=size_max, clock=self.clock
        )
        self._rows_max = rows_max
        self._age_max = age_max
        self._until_trim = 0
        self._full = False
        self._trimmed = False

    def exists(self) -> bool:
        """Returns whether the file exists. Does not make it."""
        return os.path.exists(self.path)

    def keep_catalog(self, catalog_id: bytes, raw: bytes) -> int:
        """Stores the signed catalog that rows refer to. Returns its number (`catalog_number`)."""
        number = catalog_number(catalog_id)
        self.database.execute(
            "INSERT OR IGNORE INTO catalog (n, id, raw) VALUES (?, ?, ?)", (number, catalog_id, raw)
        )
        return number

    def append(
        self,
        catalog: int,
        type_name: str,
        time: int,
        due: int,
        fields: bytes,
        one_in: int = 1,
        steps: bytes | None = None,
    ) -> bool:
        """Stores one event. `fields` and `steps`: CBOR. Returns False, with nothing stored, if the
        outbox is full."""
        if self._until_trim <= 0:
            self.look_at_bounds()
        if self._full:
            self._until_trim -= 1
            return False
        if one_in == 1 and steps is None:
            self.database.execute(_PLAIN, (catalog, type_name, time, due, fields))
        else:
            self.database.execute(_EVENT, (catalog, type_name, time, due, one_in, fields, steps))
        self._until_trim -= 1
        return True

    def add(
        self,
        catalog: int,
        type_name: str,
        window: int,
        due: int,
        fields: bytes,
        n: int,
        one_in: int = 1,
    ) -> None:
        """Adds `n` to the sum for these fields in the window that begins at `window` (Unix
        seconds)."""
        self.database.execute(_COUNTER, (catalog, type_name, window, due, one_in, fields, n))

    def set_state(
        self,
        catalog: int,
        type_name: str,
        time: int,
        due: int,
        fields: bytes,
        one_in: int = 1,
        period: int = 0,
    ) -> None:
        """Replaces the state of a type in this period (`flags.period`). The first `due` stays until
        a report is made."""
        if self._until_trim <= 0:
            self.look_at_bounds()
        self.database.execute(_STATE, (catalog, type_name, period, time, due, one_in, fields))
        self._until_trim -= 1

    def drop(self, reason: str, n: int = 1) -> None:
        """Adds `n` to the number of events that were lost for `reason`."""
        self.database.execute(_DROP, (reason, n))

    def dropped(self) -> dict[str, int]:
        """Returns how many events were lost since this outbox was made, by reason."""
        return dict(self.database.rows("SELECT reason, count FROM dropped ORDER BY reason"))

    def next_due(self) -> int | None:
        """Returns the earliest time at which a report can be made, or a report or erasure can be
        sent (Unix seconds); None if nothing is pending. Times that were stored while the clock
        was ahead do not count."""
        found = self.database.rows(
            f"SELECT min(due) FROM (SELECT min({REPORT_DUE}) AS due FROM report "
            f"WHERE state = 'due' UNION ALL SELECT min({ERASURE_DUE}) FROM erasure "
            f"WHERE state = 'due' UNION ALL SELECT min(max(w.due, {PACE_NEXT})) FROM ("
            "SELECT type, min(due) AS due FROM event GROUP BY type "
            "UNION ALL SELECT type, min(due) FROM counter GROUP BY type "
            # The columns beside a minimum are those of its row (sqlite.org/lang_select.html).
            "UNION ALL SELECT type, due FROM (SELECT type, min(period), due FROM state "
            "GROUP BY type)) w LEFT JOIN pace p USING (type))",
            (self.clock.now(),),
        )
        due: int | None = found[0][0]
        return due

    def check(self) -> None:
        """Finds out whether the file was removed or replaced. If so, the next call opens the file
        that is there then."""
        self.database.check()

    def close(self) -> None:
        """Closes the file. The next call opens it again."""
        self.database.close()

    def look_at_bounds(self) -> None:
        """Drops rows that are too old and finds out whether the outbox is full."""
        self._until_trim = TRIM_EVERY
        oldest = self.clock.now() - self._age_max
        # Rows are numbered in order of arrival: the first and the last suffice, without a scan.
        first = self.database.rows("SELECT n, time FROM event ORDER BY n LIMIT 1")
        last = self.database.rows("SELECT max(n) FROM event")[0][0] or 0
        if not self._trimmed or (first and first[0][1] < oldest):
            self._trim(oldest)
            self._trimmed = True
        self._full = False
        if first and last - first[0][0] + 1 >= self._rows_max:
            waiting = self.database.rows("SELECT count(*) FROM event")[0][0]
            self._full = waiting >= self._rows_max

    def _trim(self, oldest: int) -> None:
        with self.database.transaction() as con:
            lost = con.execute("DELETE FROM event WHERE time < ?", (oldest,)).rowcount
            lost += con.execute("DELETE FROM counter WHERE time < ?", (oldest,)).rowcount
            # Period 0 holds the latest state, which stays true. States of past days go out of date.
            lost += con.execute(
                "DELETE FROM state WHERE period > 0 AND time < ?", (oldest,)
            ).rowcount
            if lost:
                con.execute(_DROP, ("too-old", lost))


def catalog_number(catalog_id: bytes) -> int:
    """Returns the number that rows store in place of a 32-byte catalog id: its first 48 bits.

    The number is the same in every file, so rows that are written while a damaged file is replaced
    still refer to the right catalog."""
    return int.from_bytes(catalog_id[:6], "big")

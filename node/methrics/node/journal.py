"""The publisher's side of the outbox: what waits, what was made of it, what became of it.

A report is journaled before it is sent: its exact bytes, the index that derives its key, the
flags it used up and the removal of what it was made from are one durable transaction (KPI-7,
MIM-4). Whatever happens after that, the same bytes are sent again, never a second report.

    pending(now) -> rows -> [make reports] -> journal(...) -> due(now) -> [send] -> mark(...)
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from methrics.node.clock import Clock
from methrics.node.outbox import SIZE_MAX, Outbox
from methrics.schema.errors import StoreError

PATIENCE = 5.0
"""Seconds the publisher waits for the app's writes: it has time, the app has not."""

RECEIPTS_MAX = 20_000
"""Receipts kept, the newest first; a heartbeat a day fills this in 54 years."""

WEEK = 7 * 86_400
EPOCH_WEEK_SHIFT = 3 * 86_400
"""1970-01-01 was a Thursday; ISO weeks begin on Monday."""

DUE, SENT, ACKNOWLEDGED, STRUCK = "due", "sent", "acknowledged", "struck"
"""States of a report: to be sent; handed over; taken by a relay or peer; not to be sent (again)."""


class Pending(NamedTuple):
    """One waiting row. `table` is event, counter or state; `total` stands in counters only."""

    table: str
    n: int
    catalog: int
    type: str
    time: int
    due: int
    one_in: int
    fields: bytes
    steps: bytes | None
    total: int | None


class Made(NamedTuple):
    """A report that was made, not yet journaled. `key_index` derives its key; sent at `due`."""

    key_index: int
    id: bytes
    raw: bytes
    catalog: int
    type: str
    time: int
    made: int
    due: int
    route: str


class Receipt(NamedTuple):
    """A journaled report: what the node keeps of each report it released."""

    key_index: int
    id: bytes
    raw: bytes
    catalog: int
    type: str
    time: int
    made: int
    due: int
    route: str
    state: str
    attempts: int


class Pace(NamedTuple):
    """Per type: the time of the last report made, and the earliest moment for the next one."""

    type: str
    last: int
    next: int


_REPORT = "idx, id, raw, catalog, type, time, made, due, route, state, attempts"
_PENDING = """
SELECT w.* FROM (
  SELECT 'event' AS source, n, catalog, type, time, due, one_in, fields, steps, NULL FROM event
  UNION ALL
  SELECT 'counter', n, catalog, type, time, due, one_in, fields, NULL, count FROM counter
  UNION ALL
  SELECT 'state', n, catalog, type, time, due, one_in, fields, NULL, NULL FROM state
) w LEFT JOIN pace p USING (type)
WHERE w.due <= ?1 AND coalesce(p.next, 0) <= ?1 ORDER BY w.due LIMIT ?2
"""


class Journal(Outbox):
    """The same file, opened by the publisher and the tools: each commit survives a power cut."""

    def __init__(
        self, path: str, *, clock: Clock | None = None, patience: float = PATIENCE
    ) -> None:
        # Twice the app's size: making room by sending must work when the app's half is full.
        super().__init__(path, clock=clock, patience=patience, durable=True, size_max=2 * SIZE_MAX)

    def pending(self, now: int, limit: int = 1000) -> list[Pending]:
        """Rows that may become reports at `now`, oldest first: their own due time has come and
        so has the type's `Pace.next`. Rows past the age limit are dropped and counted first."""
        self._look_at_bounds()
        return [Pending(*row) for row in self.database.rows(_PENDING, (now, limit))]

    def catalogs(self) -> dict[int, bytes]:
        """Signed catalogs, raw, by the number that rows and receipts hold."""
        return dict(self.database.rows("SELECT n, raw FROM catalog"))

    def paces(self) -> dict[str, Pace]:
        """What flags and pacing need to know of each type that was ever reported."""
        rows = self.database.rows("SELECT type, last, next FROM pace")
        return {row[0]: Pace(*row) for row in rows}

    def identity(self, now: int) -> tuple[bytes, int, int]:
        """(seed of 32 bytes, next index, time at which the ISO week of the installation began).

        Made on first use, that is after consent. Only the week of the first use is kept (MARS-7).
        """
        with self.database.transaction() as con:
            found = dict(con.execute("SELECT name, value FROM meta"))
            if "seed" not in found:
                found = {
                    "next_index": 0,
                    **found,
                    "seed": os.urandom(32),
                    "install_week": week_start(now),
                }
                con.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", found.items())
        return found["seed"], found["next_index"], found["install_week"]

    def journal(
        self, made: Sequence[Made], consumed: Iterable[Pending], paces: Iterable[Pace]
    ) -> None:
        """One durable transaction, to be done before anything is sent: keeps the reports, removes
        the rows they were made from, moves flags, pacing and the next key index on.

        Raises StoreError `journal-conflict`, with nothing changed, if a consumed event has gone
        (consent withdrawn, another publisher) or an index is not above all that were used.
        """
        with self.database.transaction() as con:
            next_index = _next_index(con)
            for report in sorted(made):
                if report.key_index < next_index:
                    raise _conflict(self.path, f"key index {report.key_index} was used before")
                next_index = report.key_index + 1
            con.executemany(
                f"INSERT INTO report ({_REPORT}) VALUES (?,?,?,?,?,?,?,?,?,'due',0)", made
            )
            con.execute("INSERT OR REPLACE INTO meta VALUES ('next_index', ?)", (next_index,))
            for row in consumed:
                if not _consume(con, row):
                    raise _conflict(self.path, f"a waiting {row.type} has gone")
            con.executemany("INSERT OR REPLACE INTO pace VALUES (?, ?, ?)", paces)

    def due(self, now: int, limit: int = 1000) -> list[Receipt]:
        """Journaled reports to be sent at `now`, oldest first."""
        rows = self.database.rows(
            f"SELECT {_REPORT} FROM report WHERE state = 'due' AND due <= ? ORDER BY due LIMIT ?",
            (now, limit),
        )
        return [Receipt(*row) for row in rows]

    def mark(self, indices: Iterable[int], state: str, route: str | None = None) -> None:
        """Sets what became of reports, and by which route. `state`: sent, acknowledged, struck."""
        with self.database.transaction() as con:
            con.executemany(
                "UPDATE report SET state = ?, route = coalesce(?, route), "
                "attempts = attempts + (state = 'due') WHERE idx = ?",
                [(state, route, index) for index in indices],
            )
            con.execute(
                "DELETE FROM report WHERE state != 'due' AND idx <= "
                "(SELECT max(idx) FROM report) - ?",
                (RECEIPTS_MAX,),
            )

    def attempt(self, indices: Iterable[int]) -> None:
        """Counts an attempt, before it is made: from here on the network may have the report."""
        with self.database.transaction() as con:
            con.executemany(
                "UPDATE report SET attempts = attempts + 1 WHERE idx = ?",
                [(index,) for index in indices],
            )

    def postpone(self, indices: Iterable[int], due: int) -> None:
        """Puts reports that could not be handed over back to `due`; counts no attempt."""
        with self.database.transaction() as con:
            con.executemany(
                "UPDATE report SET due = ? WHERE idx = ? AND state = 'due'",
                [(due, index) for index in indices],
            )

    def receipts(
        self, *, type_name: str | None = None, state: str | None = None, limit: int = -1
    ) -> list[Receipt]:
        """What was released or is about to be, newest first."""
        rows = self.database.rows(
            f"SELECT {_REPORT} FROM report WHERE (?1 IS NULL OR type = ?1) "
            "AND (?2 IS NULL OR state = ?2) ORDER BY idx DESC LIMIT ?3",
            (type_name, state, limit),
        )
        return [Receipt(*row) for row in rows]

    def purge(self, type_name: str | None = None) -> int:
        """Consent was withdrawn, for one type or for all: forgets what waits and what was never
        tried; what may have left stays as a receipt, struck, so that it can be erased. Returns
        how many rows were forgotten."""
        chosen = (type_name,)
        with self.database.transaction() as con:
            gone = 0
            for table in ("event", "counter", "state"):
                gone += con.execute(
                    f"DELETE FROM {table} WHERE ?1 IS NULL OR type = ?1", chosen
                ).rowcount
            gone += con.execute(
                "DELETE FROM report WHERE (?1 IS NULL OR type = ?1) "
                "AND state = 'due' AND attempts = 0",
                chosen,
            ).rowcount
            con.execute(
                "UPDATE report SET state = 'struck' "
                "WHERE (?1 IS NULL OR type = ?1) AND state = 'due'",
                chosen,
            )
        return gone

    def reset(self) -> None:
        """Forgets who this was: seed, install week, flags, pacing, receipts (MARS-7).

        The next use makes a new identity. Reports released before can no longer be erased.
        """
        with self.database.transaction() as con:
            con.execute("DELETE FROM meta")
            con.execute("DELETE FROM pace")
            con.execute("DELETE FROM report")


def week_start(now: int) -> int:
    """The Monday 00:00 UTC of the ISO week of `now`, in seconds."""
    return now - (now + EPOCH_WEEK_SHIFT) % WEEK


def _next_index(con: sqlite3.Connection) -> int:
    found = con.execute("SELECT value FROM meta WHERE name = 'next_index'").fetchone()
    return int(found[0]) if found else 0


def _consume(con: sqlite3.Connection, row: Pending) -> bool:
    if row.table == "event":
        done = con.execute("DELETE FROM event WHERE n = ? AND due = ?", (row.n, row.due))
        return done.rowcount == 1
    if row.table == "counter":
        # Only what was read: the app may have counted on since.
        done = con.execute(
            "UPDATE counter SET count = count - ? WHERE n = ? AND fields = ?",
            (row.total, row.n, row.fields),
        )
        con.execute("DELETE FROM counter WHERE n = ? AND count <= 0", (row.n,))
        return done.rowcount == 1
    # A state recorded since it was read stays, for the next time. One that has gone was withdrawn.
    if not con.execute("SELECT 1 FROM state WHERE type = ?", (row.type,)).fetchone():
        return False
    con.execute(
        "DELETE FROM state WHERE type = ? AND n = ? AND time = ?", (row.type, row.n, row.time)
    )
    return True


def _conflict(path: str, what: str) -> StoreError:
    return StoreError("journal-conflict", f"{path}: {what}", "read what is pending again")

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
from methrics.node.outbox.outbox import SIZE_MAX, Outbox
from methrics.schema.errors import StoreError

PATIENCE = 5.0
"""Seconds the publisher waits for the app's writes: it has time, the app has not."""

RECEIPTS_MAX = 10_000
"""Receipts kept, the newest first; a heartbeat a day fills this in 27 years."""

WEEK = 7 * 86_400
EPOCH_WEEK_SHIFT = 3 * 86_400
"""1970-01-01 was a Thursday; ISO weeks begin on Monday."""

DUE, SENT, ACKNOWLEDGED, STRUCK = "due", "sent", "acknowledged", "struck"
"""States of a report: to be sent; handed over; taken by a relay or peer; not to be sent (again)."""


class Pending(NamedTuple):
    """One waiting row. `table` is event, counter or state; `total` stands in counters only,
    `period` (see `flags.period`) in states."""

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
    period: int = 0


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
    """What is kept per type between two reports, times in unix seconds.

    `last`: that of the last report (0: none yet). `next`: the earliest moment for the next one.
    Types with milestones besides: `first_day`, when the day of the first report began, and once no
    milestone is ahead instead `first_week`, when its ISO week began.
    """

    type: str
    last: int
    next: int
    first_day: int | None = None
    first_week: int | None = None


class Snapshot(NamedTuple):
    """All that is to leave as of one moment. `due`: journaled reports, whenever they are due.
    `waiting`: rows that no report was made of yet. `seed` and `install_week` are None before the
    first report. `erasures`: when journaled erasures are due."""

    due: list[Receipt]
    waiting: list[Pending]
    paces: dict[str, Pace]
    seed: bytes | None
    next_index: int
    install_week: int | None
    erasures: list[int]


_REPORT = "idx, id, raw, catalog, type, time, made, due, route, state, attempts"
_WAITING = """
  SELECT 'event' AS source, n, catalog, type, time, due, one_in, fields, steps, NULL, 0 FROM event
  UNION ALL
  SELECT 'counter', n, catalog, type, time, due, one_in, fields, NULL, count, 0 FROM counter
  UNION ALL
  SELECT 'state', n, catalog, type, time, max(due) OVER (PARTITION BY type ORDER BY period),
  one_in, fields, NULL, NULL, period FROM state
"""
"""A state waits for those of earlier periods, or their flags would be told by the wrong one."""
_PACES = "SELECT type, last, next, first_day, first_week FROM pace"
_PENDING = f"""
SELECT w.* FROM ({_WAITING}) w LEFT JOIN pace p USING (type)
WHERE w.due <= ?1 AND coalesce(p.next, 0) <= ?1 ORDER BY w.due, w.time LIMIT ?2
"""


class Journal(Outbox):
    """The same file, opened by the publisher and the tools: each commit survives a power cut."""

    def __init__(
        self, path: str, *, clock: Clock | None = None, patience: float = PATIENCE
    ) -> None:
        # Twice the app's size: making room by sending must work when the app's half is full.
        super().__init__(path, clock=clock, patience=patience, durable=True, size_max=2 * SIZE_MAX)
        self._edits: int | None = None

    def pending(self, now: int, limit: int = 1000) -> list[Pending]:
        """Rows that may become reports at `now`, oldest first: their own due time has come and
        so has the type's `Pace.next`. Rows past the age limit are dropped and counted first."""
        self._look_at_bounds()
        with self.database.transaction(write=False) as con:
            self._edits = _number(con, "edits")
            return [Pending(*row) for row in con.execute(_PENDING, (now, limit))]

    def snapshot(self) -> Snapshot:
        """What is to leave, read in one moment; changes nothing."""
        with self.database.transaction(write=False) as con:
            due = con.execute(f"SELECT {_REPORT} FROM report WHERE state = 'due' ORDER BY due, idx")
            receipts = [Receipt(*row) for row in due]
            waiting = [Pending(*row) for row in con.execute(_WAITING)]
            paces = {row[0]: Pace(*row) for row in con.execute(_PACES)}
            meta = dict(con.execute("SELECT name, value FROM meta"))
            erasures = con.execute("SELECT due FROM erasure WHERE state = 'due' ORDER BY due")
            return Snapshot(
                receipts,
                waiting,
                paces,
                meta.get("seed"),
                meta.get("next_index", 0),
                meta.get("install_week"),
                [row[0] for row in erasures],
            )

    def catalogs(self) -> dict[int, bytes]:
        """Signed catalogs, raw, by the number that rows and receipts hold."""
        return dict(self.database.rows("SELECT n, raw FROM catalog"))

    def paces(self) -> dict[str, Pace]:
        """What flags and pacing need to know of each type that was ever reported."""
        return {row[0]: Pace(*row) for row in self.database.rows(_PACES)}

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
        (consent withdrawn, another publisher), if the person struck, erased or reset anything since
        `pending` was read, or if an index is not above all that were used.
        """
        with self.database.transaction() as con:
            if self._edits not in (None, _number(con, "edits")):
                raise _conflict(self.path, "what waits was changed")
            next_index = _number(con, "next_index")
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
            con.executemany("INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?)", paces)

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

    def attempt(self, indices: Iterable[int]) -> set[int]:
        """Counts an attempt, before it is made: from here on the network may have the report.

        Returns those that may be sent: what was struck or erased since it was read may not.
        """
        with self.database.transaction() as con:
            return {
                index
                for index in indices
                if con.execute(
                    "UPDATE report SET attempts = attempts + 1 WHERE idx = ? AND state = 'due'",
                    (index,),
                ).rowcount
            }

    def strike(self, index: int) -> Receipt | None:
        """Never sends report `index` again; the receipt as it was, or None if it is not due (any
        more). One with attempts may have left before."""
        with self.database.transaction() as con:
            found = con.execute(
                f"SELECT {_REPORT} FROM report WHERE idx = ? AND state = 'due'", (index,)
            ).fetchone()
            if found is None:
                return None
            con.execute("UPDATE report SET state = 'struck' WHERE idx = ?", (index,))
            return Receipt(*found)

    def strike_row(self, row: Pending) -> bool:
        """Removes a waiting row: it never becomes a report. False if it has gone or, for a state,
        was recorded anew."""
        # The number of an event may be used again; when a state is due may follow from another.
        own, value = ("period", row.period) if row.table == "state" else ("due", row.due)
        with self.database.transaction() as con:
            gone = con.execute(
                f"DELETE FROM {row.table} WHERE type = ? AND n = ? AND {own} = ? AND fields = ?",
                (row.type, row.n, value, row.fields),
            ).rowcount
            note_edit(con)
        return gone > 0

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
            note_edit(con)
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


def week_start(now: int) -> int:
    """The Monday 00:00 UTC of the ISO week of `now`, in seconds."""
    return now - (now + EPOCH_WEEK_SHIFT) % WEEK


def note_edit(con: sqlite3.Connection) -> None:
    """To be called in each transaction by which a person changes what is to leave: a publisher
    that read it before must read it again (see `Journal.journal`)."""
    con.execute(
        "INSERT INTO meta VALUES ('edits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )


def _number(con: sqlite3.Connection, name: str) -> int:
    found = con.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
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
    mine = (row.type, row.period)
    if not con.execute("SELECT 1 FROM state WHERE type = ? AND period = ?", mine).fetchone():
        return False
    con.execute(
        "DELETE FROM state WHERE type = ? AND period = ? AND n = ? AND time = ?",
        (*mine, row.n, row.time),
    )
    return True


def _conflict(path: str, what: str) -> StoreError:
    return StoreError("journal-conflict", f"{path}: {what}", "read what is pending again")

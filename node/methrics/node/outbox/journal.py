"""The publisher's side of the outbox: the rows that wait, their reports, and the state of each.

A report is journaled before it is sent. One durable transaction stores its exact bytes and the
index and salt of its key, updates the times of its type (`Pace`), and removes the rows that the
report was made from (KPI-7, MIM-4). If the machine stops after that, the same bytes are sent again;
a second report of the same rows is never made.

    pending(now) -> rows -> [make reports] -> journal(...) -> due(now) -> [send] -> mark(...)
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter

from methrics.node.clock import Clock
from methrics.node.outbox.outbox import PACE_NEXT, REPORT_DUE, SIZE_MAX, Outbox
from methrics.node.outbox.rows import (
    NEVER_LEFT,
    Identity,
    Pace,
    Pending,
    PendingRows,
    Receipt,
    Snapshot,
    from_row,
)
from methrics.schema.errors import StoreError

PATIENCE = 5.0
"""Seconds for which the publisher waits for the app's writes. An app must not wait so long."""

RECEIPTS_MAX = 10_000
"""Receipts that are kept; the oldest are deleted. One report a day makes that many in 27 years."""

WEEK = 7 * 86_400
EPOCH_WEEK_SHIFT = 3 * 86_400
"""1970-01-01 was a Thursday; ISO weeks begin on Monday."""

_RECEIPT = (
    "key_index", "salt", "id", "raw", "catalog", "type", "time", "made", "due", "route", "state",
    "attempts",
)  # fmt: skip
_REPORT = "idx, salt, id, raw, catalog, type, time, made, due, route, state, attempts"
_KEPT = attrgetter(*_RECEIPT[:-2])
_ROW = (
    "table", "n", "catalog", "type", "time", "due", "one_in", "fields", "steps", "total", "period",
)  # fmt: skip
_WAITING = """
  SELECT 'event' AS source, n, catalog, type, time, due, one_in, fields, steps, NULL, 0 FROM event
  UNION ALL
  SELECT 'counter', n, catalog, type, time, due, one_in, fields, NULL, count, 0 FROM counter
  UNION ALL
  SELECT 'state', n, catalog, type, time, max(due) OVER (PARTITION BY type ORDER BY period),
  one_in, fields, NULL, NULL, period FROM state
"""
"""A state is not due before the states of earlier periods. Otherwise its report would get the flags
that belong to theirs."""
_PACE = ("type", "last", "next", "first_day", "first_week")
_PACES = f"SELECT {', '.join(_PACE)} FROM pace"
_SAVED = attrgetter(*_PACE)
_PENDING = f"""
SELECT w.* FROM ({_WAITING}) w LEFT JOIN pace p USING (type)
WHERE w.due <= ?1 AND {PACE_NEXT} <= ?1 ORDER BY w.due, w.time LIMIT ?2
"""


class Journal:
    """The outbox file at `path`, opened by the publisher and the tools. Each commit is durable.

    `outbox` is the app's side of the same file, over the same connection. Every method raises
    StoreError, with a stable code, and nothing else.
    """

    def __init__(
        self, path: str, *, clock: Clock | None = None, patience: float = PATIENCE
    ) -> None:
        # Twice the app's size: a publisher must be able to make reports when the app's part is
        # full.
        self.outbox = Outbox(
            path, clock=clock, patience=patience, durable=True, size_max=2 * SIZE_MAX
        )
        self.path = path
        self.database = self.outbox.database

    def exists(self) -> bool:
        """Returns whether the file exists. Does not make it."""
        return self.outbox.exists()

    def close(self) -> None:
        """Closes the file. The next call opens it again."""
        self.outbox.close()

    def drop(self, reason: str, n: int = 1) -> None:
        """Adds `n` to the number of rows and reports that were lost for `reason`."""
        self.outbox.drop(reason, n)

    def next_due(self) -> int | None:
        """See `Outbox.next_due`."""
        return self.outbox.next_due()

    def pending(self, now: int, limit: int = 1000) -> PendingRows:
        """Returns the rows that may become reports at `now`, oldest first: those whose own due time
        and whose type's `Pace.next` are not later than `now`. First drops and counts the rows that
        are past the age limit."""
        self.outbox.look_at_bounds()
        with self.database.transaction(write=False) as con:
            token = _number(con, "edits")
            return PendingRows(rows=_pending(con.execute(_PENDING, (now, limit))), token=token)

    def snapshot(self) -> Snapshot:
        """Reads all unsent reports, waiting rows and due erasures in one transaction. Changes
        nothing."""
        with self.database.transaction(write=False) as con:
            due = con.execute(f"SELECT {_REPORT} FROM report WHERE state = 'due' ORDER BY due, idx")
            erasures = con.execute("SELECT due FROM erasure WHERE state = 'due' ORDER BY due")
            meta = dict(con.execute("SELECT name, value FROM meta"))
            return Snapshot(
                due=_receipts(due),
                waiting=_pending(con.execute(_WAITING)),
                paces=_paces(con.execute(_PACES)),
                seed=meta.get("seed"),
                next_index=meta.get("next_index", 0),
                install_week=meta.get("install_week"),
                erasures=[row[0] for row in erasures],
            )

    def catalogs(self) -> dict[int, bytes]:
        """Returns the bytes of the signed catalogs, by their `catalog_number`."""
        return dict(self.database.rows("SELECT n, raw FROM catalog"))

    def paces(self) -> dict[str, Pace]:
        """Returns the pace of each type of which a report was ever made, by the type's name."""
        return _paces(self.database.rows(_PACES))

    def identity(self, now: int) -> Identity:
        """Returns the secret of this installation. The first call, which is after consent, makes
        it.

        Of the time of the first call, only the ISO week is stored (MARS-7).
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
        return Identity(
            seed=found["seed"],
            next_index=found["next_index"],
            install_week=found["install_week"],
        )

    def journal(
        self,
        made: Sequence[Receipt],
        consumed: Iterable[Pending],
        paces: Iterable[Pace],
        *,
        token: int,
    ) -> None:
        """Stores reports before they are sent. One durable transaction stores the reports, removes
        the rows that they were made from, and updates the paces and the next key index.

        `token` is that of `pending`. Raises StoreError `journal-conflict`, with nothing changed, if
        a consumed row is gone (consent was withdrawn, or another publisher consumed it), if the
        person struck, erased or reset anything since `pending` returned `token`, or if a key index
        was used before.
        """
        with self.database.transaction() as con:
            if token != _number(con, "edits"):
                raise _conflict(self.path, "a person changed what waits")
            next_index = _number(con, "next_index")
            for report in sorted(made, key=attrgetter("key_index")):
                if report.key_index < next_index:
                    raise _conflict(self.path, f"key index {report.key_index} was used before")
                next_index = report.key_index + 1
            con.executemany(
                f"INSERT INTO report ({_REPORT}) VALUES (?,?,?,?,?,?,?,?,?,?,'due',0)",
                map(_KEPT, made),
            )
            con.execute("INSERT OR REPLACE INTO meta VALUES ('next_index', ?)", (next_index,))
            for row in consumed:
                if not _consume(con, row):
                    raise _conflict(self.path, f"a waiting {row.type} is gone")
            con.executemany(
                "INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?)", map(_SAVED, paces)
            )

    def due(self, now: int, limit: int = 1000) -> list[Receipt]:
        """Returns the journaled reports that are due at `now`, oldest first. A report whose own
        time is later than `now` is not due."""
        return _receipts(
            self.database.rows(
                f"SELECT {_REPORT} FROM report WHERE state = 'due' AND {REPORT_DUE} <= ?1 "
                "ORDER BY due LIMIT ?2",
                (now, limit),
            )
        )

    def mark(self, indices: Iterable[int], state: str, route: str | None = None) -> None:
        """Sets the state of reports, acknowledged or struck, and the route by which they were sent.
        Then deletes the oldest receipts above RECEIPTS_MAX."""
        with self.database.transaction() as con:
            con.executemany(
                "UPDATE report SET state = ?, route = coalesce(?, route) WHERE idx = ?",
                [(state, route, index) for index in indices],
            )
            con.execute(
                "DELETE FROM report WHERE state != 'due' AND idx <= "
                "(SELECT max(idx) FROM report) - ?",
                (RECEIPTS_MAX,),
            )

    def attempt(self, indices: Iterable[int], *, counted: bool = True) -> set[int]:
        """Counts an attempt to send each report, immediately before its bytes leave: from then on,
        others may have the report. `counted` is False for a further relay of the same attempt.

        Returns the indices of the reports that may be sent. Reports that were struck or erased
        since they were read are not among them.
        """
        with self.database.transaction() as con:
            return {
                index
                for index in indices
                if con.execute(
                    "UPDATE report SET attempts = attempts + ? WHERE idx = ? AND state = 'due'",
                    (counted, index),
                ).rowcount
            }

    def strike(self, index: int) -> Receipt | None:
        """Strikes the report with key index `index`, so that it is not sent, or not sent again.
        Returns the receipt as it was before, or None if the report was not due."""
        with self.database.transaction() as con:
            found = con.execute(
                f"SELECT {_REPORT} FROM report WHERE idx = ? AND state = 'due'", (index,)
            ).fetchone()
            if found is None:
                return None
            con.execute("UPDATE report SET state = 'struck' WHERE idx = ?", (index,))
            return from_row(Receipt, _RECEIPT, found)

    def strike_row(self, row: Pending) -> bool:
        """Removes a waiting row, so that it never becomes a report. Returns False if the row is
        gone or, for a state, was recorded again since it was read."""
        # SQLite may use the number of an event again; `due` of a state may be that of another one.
        own, value = ("period", row.period) if row.table == "state" else ("due", row.due)
        with self.database.transaction() as con:
            gone = con.execute(
                f"DELETE FROM {row.table} WHERE type = ? AND n = ? AND {own} = ? AND fields = ?",
                (row.type, row.n, value, row.fields),
            ).rowcount
            note_edit(con)
        return gone > 0

    def postpone(self, indices: Iterable[int], due: int) -> None:
        """Sets a new due time for reports that could not be sent. Does not count an attempt."""
        with self.database.transaction() as con:
            con.executemany(
                "UPDATE report SET due = ? WHERE idx = ? AND state = 'due'",
                [(due, index) for index in indices],
            )

    def receipts(
        self, *, type_name: str | None = None, state: str | None = None, limit: int = -1
    ) -> list[Receipt]:
        """Returns the journaled reports, sent or not, newest first; only those of one type or in
        one state, if given. A negative `limit` means no limit."""
        return _receipts(
            self.database.rows(
                f"SELECT {_REPORT} FROM report WHERE (?1 IS NULL OR type = ?1) "
                "AND (?2 IS NULL OR state = ?2) ORDER BY idx DESC LIMIT ?3",
                (type_name, state, limit),
            )
        )

    def of_seed(self) -> list[Receipt]:
        """Returns the receipts of the reports that were made with the current seed and have left,
        or may still leave, newest first."""
        return _receipts(
            self.database.rows(
                f"SELECT {_REPORT} FROM report "
                "WHERE idx >= (SELECT coalesce(max(below), 0) FROM old_seed) "
                f"AND NOT ({NEVER_LEFT} AND state != 'due') ORDER BY idx DESC"
            )
        )

    def purge(self, type_name: str | None = None) -> int:
        """Applies the withdrawal of consent to one type, or to all types. Deletes the waiting rows,
        and the due reports that cannot have left. Strikes the due reports that may have left; their
        receipts stay, so that the reports can be erased. Returns how many rows were deleted."""
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
                f"AND state = 'due' AND {NEVER_LEFT}",
                chosen,
            ).rowcount
            con.execute(
                "UPDATE report SET state = 'struck' "
                "WHERE (?1 IS NULL OR type = ?1) AND state = 'due'",
                chosen,
            )
        return gone


def week_start(now: int) -> int:
    """Returns the start of the ISO week of `now`: Monday 00:00 UTC, in Unix seconds."""
    return now - (now + EPOCH_WEEK_SHIFT) % WEEK


def note_edit(con: sqlite3.Connection) -> None:
    """Makes earlier tokens of `Journal.pending` invalid. Call this in each transaction by which a
    person deletes or stops rows or reports, so that a publisher reads the pending rows again."""
    con.execute(
        "INSERT INTO meta VALUES ('edits', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
    )


def _receipts(rows: Iterable[Sequence[object]]) -> list[Receipt]:
    return [from_row(Receipt, _RECEIPT, row) for row in rows]


def _pending(rows: Iterable[Sequence[object]]) -> list[Pending]:
    return [from_row(Pending, _ROW, row) for row in rows]


def _paces(rows: Iterable[Sequence[object]]) -> dict[str, Pace]:
    paces = [from_row(Pace, _PACE, row) for row in rows]
    return {pace.type: pace for pace in paces}


def _number(con: sqlite3.Connection, name: str) -> int:
    found = con.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(found[0]) if found else 0


def _consume(con: sqlite3.Connection, row: Pending) -> bool:
    if row.table == "event":
        done = con.execute("DELETE FROM event WHERE n = ? AND due = ?", (row.n, row.due))
        return done.rowcount == 1
    if row.table == "counter":
        # Subtract only the sum that was read, because the app may have added to it since.
        done = con.execute(
            "UPDATE counter SET count = count - ? WHERE n = ? AND fields = ?",
            (row.total, row.n, row.fields),
        )
        con.execute("DELETE FROM counter WHERE n = ? AND count <= 0", (row.n,))
        return done.rowcount == 1
    # A state that was recorded again since it was read stays for the next pass. If there is no
    # state any more, consent was withdrawn.
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

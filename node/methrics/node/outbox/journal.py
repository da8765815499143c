"""The publisher's side of the outbox: the rows that wait, their reports, and the state of each.

A report is journaled before it is sent. One durable transaction stores its exact bytes and the
index and salt of its key, updates the times of its type (`Pace`), and removes the rows that the
report was made from (KPI-7, MIM-4). If the machine stops after that, the same bytes are sent again;
a second report of the same rows is never made.

    pending(now) -> rows -> [make reports] -> journal(...) -> due(now) -> [send] -> mark(...)
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter

from methrics.node.clock import Clock
from methrics.node.outbox.database import Database
from methrics.node.outbox.due_times import NEXT_DUE, PENDING, REPORT_DUE, SETTLED, WAITING
from methrics.node.outbox.edits import note_edit
from methrics.node.outbox.fold import ALL_TYPES, DROPPED, Fold
from methrics.node.outbox.periods import week_start
from methrics.node.outbox.rows import (
    CLOCK_FLOOR,
    INSTALL_SLACK,
    NEVER_LEFT,
    Identity,
    Pace,
    Pending,
    PendingRows,
    Receipt,
    Snapshot,
    from_row,
)
from methrics.node.spool.folder import spool_folder, write_due
from methrics.node.spool.reader import stored_catalogs
from methrics.node.spool.records import catalog_number
from methrics.schema.errors import StoreError
from methrics.schema.wire.limits import LATE_DEFAULT

PATIENCE = 5.0
"""Seconds for which a call waits for another publisher or command. Apps do not open the file."""

SIZE_MAX = 32 * 1024 * 1024
"""Bytes of the file. ROWS_MAX waiting events and RECEIPTS_MAX receipts, each with an erasure, take
about 11 MiB, so receipts cannot use up the space for new events."""

AGE_MAX = LATE_DEFAULT
"""Seconds after which a row of which no report was made is dropped: receivers would refuse its
report as late."""

ROWS_MAX = 10_000
"""Most waiting events; further ones stay in the spools. So a publisher that starts after weeks has
a limited amount of work."""

RECEIPTS_MAX = 10_000
"""Receipts that are kept; the oldest are deleted. One report a day makes that many in 27 years."""

_RECEIPT = (
    "key_index", "salt", "id", "raw", "catalog", "type", "time", "made", "due", "route", "state",
    "attempts",
)  # fmt: skip
_REPORT = "idx, salt, id, raw, catalog, type, time, made, due, route, state, attempts"
_KEPT = attrgetter(*_RECEIPT[:-2])
_ROW = (
    "table", "n", "catalog", "type", "time", "due", "one_in", "fields", "steps", "total", "period",
)  # fmt: skip
_TABLES = ("event", "counter", "state")
_PACE = ("type", "last", "next", "first_day", "first_week")
_IDENTITY = ("seed", "next_index", "install_week")
_PACES = f"SELECT {', '.join(_PACE)} FROM pace"
_SAVED = attrgetter(*_PACE)


class Journal:
    """The outbox file at `path`, and the spools beside it, from which its rows come.

    For the publisher and the commands; apps append to spools. Each commit is durable. Methods that
    read rows first take the spools over. Every method raises StoreError, with a stable code, and
    nothing else.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock | None = None,
        patience: float = PATIENCE,
        size_max: int = SIZE_MAX,
        rows_max: int = ROWS_MAX,
    ) -> None:
        self.path = path
        self.clock = clock or Clock()
        self.database = Database(path, patience=patience, size_max=size_max, clock=self.clock)
        self.spools = spool_folder(path)
        self._fold = Fold(self.spools, rows_max=rows_max)
        self._folded = False

    def exists(self) -> bool:
        """Returns whether the file exists. Does not make it."""
        return os.path.exists(self.path)

    def close(self, *, settle: bool = True) -> None:
        """Closes the file. The next call opens it again. With `settle`, first takes the spools over
        and stores when something is due."""
        if settle and self.database.is_open:
            with contextlib.suppress(StoreError, OSError):
                if not self._folded:
                    self.fold()
                now = self.clock.now()
                write_due(self.spools, *self.database.rows(SETTLED, (now,))[0], now=now)
        self._folded = False
        self.database.close()

    def fold(self, discard: Collection[str] | None = ()) -> int:
        """Takes over what the app's processes have recorded. Records of the types in `discard`
        (ALL_TYPES: of all types) are deleted instead; returns how many were."""
        discarded = 0
        self._folded = True
        for names in self._fold.batches():
            with contextlib.ExitStack() as stack:
                with self.database.transaction() as con:
                    taken = self._fold.take(con, names, self.clock.now(), stack, discard)
                gone = self._fold.settle(taken)
            discarded += sum(one.discarded for one in taken)
            if gone:
                with self.database.transaction() as con:
                    self._fold.forget(con, gone)
        return discarded

    def keep_catalog(self, catalog_id: bytes, raw: bytes) -> int:
        """Stores a signed catalog that rows refer to. Returns its number (`catalog_number`)."""
        number = catalog_number(catalog_id)
        self.database.execute(
            "INSERT OR IGNORE INTO catalog (n, id, raw) VALUES (?, ?, ?)", (number, catalog_id, raw)
        )
        return number

    def drop(self, reason: str, n: int = 1) -> None:
        """Adds `n` to the number of rows and reports that were lost for `reason`."""
        self.database.execute(DROPPED, (reason, n))

    def dropped(self) -> dict[str, int]:
        """Returns how many rows and reports were lost since this outbox was made, by reason."""
        return dict(self.database.rows("SELECT reason, count FROM dropped ORDER BY reason"))

    def next_due(self) -> int | None:
        """Returns the earliest time at which a report can be made, or a report or erasure can be
        sent (Unix seconds); None if nothing is pending. Times that were stored while the clock
        was ahead do not count."""
        self.fold()
        found = self.database.rows(NEXT_DUE, (self.clock.now(),))
        due: int | None = found[0][0]
        return due

    def pending(self, now: int, limit: int = 1000) -> PendingRows:
        """Returns the rows that may become reports at `now`, oldest first: those whose own due time
        and whose type's `Pace.next` are not later than `now`. First drops and counts the rows that
        are past the age limit."""
        self.fold()
        self._trim(self.clock.now() - AGE_MAX)
        with self.database.transaction(write=False) as con:
            token = _number(con, "edits")
            return PendingRows(rows=_pending(con.execute(PENDING, (now, limit))), token=token)

    def snapshot(self) -> Snapshot:
        """Reads all unsent reports, waiting rows and due erasures in one transaction."""
        self.fold()
        with self.database.transaction(write=False) as con:
            due = con.execute(f"SELECT {_REPORT} FROM report WHERE state = 'due' ORDER BY due, idx")
            erasures = con.execute("SELECT due FROM erasure WHERE state = 'due' ORDER BY due")
            meta = dict(con.execute("SELECT name, value FROM meta"))
            return Snapshot(
                due=_receipts(due),
                waiting=_pending(con.execute(WAITING)),
                paces=_paces(con.execute(_PACES)),
                seed=meta.get("seed"),
                next_index=meta.get("next_index", 0),
                install_week=meta.get("install_week"),
                erasures=[row[0] for row in erasures],
            )

    def catalogs(self) -> dict[int, bytes]:
        """Returns the bytes of the signed catalogs, also of those in the spools, by number."""
        found = dict(self.database.rows("SELECT n, raw FROM catalog"))
        return {**stored_catalogs(self.spools, without=found), **found}

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
            elif CLOCK_FLOOR <= now < found["install_week"] - INSTALL_SLACK:
                week = week_start(now)  # the clock was ahead at the first call
                con.execute("UPDATE meta SET value = ? WHERE name = 'install_week'", (week,))
                found["install_week"] = week
        return from_row(Identity, _IDENTITY, [found[name] for name in _IDENTITY])

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
        gone = self.forget_waiting(type_name)
        with self.database.transaction() as con:
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

    def forget_waiting(self, type_name: str | None = None) -> int:
        """Deletes what was recorded of one type, or of all types, and of which no report was made
        yet, in the file and in all spools. Returns how many rows were deleted."""
        gone = self.fold(ALL_TYPES if type_name is None else (type_name,))
        with self.database.transaction() as con:
            note_edit(con)
            for table in _TABLES:
                sql = f"DELETE FROM {table} WHERE ?1 IS NULL OR type = ?1"
                gone += con.execute(sql, (type_name,)).rowcount
        return gone

    def count_waiting(self, type_name: str | None = None) -> int:
        """Returns how many recorded rows `forget_waiting` would delete."""
        self.fold()
        return sum(
            self.database.rows(
                f"SELECT count(*) FROM {table} WHERE ?1 IS NULL OR type = ?1", (type_name,)
            )[0][0]
            for table in _TABLES
        )

    def _trim(self, oldest: int) -> None:
        with self.database.transaction() as con:
            # Period 0 holds the latest state, which stays true. States of past days go out of date.
            lost = sum(
                con.execute(f"DELETE FROM {rows} time < ?", (oldest,)).rowcount
                for rows in ("event WHERE", "counter WHERE", "state WHERE period > 0 AND")
            )
            if lost:
                con.execute(DROPPED, ("too-old", lost))


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

"""Takes the spools of an app over into its SQLite file, each record exactly once.

One transaction stores the rows and how far each spool was read: the offset in its event file, and
the number that was read from each slot. Whoever is killed before the commit has changed nothing;
after it, the same records are skipped. Files of processes that have ended are deleted afterwards.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from methrics.node.outbox.periods import period
from methrics.node.spool.folder import FIRST
from methrics.node.spool.reader import Contents, OpenSpool, SlotFound, names_here, read_catalog
from methrics.node.spool.records import COUNT, Recorded, catalog_number
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError, StoreError

AT_ONCE = 100
"""Spools that are taken over in one transaction, so that few files are open at once."""

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
DROPPED = (
    "INSERT INTO dropped (reason, count) VALUES (?, ?) "
    "ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count"
)
"""Adds to the number of rows and reports that were lost for a reason."""

ALL_TYPES = None
"""As `discard`: the records of all types."""


@dataclass(slots=True)
class _Taken:
    """One spool in a transaction: from and to which offset its events were taken over, the slots
    that were, and the offsets of those to overwrite. `discarded`: how many records were left out.
    `done`: nothing is left in it."""

    spool: OpenSpool
    start: int = 0
    end: int = 0
    slots: dict[int, SlotFound] = field(default_factory=dict)
    cleared: list[int] = field(default_factory=list)
    discarded: int = 0
    done: bool = False


_State = tuple[tuple[int, int, int], Recorded, bytes]
"""(order, record, fields). `order`: times are rounded, so it goes by time, then by when the spool
last changed, then by place. The last state stays."""


class Fold:
    """Folds the spools in `folder` into the SQLite file of one app.

    `rows_max`: most waiting events; further ones stay in the spools. A fold loads each catalog only
    once in the life of this object.
    """

    def __init__(self, folder: str, *, rows_max: int) -> None:
        self.folder = folder
        self._rows_max = rows_max
        self._catalogs: dict[int, Catalog | None] = {}

    def batches(self) -> Iterator[list[str]]:
        """Yields the names of the spools, at most AT_ONCE at a time. Raises StoreError."""
        names = names_here(self.folder)
        for first in range(0, len(names), AT_ONCE):
            yield names[first : first + AT_ONCE]

    def take(
        self,
        con: sqlite3.Connection,
        names: list[str],
        now: int,
        stack: contextlib.ExitStack,
        discard: Collection[str] | None = (),
    ) -> list[_Taken]:
        """Stores the records of the spools `names`, in the caller's transaction. Records of the
        types in `discard` (ALL_TYPES: of all types) are left out, and overwritten by `settle`.

        The spools stay open, and locked if abandoned, until `stack` is closed.
        """
        free: float = self._rows_max - _count(con, "SELECT count(*) FROM event")
        if discard is None or discard:
            free = float("inf")
        taken: list[_Taken] = []
        states: list[_State] = []
        damaged = 0
        for name in names:
            try:
                spool = stack.enter_context(OpenSpool(self.folder, name, now))
            except StoreError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue  # another reader has deleted it
                raise
            start = _count(con, "SELECT offset FROM spool WHERE name = ?", name)
            contents = spool.read(start)
            one = _Taken(spool)
            # Who was killed after a commit has left frames that were taken over before.
            one.start = len(FIRST) if discard is None or discard else contents.start
            kept = self._events(con, contents, one, free, discard)
            free -= kept
            states += self._slots(con, name, contents, one, discard)
            damaged += contents.damaged if one.done else 0
            if one.end != start:
                con.execute(
                    "INSERT OR REPLACE INTO spool (name, offset) VALUES (?, ?)", (name, one.end)
                )
            taken.append(one)
        for _, record, fields in sorted(states, key=itemgetter(0)):
            self._set_state(con, record, fields)
        if damaged:
            con.execute(DROPPED, ("damaged", damaged))
        return taken

    def settle(self, taken: list[_Taken]) -> list[str]:
        """Removes from the spools what the committed transaction has stored. Returns the names of
        the spools that were deleted."""
        gone = []
        for one in taken:
            if one.done and one.spool.abandoned:
                one.spool.delete()
                gone.append(one.spool.name)
                continue
            one.spool.clear_events(one.start, one.end)
            one.spool.settle_slots(one.slots, one.cleared)
        return gone

    def forget(self, con: sqlite3.Connection, names: list[str]) -> None:
        """Deletes what was stored about deleted spools, in the caller's transaction."""
        con.executemany("DELETE FROM spool WHERE name = ?", [(name,) for name in names])
        con.executemany("DELETE FROM slot WHERE spool = ?", [(name,) for name in names])

    def _events(
        self,
        con: sqlite3.Connection,
        contents: Contents,
        one: _Taken,
        free: float,
        discard: Collection[str] | None,
    ) -> int:
        kept = 0
        one.end = contents.start
        for end, record in contents.events:
            if kept >= free:
                return kept
            one.end = end
            if discard is None or record.type in discard:
                one.discarded += 1
                continue
            self._keep_catalog(con, record.catalog)
            kept += 1
            con.execute(
                _EVENT,
                (
                    record.catalog,
                    record.type,
                    record.time,
                    record.due,
                    record.one_in,
                    record.fields,
                    record.steps,
                ),
            )
        one.end, one.done = contents.end, contents.whole
        return kept

    def _slots(
        self,
        con: sqlite3.Connection,
        name: str,
        contents: Contents,
        one: _Taken,
        discard: Collection[str] | None,
    ) -> list[_State]:
        """Adds the sums of one spool, and returns its states."""
        states = []
        for slot in contents.slots:
            record = slot.record
            if discard is None or record.type in discard:
                one.slots[slot.at] = slot
                one.cleared.append(slot.at)
                one.discarded += slot.number is not None and slot.number > slot.taken
                continue
            if slot.number is None:
                # A running process is writing it now, or writes it again.
                contents.damaged += one.spool.abandoned
                continue
            before = max(
                slot.taken,
                _count(con, "SELECT taken FROM slot WHERE spool = ? AND at = ?", name, slot.at),
            )
            if slot.number <= before:
                continue
            self._keep_catalog(con, record.catalog)
            if record.kind == COUNT:
                _add(con, record, slot.number - before)
            else:
                order = record.time, contents.changed, slot.at
                states.append((order, record, slot.fields))
            con.execute(
                "INSERT OR REPLACE INTO slot (spool, at, taken) VALUES (?, ?, ?)",
                (name, slot.at, slot.number),
            )
            one.slots[slot.at] = slot
        return states

    def _set_state(self, con: sqlite3.Connection, record: Recorded, fields: bytes) -> None:
        catalog = self._catalogs.get(record.catalog)
        event_type = catalog.types.get(record.type) if catalog is not None else None
        number = period(event_type, record.time) if event_type is not None else 0
        con.execute(
            _STATE,
            (
                record.catalog,
                record.type,
                number,
                record.time,
                record.due,
                record.one_in,
                fields,
            ),
        )

    def _keep_catalog(self, con: sqlite3.Connection, number: int) -> None:
        """Stores the catalog that a record refers to, and loads it. A catalog that is missing or
        damaged is left out; then no report is made of the record."""
        if number in self._catalogs:
            return
        found = con.execute("SELECT raw FROM catalog WHERE n = ?", (number,)).fetchone()
        raw = found[0] if found else read_catalog(self.folder, number)
        self._catalogs[number] = None
        if raw is None:
            return
        with contextlib.suppress(CatalogError):
            catalog = load(raw, verify=False)
            if catalog_number(catalog.id) == number:
                self._catalogs[number] = catalog
                con.execute(
                    "INSERT OR IGNORE INTO catalog (n, id, raw) VALUES (?, ?, ?)",
                    (number, catalog.id, raw),
                )


def _add(con: sqlite3.Connection, record: Recorded, n: int) -> None:
    con.execute(
        _COUNTER,
        (
            record.catalog,
            record.type,
            record.time,
            record.due,
            record.one_in,
            record.fields,
            n,
        ),
    )


def _count(con: sqlite3.Connection, sql: str, *values: object) -> int:
    found = con.execute(sql, values).fetchone()
    return int(found[0]) if found and found[0] is not None else 0

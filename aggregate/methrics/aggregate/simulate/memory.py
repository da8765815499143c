"""Implements the spool and journal of one install in memory, as dictionaries instead of files.

Opening ten thousand files would take longer than signing their reports. All decisions stay in the
real code: the recorder appends rows here; the publisher's delivery reads the rows, makes reports of
them and marks them. A test runs both implementations and compares the bytes.

This implementation serves one install in one process, without withdrawal or erasure, so it does not
check for changes by other programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from methrics.node.clock import Clock, Rng
from methrics.node.outbox.journal import AGE_MAX, ROWS_MAX
from methrics.node.outbox.periods import DAY, period, week_start
from methrics.node.outbox.rows import Identity, Pace, Pending, PendingRows, Receipt
from methrics.node.spool.due import event_due
from methrics.node.spool.interface import SpooledType
from methrics.node.spool.spool import LOOK_EVERY
from methrics.schema.errors import StoreError

_Counted = tuple[str, int, bytes, int, int]


class MemoryJournal:
    """One install's spool and journal: an `AppSpool` and a `PublisherJournal`.

    `seed` (32 bytes) is the install's secret, drawn by the caller. Raises StoreError `outbox-full`
    where a spool does.
    """

    def __init__(self, seed: bytes, *, clock: Clock, rng: Rng) -> None:
        self.clock = clock
        self._rng = rng
        self._seed = seed
        self._install_week: int | None = None
        self._next_index = 0
        self._catalogs: dict[int, bytes] = {}
        self._numbers = 0
        self._events: dict[int, Pending] = {}
        self._counters: dict[_Counted, Pending] = {}
        self._states: dict[tuple[str, int], Pending] = {}
        self.look_at = -1.0
        self._slots: dict[object, int] = {}
        """The due times that were drawn for the slots of the process."""
        self._paces: dict[str, Pace] = {}
        self._waiting: dict[int, Receipt] = {}
        self._dropped: Counter[str] = Counter()
        self.too_old: list[Pending] = []
        """The rows that were dropped before a publisher read them."""
        self.unmade: list[Pending] = []
        """The rows of which the publisher made no report."""

    def keep_catalog(self, catalog: int, raw: bytes) -> None:
        """See `Spool.keep_catalog`."""
        self._catalogs[catalog] = raw

    def event(
        self, kind: SpooledType, time: int, start: int, fields: bytes, steps: bytes = b""
    ) -> None:
        """See `Spool.event`."""
        if len(self._events) >= ROWS_MAX:
            raise StoreError("outbox-full", "the outbox in memory is full")
        n = self._number()
        self._events[n] = Pending(
            table="event",
            n=n,
            catalog=kind.catalog,
            type=kind.event_type.name,
            time=time,
            due=event_due(kind.event_type.release, start, self._rng),
            one_in=kind.one_in,
            fields=fields,
            steps=steps or None,
        )

    def count(self, kind: SpooledType, window: int, end: int, fields: bytes, n: int) -> None:
        """See `Spool.count`."""
        key = (kind.event_type.name, window, fields, kind.catalog, kind.one_in)
        due = self._slot_due(kind, key, end)
        known = self._counters.get(key)
        if known is not None:
            self._counters[key] = replace(known, total=(known.total or 0) + n)
            return
        self._counters[key] = Pending(
            table="counter",
            n=self._number(),
            catalog=kind.catalog,
            type=kind.event_type.name,
            time=window,
            due=due,
            one_in=kind.one_in,
            fields=fields,
            total=n,
        )

    def state(self, kind: SpooledType, time: int, start: int, fields: bytes) -> None:
        """See `Spool.state`."""
        event_type = kind.event_type
        key = (event_type.name, period(event_type, time))
        known = self._states.get(key)
        due, n = self._slot_due(kind, (*key, time, kind.catalog, kind.one_in), start), 1
        if known is not None:
            due, n = min(known.due, due), known.n + 1
        self._states[key] = Pending(
            table="state",
            n=n,
            catalog=kind.catalog,
            type=event_type.name,
            time=time,
            due=due,
            one_in=kind.one_in,
            fields=fields,
            period=key[1],
        )

    def look(self, monotonic: float) -> None:
        """See `Spool.look`. There are no files to check."""
        self.look_at = monotonic + LOOK_EVERY

    def tell_due(self) -> None:
        """Nothing to store: `next_due` knows."""

    def leave(self) -> None:
        """Ends a process: the next one draws due times anew for its slots, as with files."""
        self._slots.clear()

    def _slot_due(self, kind: SpooledType, key: object, start: int) -> int:
        due = self._slots.get(key)
        if due is None:
            due = self._slots[key] = event_due(kind.event_type.release, start, self._rng)
        return due

    def drop(self, reason: str, n: int = 1) -> None:
        """See `Journal.drop`."""
        self._dropped[reason] += n

    def dropped(self) -> dict[str, int]:
        """See `Journal.dropped`."""
        return dict(self._dropped)

    def next_due(self) -> int | None:
        """See `Journal.next_due`."""
        best = min([receipt.due for receipt in self._waiting.values()], default=None)
        paces = self._paces
        for rows in (self._events.values(), self._counters.values(), self._first_states()):
            for row in rows:
                pace = paces.get(row.type)
                due = row.due if pace is None or pace.next < row.due else pace.next
                if best is None or due < best:
                    best = due
        return best

    def _first_states(self) -> Iterable[Pending]:
        """The state of the earliest period of each type."""
        if len(self._states) < 2:
            return self._states.values()
        first: dict[str, Pending] = {}
        for row in self._states.values():
            known = first.get(row.type)
            if known is None or row.period < known.period:
                first[row.type] = row
        return first.values()

    def pending(self, now: int, limit: int = 1000) -> PendingRows:
        """See `Journal.pending`."""
        self._trim(now - AGE_MAX)
        paces = self._paces
        found = [
            row if due == row.due else replace(row, due=due)
            for due, row in self._with_due()
            if due <= now and ((pace := paces.get(row.type)) is None or pace.next <= now)
        ]
        found.sort(key=_when)
        return PendingRows(rows=found[:limit], token=0)

    def catalogs(self) -> dict[int, bytes]:
        """See `Journal.catalogs`."""
        return self._catalogs

    def paces(self) -> dict[str, Pace]:
        """See `Journal.paces`."""
        return self._paces

    def identity(self, now: int) -> Identity:
        """See `Journal.identity`; the seed is the one given."""
        if self._install_week is None:
            self._install_week = week_start(now)
        return Identity(
            seed=self._seed, next_index=self._next_index, install_week=self._install_week
        )

    def journal(
        self,
        made: Sequence[Receipt],
        consumed: Iterable[Pending],
        paces: Iterable[Pace],
        *,
        token: int,
    ) -> None:
        """See `Journal.journal`. No person changes what waits, so any `token` is valid."""
        for one in made:
            self._next_index = one.key_index + 1
            self._waiting[one.key_index] = one
        consumed = list(consumed)
        if len(consumed) > len(made):
            reported = Counter((one.type, one.time // DAY) for one in made)
            for row in consumed:
                if reported[row.type, row.time // DAY]:
                    reported[row.type, row.time // DAY] -= 1
                else:
                    self.unmade.append(row)
        for row in consumed:
            self._remove(row)
        for pace in paces:
            self._paces[pace.type] = pace

    def due(self, now: int, limit: int = 1000) -> list[Receipt]:
        """See `Journal.due`."""
        found = [receipt for receipt in self._waiting.values() if receipt.due <= now]
        found.sort(key=_receipt_due)
        return found[:limit]

    def mark(self, indices: Iterable[int], state: str, route: str | None = None) -> None:
        """See `Journal.mark`. Receipts of finished reports are not kept: none is erased."""
        for index in indices:
            del self._waiting[index]

    def attempt(self, indices: Iterable[int], *, counted: bool = True) -> set[int]:
        """See `Journal.attempt`."""
        found = set(indices)
        for index in found:
            receipt = self._waiting[index]
            self._waiting[index] = replace(receipt, attempts=receipt.attempts + counted)
        return found

    def purge(self, type_name: str | None = None) -> int:
        """See `Journal.purge`. Consent is never withdrawn here, so nothing is deleted."""
        return 0

    def postpone(self, indices: Iterable[int], due: int) -> None:
        """See `Journal.postpone`."""
        for index in indices:
            self._waiting[index] = replace(self._waiting[index], due=due)

    def receipt(self, index: int) -> Receipt:
        """Return a report in the journal that is not finished."""
        return self._waiting[index]

    def waiting(self) -> list[Pending]:
        """Return the rows of which no report was made yet."""
        return [row if due == row.due else replace(row, due=due) for due, row in self._with_due()]

    def untaken(self) -> list[Receipt]:
        """Return the reports that no relay has accepted so far."""
        return list(self._waiting.values())

    def _with_due(self) -> list[tuple[int, Pending]]:
        """The pending rows and when they are due. A state is due after the states of earlier
        periods (`journal._WAITING`)."""
        found = [(row.due, row) for row in self._events.values()]
        found += [(row.due, row) for row in self._counters.values()]
        latest: dict[str, int] = {}
        for key in sorted(self._states):
            row = self._states[key]
            due = latest[row.type] = max(row.due, latest.get(row.type, row.due))
            found.append((due, row))
        return found

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _trim(self, oldest: int) -> None:
        gone = [row for row in self._events.values() if row.time < oldest]
        gone += [row for row in self._counters.values() if row.time < oldest]
        gone += [row for row in self._states.values() if row.period > 0 and row.time < oldest]
        for row in gone:
            self._remove(row)
            self.drop("too-old")
        self.too_old += gone

    def _remove(self, row: Pending) -> None:
        if row.table == "event":
            del self._events[row.n]
        elif row.table == "counter":
            del self._counters[row.type, row.time, row.fields, row.catalog, row.one_in]
        else:
            del self._states[row.type, row.period]


def _when(row: Pending) -> tuple[int, int]:
    return row.due, row.time


def _receipt_due(receipt: Receipt) -> int:
    return receipt.due

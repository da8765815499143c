"""Implements the outbox and journal of one install in memory, as dictionaries instead of SQLite.

Opening ten thousand files would take longer than signing their reports. All decisions stay in the
real code: the recorder and its writer append rows here; the publisher's delivery reads the rows,
makes reports of them and marks them. A test runs both implementations and compares the bytes.

This implementation serves one install in one process, without withdrawal or erasure, so it does not
check for changes by other programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from methrics.node.clock import Clock
from methrics.node.outbox.journal import week_start
from methrics.node.outbox.outbox import AGE_MAX, ROWS_MAX, catalog_number
from methrics.node.outbox.rows import Identity, Pace, Pending, PendingRows, Receipt
from methrics.node.report.flags import DAY

_Counted = tuple[str, int, bytes, int, int]


class _NeverReplaced:
    """Stands for the SQLite file, whose generation the recorder's writer looks at."""

    generation = 0


class MemoryJournal:
    """One install's outbox and journal: an `AppOutbox` and a `PublisherJournal`.

    `seed` (32 bytes) is the install's secret, drawn by the caller.
    """

    def __init__(self, seed: bytes, *, clock: Clock) -> None:
        self.path = ":memory:"
        self.clock = clock
        self.database = _NeverReplaced()
        self._seed = seed
        self._install_week: int | None = None
        self._next_index = 0
        self._catalogs: dict[int, bytes] = {}
        self._numbers = 0
        self._events: dict[int, Pending] = {}
        self._counters: dict[_Counted, Pending] = {}
        self._states: dict[tuple[str, int], Pending] = {}
        self._paces: dict[str, Pace] = {}
        self._waiting: dict[int, Receipt] = {}
        self._dropped: Counter[str] = Counter()
        self.too_old: list[Pending] = []
        """The rows that were dropped before a publisher read them."""
        self.unmade: list[Pending] = []
        """The rows of which the publisher made no report."""

    def keep_catalog(self, catalog_id: bytes, raw: bytes) -> int:
        """See `Outbox.keep_catalog`."""
        number = catalog_number(catalog_id)
        self._catalogs[number] = raw
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
        """See `Outbox.append`."""
        if len(self._events) >= ROWS_MAX:
            return False
        n = self._number()
        self._events[n] = Pending(
            table="event",
            n=n,
            catalog=catalog,
            type=type_name,
            time=time,
            due=due,
            one_in=one_in,
            fields=fields,
            steps=steps,
        )
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
        """See `Outbox.add`."""
        key = (type_name, window, fields, catalog, one_in)
        known = self._counters.get(key)
        if known is not None:
            self._counters[key] = replace(known, total=(known.total or 0) + n)
            return
        number = self._number()
        self._counters[key] = Pending(
            table="counter",
            n=number,
            catalog=catalog,
            type=type_name,
            time=window,
            due=due,
            one_in=one_in,
            fields=fields,
            total=n,
        )

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
        """See `Outbox.set_state`."""
        known = self._states.get((type_name, period))
        n = 1
        if known is not None:
            due, n = min(known.due, due), known.n + 1
        self._states[type_name, period] = Pending(
            table="state",
            n=n,
            catalog=catalog,
            type=type_name,
            time=time,
            due=due,
            one_in=one_in,
            fields=fields,
            period=period,
        )

    def drop(self, reason: str, n: int = 1) -> None:
        """See `Outbox.drop`."""
        self._dropped[reason] += n

    def dropped(self) -> dict[str, int]:
        """See `Outbox.dropped`."""
        return dict(self._dropped)

    def next_due(self) -> int | None:
        """See `Outbox.next_due`."""
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

    def check(self) -> None:
        """Nothing to check: a dictionary cannot be deleted."""

    def close(self) -> None:
        """Nothing to close."""

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

"""The sets of a store: what retention keeps of one namespace in one snapshot of the file."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.reconcile.answer import OpenedSet, SetBusy
from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.item_set import Stored
from methrics.aggregate.reconcile.part_digests import PartDigests
from methrics.aggregate.reconcile.wire import ID_SIZE, DaySum, Node, Which
from methrics.aggregate.store.digest import id_bytes
from methrics.aggregate.store.duck import Connection, moment, translated_errors
from methrics.aggregate.store.retention import longest
from methrics.aggregate.store.shard_sql import within
from methrics.aggregate.store.store import Store
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.manifest import erasures_digest, reports_digest
from methrics.schema.wire.shard import Shard

IDS_KEPT = 1_000_000
"""Ids that a session keeps sorted in memory: 40 MB. One day is kept, however large."""

WINDOW = 16_384
"""Rows that are read at once for pages: about 4 MB."""

_CATALOGS = "SELECT n, id FROM catalog WHERE key = ?"
_RETENTION = "SELECT catalog, type, retention FROM declaration"
_DAY_OF = "date_diff('day', DATE '1970-01-01', {}::DATE)"


class DuckSet:
    """An `ItemSet` over `con`, a snapshot of `store`, by the retention of the day `as_of`: the
    items of `shard`, a part of what the store has. `parts` remembers digests of such parts."""

    def __init__(
        self,
        store: Store,
        con: Connection,
        key: bytes,
        as_of: int,
        shard: Shard | None = None,
        parts: PartDigests | None = None,
    ) -> None:
        self._shard = shard or store.shard
        self._parts = parts or PartDigests()
        self._store = store
        self._con = con
        self._key = key
        self._as_of = as_of
        self.scanned = 0
        self._catalogs: dict[int, bytes] = dict(self._rows(_CATALOGS, [key]))
        self._firsts = {
            (catalog, of): max(0, as_of - retention)
            for catalog, of, retention in self._rows(
                "SELECT catalog, type, retention FROM declaration"
            )
            if catalog in self._catalogs
        }
        self._days: dict[Which, list[DaySum]] = {}
        self._indexes: OrderedDict[tuple[Which, int], IdIndex] = OrderedDict()
        self._window: tuple[Which, Node, list[tuple[Any, ...]], bool] | None = None

    def days(self, which: Which) -> list[DaySum]:
        """Return the days with items, ascending."""
        if which not in self._days:
            found = self._report_days() if which is Which.REPORTS else self._erasure_days()
            self._days[which] = [one for one in found if one.count]
        return self._days[which]

    def index(self, which: Which, day: int) -> IdIndex:
        """Return the ids of one day, from memory if it was asked for lately."""
        return self._index(which, day) if self._has(which, day) else IdIndex(b"")

    def _index(self, which: Which, day: int) -> IdIndex:
        found = self._indexes.get((which, day))
        if found is None:
            found = IdIndex(self._ids(f"SELECT id FROM {self._span(which, day, day)}"))
            self._indexes[which, day] = found
            self.scanned += len(found)
        self._indexes.move_to_end((which, day))
        while len(self._indexes) > 1 and sum(map(len, self._indexes.values())) > IDS_KEPT:
            self._indexes.popitem(last=False)
        return found

    def items(self, which: Which, wanted: Mapping[int, Iterable[bytes]]) -> list[Stored]:
        """Return the items with these ids, by day."""
        wanted = {day: ids for day, ids in wanted.items() if self._has(which, day)}
        if not wanted:
            return []
        pairs = [(day, one) for day, ids in wanted.items() for one in ids]
        self._count(which, min(wanted), max(wanted))
        columns = pa.table(
            {
                "day": pa.array([day for day, _ in pairs], pa.int32()),
                "id": pa.array([one for _, one in pairs], pa.binary()),
            }
        )
        self._con.register("wanted", columns)
        found = self._rows(
            f"SELECT x.catalog, x.raw FROM {self._span(which, min(wanted), max(wanted))} x "
            "JOIN (SELECT DISTINCT day, id FROM wanted) w ON w.id = x.id AND w.day = x.day"
        )
        self._con.unregister("wanted")
        return [Stored(self._catalogs[catalog], raw) for catalog, raw in found]

    def page(
        self, which: Which, node: Node, cursor: int, most_bytes: int
    ) -> tuple[list[Stored], int]:
        """Return items below `node` in the order of their numbers, which are the cursors."""
        if not self._has(which, node.day):
            return [], 0
        page: list[Stored] = []
        size = 0
        while rows := self._after(which, node, cursor):
            for n, catalog, raw in rows:
                if size >= most_bytes:
                    return page, cursor
                page.append(Stored(self._catalogs[catalog], raw))
                size += len(raw)
                cursor = n
        return page, 0

    def _after(self, which: Which, node: Node, cursor: int) -> list[tuple[Any, ...]]:
        """Return the next rows after a cursor: the number, catalog and bytes of each."""
        kept = self._window
        if kept is not None and kept[:2] == (which, node):
            left = [row for row in kept[2] if row[0] > cursor]
            begins = not kept[2] or kept[2][0][0] <= cursor
            if left and begins:
                return left
        self._count(which, node.day, node.day)
        below = f"AND starts_with(lower(hex(id)), '{node.prefix}')" if node.prefix else ""
        rows = self._rows(
            f"SELECT n, catalog, raw FROM {self._span(which, node.day, node.day)} "
            f"WHERE n > {int(cursor)} {below} ORDER BY n LIMIT {WINDOW}"
        )
        self._window = which, node, rows, len(rows) < WINDOW
        return rows

    def _span(self, which: Which, first: int, last: int) -> str:
        """Return SQL for the items of some days that are kept: n, catalog, day, id, raw."""
        if which is Which.ERASURES:
            return (
                f"(SELECT t.n, t.catalog, {_DAY_OF.format('t.day')} AS day, t.id, t.raw "
                f"FROM tombstone t JOIN {self._kept_erasures()} ON k.catalog = t.catalog "
                f"WHERE {_DAY_OF.format('t.day')} BETWEEN greatest(k.first, {int(first)}) "
                f"AND {int(last)} AND {self._in_shard('t.report')})"
            )
        items = self._store.items_sql(first, last, con=self._con)
        return (
            f"(SELECT i.n, i.catalog, {_DAY_OF.format('i.time')} AS day, i.id, i.raw "
            f"FROM {items} i JOIN {self._kept_types()} "
            "ON k.catalog = i.catalog AND k.type = i.type AND i.time >= k.first "
            f"WHERE {self._in_shard('i.id')})"
        )

    def _in_shard(self, column: str) -> str:
        """Return SQL for the condition that an id is one of those that are compared."""
        return "true" if self._is_all else within(column, self._shard)

    @property
    def _is_all(self) -> bool:
        """Whether everything in the store is compared."""
        return self._shard == self._store.shard

    def _kept_types(self) -> str:
        """Return SQL for the time from which reports are kept, by catalog and type."""
        rows = [
            f"({catalog}, {of}, {moment(first * DAY)})"
            for (catalog, of), first in self._firsts.items()
        ]
        nothing = f"(NULL::INTEGER, NULL::INTEGER, {moment(0)})"
        return f"(VALUES {', '.join(rows) or nothing}) k(catalog, type, first)"

    def _kept_erasures(self) -> str:
        """Return SQL for the first day whose erasures are kept, by catalog."""
        rows: list[str] = []
        for n, catalog_id in self._catalogs.items():
            catalog = self._store.catalog(catalog_id)
            first = self._as_of - longest(catalog) if catalog is not None else 0
            rows.append(f"({n}, {max(0, first)})")
        return f"(VALUES {', '.join(rows) or '(NULL::INTEGER, 0)'}) k(catalog, first)"

    def _report_days(self) -> list[DaySum]:
        """Return the digests that the store has, except for days of which a part is over."""
        over = self._partly_over()
        kept = self._store.day_digests(con=self._con)
        found = [
            DaySum(one.day, one.count, one.digest)
            if self._is_all
            else self._parts.get(one, self._shard, partial(self._day_sum, one.day))
            for one in kept
            if one.key == self._key and one.day not in over
        ]
        found += [self._day_sum(day) for day in over]
        return sorted(found, key=lambda one: one.day)

    def _day_sum(self, day: int) -> DaySum:
        """Compute the digest of a day from its ids."""
        ids = self._index(Which.REPORTS, day).data
        return DaySum(day, *reports_digest(self._key, day, [ids]))

    def _partly_over(self) -> set[int]:
        """Return the days with reports that are over: retention has yet to delete them."""
        latest = max(self._firsts.values(), default=0)
        if not latest:
            return set()
        items = self._store.items_sql(None, latest - 1, con=self._con)
        rows = self._rows(
            f"SELECT DISTINCT {_DAY_OF.format('i.time')} FROM {items} i "
            f"JOIN {self._kept_types()} ON k.catalog = i.catalog AND k.type = i.type "
            "WHERE i.time < k.first"
        )
        return {day for (day,) in rows}

    def _erasure_days(self) -> list[DaySum]:
        span = self._span(Which.ERASURES, 0, 0xFFFFFFFF)
        with translated_errors(self._store.path):
            table = self._con.sql(f"SELECT day, id FROM {span} ORDER BY day").to_arrow_table()
        days = table.column(0).to_numpy()
        ids = b"".join(map(id_bytes, table.column(1).chunks))
        self.scanned += len(days)
        edges = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
        found = []
        for low, high in pairwise(edges):
            if low == high:
                continue
            index = IdIndex(ids[low * ID_SIZE : high * ID_SIZE])
            day = int(days[low])
            found.append(DaySum(day, *erasures_digest(self._key, day, [index.data])))
        return found

    def _has(self, which: Which, day: int) -> bool:
        """Tell whether the set has items of a day. A day that a peer made up costs no query."""
        days = self.days(which)
        at = bisect_left(days, day, key=lambda one: one.day)
        return at < len(days) and days[at].day == day

    def _count(self, which: Which, first: int, last: int) -> None:
        """Note that the rows of some days are read."""
        self.scanned += sum(one.count for one in self.days(which) if first <= one.day <= last)

    def _rows(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with translated_errors(self._store.path):
            return self._con.execute(sql, list(parameters)).fetchall()

    def _ids(self, sql: str) -> bytes:
        with translated_errors(self._store.path):
            return b"".join(map(id_bytes, self._con.sql(sql).to_arrow_table().column(0).chunks))


def open_duck_set(
    store: Store,
    key: bytes,
    as_of: int,
    newest: Callable[[bytes], bytes],
    shard: Shard | None = None,
    parts: PartDigests | None = None,
) -> OpenedSet:
    """Open a snapshot of `store` for a session. `newest(key)` returns the id of the newest record
    of a namespace key, or nothing. `shard` and `parts`: see `DuckSet`. Close what is returned.
    Raises StoreError, and SetBusy if the file is to be rewritten first."""
    if store.waits_for_readers:
        raise SetBusy
    with ExitStack() as stack:
        con = stack.enter_context(store.reading())
        items = DuckSet(store, con, key, as_of, shard, parts)
        close = stack.pop_all().close
        return OpenedSet(items, newest(key), close, lambda: store.waits_for_readers)
    raise AssertionError("unreachable")

"""Writes the content of one commit into the tables, in the caller's transaction.

The store holds its lock meanwhile. If a method raises, the transaction is rolled back, and what is
kept here in memory may differ from the file: the writer is not to be used again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TypeVar, cast

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.batch import Batch, Committed, Expired, own_of, sort
from methrics.aggregate.store.dictionary_tables import describe
from methrics.aggregate.store.digest_cache import AppDay, DigestCache
from methrics.aggregate.store.duck import Connection, moment
from methrics.aggregate.store.erasable import erasable
from methrics.aggregate.store.erasures import Eraser
from methrics.aggregate.store.marks import Marks
from methrics.aggregate.store.parts import Settled, month_of
from methrics.aggregate.store.records import NEVER, Records
from methrics.aggregate.store.refusals import count_refusals, drop_samples, drop_samples_of
from methrics.aggregate.store.retention import first_kept, longest
from methrics.aggregate.store.rows import DAY, Derived, ItemColumns, derive
from methrics.aggregate.store.shelf import Shelf
from methrics.aggregate.store.stored_layout import read_layout
from methrics.aggregate.store.tables import ROW_BITS, SMALL_BITS, CatalogEntry
from methrics.aggregate.store.waste import Waste
from methrics.schema.catalog.catalog import Catalog, EventType
from methrics.schema.wire.envelope import Item, Kind
from methrics.schema.wire.items import Announcement, Erasure, Report
from methrics.schema.wire.limits import RETENTION_MAX
from methrics.schema.wire.record import Record
from methrics.schema.wire.shard import Shard
from methrics.schema.wire.verdict import Reason

RECEIVED_STEP = 3600
"""Seconds. The time of receipt is rounded to the hour, so that it cannot be matched with the times
in a network log."""

_T = TypeVar("_T", Report, Announcement)


class Writer:
    """The tables of one file, and what a commit must know of them."""

    def __init__(self, con: Connection, path: Path, shard: Shard, turn: int = 0) -> None:
        self._con = con
        self._shard = shard
        self.settled = Settled(con, path)
        self.layout = read_layout(con, shard)
        self.shelf = Shelf(con)
        rows, small = shard.first(ROW_BITS), shard.first(SMALL_BITS)
        self.eraser = Eraser(con, self.layout.entries, self.settled, rows)
        self.records = Records(con, small)
        self._marks = Marks(con)
        self.digests = DigestCache(con, turn)
        self.waste = Waste(con)
        # A deleted row may still be in Parquet: no other row may get its number.
        last = max(one(con, f"SELECT coalesce(max(n), 0) FROM {of}") for of in ("item", "dead"))
        self.next = max(last, self.settled.last, rows) + 1
        """The number of the next item."""
        self._declared = max(small, one(con, "SELECT coalesce(max(n), 0) FROM declaration"))
        in_file = one(con, f"SELECT count(*) FROM item WHERE kind = {int(Kind.REPORT)}")
        self.total = in_file + self.settled.rows()
        """The number of stored reports."""
        self._deleted = 0
        """The number of rows that this commit has deleted so far."""

    def commit(self, batch: Batch) -> Committed:
        """Store `batch`; see `Store.commit`."""
        done = Committed()
        received = batch.now - batch.now % RECEIVED_STEP
        parts = sort(own_of(self._shard, batch.accepted))
        done.duplicates += parts.repeated
        full: list[Item] = []
        for item, catalog in parts.catalogs:
            if catalog.id in self.layout.entries:
                done.duplicates += 1
            elif self._add_catalog(item, catalog, received):
                done.catalogs.append(catalog)
            else:
                full.append(item)
        self._add_records(parts.records, received, done)
        refused = dict(batch.refused)
        kept = self._kept(parts.reports, batch.now, refused)
        self._reports(kept, received, done, full)
        self._announcements(parts.announcements, received, done)
        timely = erasable(parts.erasures, self.shelf, self.records, batch.now, refused)
        self._erasures(timely, received, done, full)
        if full:
            count, sample = refused.get(Reason.QUOTA, (0, full[0].raw))
            refused[Reason.QUOTA] = count + len(full), sample
        done.refused += count_refusals(self._con, batch.now // DAY, refused)
        done.reasons.update({reason: count for reason, (count, _) in refused.items()})
        done.known, _ = refused.get(Reason.DUPLICATE, (0, b""))
        done.total = self.total
        self.waste.add(self._deleted, batch.now)
        self._deleted = 0
        return done

    def _add_catalog(self, item: Item, catalog: Catalog, received: int) -> bool:
        entry = self.layout.add(catalog)
        if entry is None:
            return False
        self._con.execute(
            f"INSERT INTO catalog VALUES (?, ?, ?, ?, ?, ?, {moment(received)}, ?)",
            [entry.n, entry.id, entry.key, entry.label, entry.number, entry.schema, item.raw],
        )
        self.shelf.put(catalog)
        return True

    def _add_records(
        self, records: list[tuple[Item, Record]], received: int, done: Committed
    ) -> None:
        """Store namespace records, and delete the reports that the newest ones revoke."""
        done.records = self.records.add(records, received)
        done.duplicates += len(records) - len(done.records)
        for key in {one.item.key for one in done.records}:
            newest = self.records.newest(key)
            for type_name, revoked in newest.record.revoked.items() if newest else ():
                for table in self.layout.tables_of(key, type_name):
                    days = self.eraser.revoke(table, revoked.time)
                    self._gone(days)
                    done.revoked += days.total()

    def _reports(
        self,
        reports: list[tuple[Item, Report]],
        received: int,
        done: Committed,
        full: list[Item],
    ) -> None:
        if not reports:
            return
        kinds = {(report.catalog, report.type) for _, report in reports}
        reports = self._declare(reports, kinds, full)
        kept = self.eraser.keep_out(reports)
        done.erased += len(reports) - len(kept)
        kept, known = self._unknown(kept)
        done.duplicates += known
        kept = self._unrevoked(kept, kinds, done)
        if not kept:
            return
        entries = self.layout.entries
        items, bodies = zip(*kept, strict=True)
        numbers = [*range(self.next, self.next + len(kept))]
        own = [entries[report.catalog] for report in bodies]
        times = [report.time for report in bodies]
        numbered = list(zip(numbers, own, bodies, strict=True))
        columns = ItemColumns(
            n=numbers,
            kind=[int(Kind.REPORT)] * len(kept),
            catalog=[entry.n for entry in own],
            type=[entry.types[report.type].table.n for _, entry, report in numbered],
            time=times,
            id=[item.id for item in items],
            raw=[item.raw for item in items],
        )
        self._insert_items(columns, received)
        for derived in derive(numbered):
            self.insert_typed(derived)
        self.next += len(kept)
        self.total += len(kept)
        timed = set(zip((entry.key for entry in own), times, strict=True))
        self.digests.touch({(key, time // DAY) for key, time in timed})
        done.reports += len(kept)

    def _kept(
        self,
        reports: list[tuple[Item, Report]],
        now: int,
        refused: dict[Reason, tuple[int, bytes]],
    ) -> list[tuple[Item, Report]]:
        """Return `reports` without those that are over by their retention; counts these in
        `refused`."""
        first = {
            kind: first_kept(self._retention(*kind), now) * DAY
            for kind in {(report.catalog, report.type) for _, report in reports}
        }
        if min((report.time for _, report in reports), default=0) >= max(first.values(), default=0):
            return reports
        kept = [pair for pair in reports if pair[1].time >= first[pair[1].catalog, pair[1].type]]
        if len(kept) < len(reports):
            count, _ = refused.get(Reason.RETENTION, (0, b""))
            refused[Reason.RETENTION] = count + len(reports) - len(kept), b""
        return kept

    def _retention(self, catalog_id: bytes, type_name: str) -> int:
        """Return for how many days the reports of an event type are kept; if the catalog is not in
        the file, for longer than any catalog says."""
        entry = self.layout.entries.get(catalog_id)
        own = entry.types.get(type_name) if entry else None
        if own is not None:
            return own.retention
        catalog = self.shelf.get(catalog_id)
        return catalog.types[type_name].retention_days if catalog else RETENTION_MAX

    def expire(self, now: int, most: int) -> Expired:
        """Delete what is over at `now`, at most `most` reports of each kind; see `Store.expire`."""
        days = self.eraser.expire(self.layout.tables(), now, most)
        self._gone(days)
        oldest = {
            entry.n: first_kept(longest(catalog), now)
            for entry in self.layout.entries.values()
            if entry.n in self.eraser.buried() and (catalog := self.shelf.get(entry.id)) is not None
        }
        done = Expired(
            days.total(), self.eraser.unbury(oldest), drop_samples(self._con, now // DAY)
        )
        self.waste.add(self._deleted + done.tombstones + done.samples, now)
        self._deleted = 0
        return done

    def _declare(
        self, reports: list[tuple[Item, Report]], kinds: set[tuple[bytes, str]], full: list[Item]
    ) -> list[tuple[Item, Report]]:
        """Make the tables that the first report of an event type under a catalog needs: `kinds` are
        those of `reports`.

        Returns the reports that have one; appends the others to `full`.
        """
        entries = self.layout.entries
        first = {
            (catalog, name)
            for catalog, name in kinds
            if catalog not in entries or name not in entries[catalog].types
        }
        if not first:
            return reports
        refused = self.make_tables(sorted(first))
        if not refused:
            return reports
        full += [item for item, one in reports if (one.catalog, one.type) in refused]
        return [pair for pair in reports if (pair[1].catalog, pair[1].type) not in refused]

    def make_tables(self, wanted: Iterable[tuple[bytes, str]]) -> set[tuple[bytes, str]]:
        """Make the tables of event types, given by catalog id and name; return those that the file
        has no room for."""
        declared: list[tuple[CatalogEntry, EventType]] = []
        refused: set[tuple[bytes, str]] = set()
        for catalog_id, type_name in wanted:
            entry = self.layout.entries.get(catalog_id)
            catalog = self.shelf.get(catalog_id) if entry else None
            if entry is None or catalog is None:
                refused.add((catalog_id, type_name))
                continue
            event_type = catalog.types[type_name]
            statements = self.layout.declare(entry, event_type)
            if statements is None:
                refused.add((catalog_id, type_name))
                continue
            for statement in statements:
                self._con.execute(statement)
            declared.append((entry, event_type))
        describe(self._con, declared, self._declared)
        self._declared += len(declared)
        return refused

    def _unrevoked(
        self, reports: list[tuple[Item, Report]], kinds: set[tuple[bytes, str]], done: Committed
    ) -> list[tuple[Item, Report]]:
        """Return `reports` without those revoked by now: the revocation may be newer than the
        judgement. `kinds` are at least those of `reports`."""
        entries = self.layout.entries
        own = {(entries[catalog].key, name) for catalog, name in kinds if catalog in entries}
        since = {kind: self.records.revoked_from(*kind) for kind in own}
        if all(time == NEVER for time in since.values()):
            return reports
        kept = [
            (item, report)
            for item, report in reports
            if report.time < since[entries[report.catalog].key, report.type]
        ]
        done.revoked += len(reports) - len(kept)
        return kept

    def _unknown(self, items: list[tuple[Item, _T]]) -> tuple[list[tuple[Item, _T]], int]:
        """Return the items that are not in the file, and the number of those that are."""
        if not items:
            return items, 0
        times = [body.time for _, body in items]
        incoming = pa.table(
            {
                "i": pa.array(range(len(items)), pa.int32()),
                "time": pa.array(times, pa.timestamp("s")),
                "id": pa.array([item.id for item, _ in items], pa.binary()),
            }
        )
        self._con.register("incoming", incoming)
        found = self._marks.find(min(times), max(times))
        if min(times) < self.settled.end:
            found += self._known_in_parquet({month_of(time // DAY) for time in times})
        self._con.unregister("incoming")
        known = {row[0] for row in found}
        if not known:
            return items, 0
        return [pair for i, pair in enumerate(items) if i not in known], len(known)

    def _known_in_parquet(self, months: Iterable[date]) -> list[tuple[int]]:
        """Return the positions of those rows of `incoming` that settled months have."""
        stored = self.settled.items(months)
        if stored is None:
            return []
        return self._con.execute(
            f"SELECT b.i FROM incoming b JOIN {stored} x ON x.time = b.time AND x.id = b.id "
            "WHERE x.time >= (SELECT min(time) FROM incoming) "
            "AND x.time <= (SELECT max(time) FROM incoming)"
        ).fetchall()

    def _insert_items(self, columns: ItemColumns, received: int) -> None:
        self._con.register("incoming", columns.table())
        self._con.execute(
            f"INSERT INTO item BY NAME SELECT *, {moment(received)} AS received FROM incoming"
        )
        self._marks.add()
        self._con.unregister("incoming")

    def insert_typed(self, derived: Derived) -> None:
        for target, rows in (
            (derived.table.sql, derived.rows),
            (derived.table.steps_sql, derived.steps),
        ):
            if rows is not None and len(rows):
                self._con.register("incoming", rows)
                self._con.execute(f"INSERT INTO {target} BY NAME SELECT * FROM incoming")
                self._con.unregister("incoming")

    def _announcements(
        self, announcements: list[tuple[Item, Announcement]], received: int, done: Committed
    ) -> None:
        new, known = self._unknown(announcements)
        done.duplicates += known
        if not new:
            return
        columns = ItemColumns()
        for n, (item, announcement) in enumerate(new, self.next):
            entry = self.layout.newest(item.key)
            columns.n.append(n)
            columns.kind.append(item.kind)
            columns.catalog.append(entry.n if entry else None)
            columns.type.append(None)
            columns.time.append(announcement.time)
            columns.id.append(item.id)
            columns.raw.append(item.raw)
        self.next += len(new)
        self._insert_items(columns, received)
        done.announcements += len(new)

    def _erasures(
        self,
        erasures: list[tuple[Item, Erasure]],
        received: int,
        done: Committed,
        full: list[Item],
    ) -> None:
        known = [pair for pair in erasures if pair[1].catalog in self.layout.entries]
        full += [item for item, body in erasures if body.catalog not in self.layout.entries]
        if not known:
            return
        outcome = self.eraser.erase(known, self.layout.tables(), received)
        self._deleted += drop_samples_of(self._con, {item.key for item, _ in known})
        self._deleted += outcome.contested
        self._gone(outcome.days)
        done.erased += outcome.days.total()
        done.erasures += outcome.stored
        done.duplicates += outcome.known

    def _gone(self, days: Counter[AppDay]) -> None:
        self.total -= days.total()
        self._deleted += days.total()
        self.digests.touch(days, gone=True)


def one(con: Connection, sql: str, parameters: Sequence[object] = ()) -> int:
    """Return the only value of the first row of a query; 0 without rows."""
    row = con.execute(sql, list(parameters)).fetchone()
    return cast(int, row[0]) if row else 0

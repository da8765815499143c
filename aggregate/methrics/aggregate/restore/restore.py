"""Takes the items of a data set into a file: a backup, or Parquet that somebody has published.

Nothing of the data set is believed except the signed bytes. Each item is judged like one that a
stranger sends, except that reports are not late, and is refused by itself: the others are taken.
What the file has erased or revoked, and what is over by its retention, stays out. Days that the
file has already are skipped, and so are items, so an interrupted call is simply repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.closing.manifests import keep_manifests
from methrics.aggregate.parquet.manifest import File
from methrics.aggregate.parquet.whole import TOMBSTONE
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.restore.judging import THREADS, Judged, begin, catalog_of, verdicts_of
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.digest import digests
from methrics.aggregate.store.duck import moment, translated_errors
from methrics.aggregate.store.parts import ITEM
from methrics.aggregate.store.shard_sql import within
from methrics.aggregate.store.store import Store
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, Refused, Verdict
from methrics.schema.judging.records import RecordBook
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.limits import (
    CATALOG_MAX,
    DAY,
    MANIFEST_MAX,
    NOTICE_MAX,
    RECORD_MAX,
    RETENTION_MAX,
)
from methrics.schema.wire.record import Record
from methrics.schema.wire.verdict import Reason

CHUNK = 10_000
"""Number of items that are judged and committed at a time."""

CATALOGS = 48
"""Most catalogs that are in memory at a time: one of sixty event types takes 0.7 MB."""

RECORD, CATALOG, MANIFEST = "record", "catalog", "manifest"
SIGNED = (RECORD, CATALOG, TOMBSTONE, ITEM)
"""The tables that have signed bytes, from which all others are derived."""

_IDS = {ITEM: "id", TOMBSTONE: "report"}
"""The columns that tell to which shard a row belongs; rows of other tables belong to each."""

WITHOUT = (
    "no report can be verified without its catalog and record: collect once with --catalog and "
    "--record, or with --topic, then take the same source again"
)

Progress = Callable[[int, int], None]
"""Called with (items so far, items in all). Items that need not be judged count as well."""

_EPOCH = date(1970, 1, 1)
_REPORT = int(Kind.REPORT)
_Row = tuple[Any, ...]
"""The bytes of an item, the id of its catalog, and its own id, as the data set has them."""


@dataclass(slots=True)
class Restored:
    """What a data set had for the file."""

    reports: int = 0
    erasures: int = 0
    catalogs: int = 0
    records: int = 0
    announcements: int = 0
    known: int = 0
    """Items that the file had already."""
    erased: int = 0
    """Reports kept out by an erasure, and reports of the file that one has deleted."""
    revoked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """reason -> number of items"""
    unreadable: list[str] = field(default_factory=list)
    """The days and tables that could not be read, with the reason."""


def restore(
    dataset: Dataset,
    store: Store,
    now: Callable[[], int],
    progress: Progress = lambda done, total: None,
    own: bytes | None = None,
) -> Restored:
    """Take into `store` what `dataset` has and it lacks. `now` returns Unix seconds. Of manifests,
    those are taken that the aggregator with the public key `own` has signed: they say what came in
    late, which a new file could not know.

    Raises StoreError if the file cannot be written, or if nothing of the data set can be read.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        found = _Restore(dataset, store, now, progress, pool).run()
    if own is not None and MANIFEST in dataset.tables():
        _take_manifests(dataset, store, now(), own)
    return found


def _take_manifests(dataset: Dataset, store: Store, now: int, own: bytes) -> None:
    """Keep the manifests that `own` has signed. Without them the days are closed anew."""
    try:
        rows = dataset.rows(
            f"SELECT {_bounded('raw', MANIFEST_MAX)} FROM manifest WHERE signer = ? AND closed",
            [own],
        )
    except StoreError:
        return  # what is damaged has been named
    keep_manifests(store, [raw for (raw,) in rows if isinstance(raw, bytes)], {own}, now)


class _Restore:
    def __init__(
        self,
        dataset: Dataset,
        store: Store,
        now: Callable[[], int],
        progress: Progress,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.dataset = dataset
        self.store = store
        self.now = now
        self.progress = progress
        self.pool = pool
        self.found = Restored()
        self.records = RecordBook()
        self.judged: tuple[Judged, int] | None = None
        """The items that are being judged, and the time by which. While the next ones are judged,
        they are committed: each of both takes a part of the time."""
        self.catalogs: dict[int, tuple[bytes, bytes]] = {}
        """The number of a catalog in the data set -> its namespace key and its id"""
        self.damaged: list[tuple[File, Path]] = []
        """Files that are not as they were written."""
        self.done = 0
        self.total = 0
        for one in store.records():
            self.records.add(*one)

    def run(self) -> Restored:
        """Take everything; what keeps reports out first: records revoke, and tombstones erase."""
        self.found.unreadable += [
            f"shard {one}: its part of the lake is missing"
            for one in self.dataset.origin.missing
            if self.store.shard.meet(one) is not None
        ]
        self.damaged = self.dataset.damaged()
        have = set(self.dataset.tables())
        counts = [
            f"(SELECT count(*) FROM {one} x WHERE {self._of_shard(one)})"
            for one in SIGNED
            if one in have
        ]
        lost = {one.table for one, _ in self.damaged}
        if not counts and not lost & set(SIGNED):
            raise StoreError(
                "store-foreign", f"{self.dataset.path} has no signed items", "name the directory"
            )
        if counts:
            self.total = self.dataset.rows(f"SELECT {' + '.join(counts)}")[0][0]
        self.progress(0, self.total)
        records = f"SELECT {_bounded('raw', RECORD_MAX)} FROM record ORDER BY time, id"
        for rows in self._chunks("records", records) if RECORD in have else ():
            self._take(rows)
        self._salvage(RECORD, RECORD_MAX)
        self._finish()
        catalogs = f"SELECT {_bounded('raw', CATALOG_MAX)} FROM catalog ORDER BY n"
        for rows in self._chunks("catalogs", catalogs, CATALOGS) if CATALOG in have else ():
            self._take(rows)
        self._salvage(CATALOG, CATALOG_MAX, CATALOGS)
        self._finish()
        self._read_catalogs()
        erasures = (
            f"SELECT {_bounded('x.raw', NOTICE_MAX)}, x.catalog FROM tombstone x "
            f"WHERE {self._of_shard(TOMBSTONE)} ORDER BY x.catalog, x.n"
        )
        for rows in self._of_catalogs("erasures", erasures) if TOMBSTONE in have else ():
            self._take(rows)
        self._salvage(TOMBSTONE, NOTICE_MAX)
        self._finish()
        if ITEM in have:
            self._items()
        self._salvage(ITEM, NOTICE_MAX)
        self._finish()
        self._name_damage(lost)
        return self.found

    def _of_shard(self, table: str) -> str:
        """Return SQL for the condition that a row `x` of a table belongs to the store's shard."""
        return within(f"x.{_IDS[table]}", self.store.shard) if table in _IDS else "true"

    def _salvage(self, table: str, most: int, size: int = CHUNK) -> None:
        """Take what can be read of those files of a table that are not as they were written."""
        said = len(self.found.unreadable)
        for one, path in self.damaged:
            if one.table != table or not path.is_file():
                continue
            query = (
                f"SELECT {_bounded('x.raw', most)} FROM {self.dataset.origin.rows_of(one, path)} x "
                f"WHERE {self._of_shard(table)}"
            )
            for rows in self._chunks(one.name, query, size):
                self._take([(raw, catalog_of(raw)) for (raw,) in rows] if table in _IDS else rows)
        del self.found.unreadable[said:]  # the file is named at the end

    def _name_damage(self, lost: Collection[str]) -> None:
        """Name the files that are not as they were written, and the way on if others need them."""
        for one, _ in self.damaged:
            so = "" if one.table in SIGNED else "; it is not needed"
            so = so if one.rows else "; it has no rows"
            self.found.unreadable.append(f"{one.name}: it is not the listed file{so}")
        refused = self.found.refused
        if (CATALOG in lost and refused[Reason.UNKNOWN_CATALOG.value]) or (
            RECORD in lost and refused[Reason.UNLISTED.value]
        ):
            self.found.unreadable.append(WITHOUT)

    def _items(self) -> None:
        """Take reports and announcements, day by day. Days that no report can have are taken
        together: whoever made the data set may have invented one for each row."""
        stored = {(one.key, one.day): one for one in self.store.day_digests()}
        today = self.now() // DAY
        first, last = max(0, today - RETENTION_MAX), today + 1
        inside = f"x.time >= {moment(first * DAY)} AND x.time < {moment((last + 1) * DAY)}"
        days: dict[int, list[bytes]] = {
            day: []
            for (day,) in self.dataset.rows(
                "SELECT DISTINCT date_diff('day', DATE '1970-01-01', x.time::DATE) AS day "
                f"FROM item x WHERE {inside} ORDER BY day"
            )
        }
        try:
            with translated_errors(self.dataset.path):
                offered = digests(self.dataset.connection, days.keys())
        except StoreError:
            offered = []  # a damaged file: no day is skipped, and what cannot be read is named
        for one in offered:
            known = stored.get((one.key, one.day))
            if known is not None and (known.count, known.digest) == (one.count, one.digest):
                days.setdefault(one.day, []).append(one.key)
                self.found.known += one.count
                self._advance(one.count)
        some = {day for _, day in stored}
        for day, same in days.items():
            where = f"x.time >= {moment(day * DAY)} AND x.time < {moment((day + 1) * DAY)}"
            if same:
                numbers = [n for n, (key, _) in self.catalogs.items() if key in same]
                some_n = ", ".join(map(str, numbers)) or "NULL"
                where += f" AND (x.catalog IN ({some_n}) AND x.kind = {_REPORT}) IS NOT true"
            for rows in self._rows(str(_EPOCH + timedelta(days=day)), where):
                self._take(self._unknown(rows, day) if day in some else rows)
        for rows in self._rows("other days", f"({inside}) IS NOT true"):
            self._take(rows)

    def _rows(self, what: str, where: str) -> Iterator[list[_Row]]:
        """Yield reports and announcements. Others than those of this shard are not stored, so they
        need not be judged."""
        return self._of_catalogs(
            what,
            f"SELECT {_bounded('x.raw', NOTICE_MAX)}, x.catalog, x.id FROM item x "
            f"WHERE {where} AND {self._of_shard(ITEM)} ORDER BY x.catalog, x.n",
        )

    def _read_catalogs(self) -> None:
        """Read the keys and ids of the data set's catalogs, by their numbers. A join in SQL might
        keep the bytes of all items in memory, however long they are."""
        try:
            rows = self.dataset.rows("SELECT n, key, id FROM catalog")
        except StoreError:
            return  # what cannot be read has been named
        for n, key, catalog_id in rows:
            if type(n) is int and isinstance(key, bytes) and isinstance(catalog_id, bytes):
                self.catalogs[n] = key, catalog_id

    def _of_catalogs(self, what: str, query: str) -> Iterator[list[_Row]]:
        """Yield the rows of a query, with the ids of catalogs in the place of their numbers."""
        for rows in self._chunks(what, query):
            yield [(raw, self._id_of(n) or catalog_of(raw), *more) for raw, n, *more in rows]

    def _id_of(self, number: object) -> bytes | None:
        found = self.catalogs.get(number) if isinstance(number, int) else None
        return None if found is None else found[1]

    def _chunks(self, what: str, query: str, size: int = CHUNK) -> Iterator[list[_Row]]:
        """Yield the rows of a query, `size` at a time. Notes `what` if it cannot be read."""
        try:
            with translated_errors(self.dataset.path):
                # It needs a cursor: another query on the same connection would end this one.
                cursor = self.dataset.connection.cursor()
                for batch in cursor.sql(query).to_arrow_reader(size):
                    columns = [column.to_pylist() for column in batch.columns]
                    yield list(zip(*columns, strict=True))
        except StoreError as error:
            self.found.unreadable.append(f"{what}: {error}")

    def _unknown(self, rows: list[_Row], day: int) -> list[_Row]:
        """Return the rows of items that the file lacks: those that it has need not be judged."""
        ids = [row[2] if isinstance(row[2], bytes) else b"" for row in rows]
        wanted = pa.table(
            {"i": pa.array(range(len(ids)), pa.int32()), "id": pa.array(ids, pa.binary())}
        )
        with self.store.reading() as con, translated_errors(self.store.path):
            items = self.store.items_sql(day, day, con=con)
            con.register("wanted", wanted)
            found = con.execute(f"SELECT w.i FROM wanted w JOIN {items} x ON x.id = w.id")
            known = {i for (i,) in found.fetchall()}
            con.unregister("wanted")
        self.found.known += len(known)
        self._advance(len(known))
        return [row for i, row in enumerate(rows) if i not in known]

    def _take(self, rows: Sequence[_Row]) -> None:
        """Judge and commit items, with few enough catalogs in memory at a time."""
        start, named = 0, dict[bytes, None]()
        for place, row in enumerate(rows):
            catalog = row[1] if len(row) > 1 else None
            if catalog is None or catalog in named:
                continue
            if len(named) == CATALOGS:
                self._commit(rows[start:place], named)
                start, named = place, {}
            named[catalog] = None
        if rows:
            self._commit(rows[start:], named)

    def _commit(self, rows: Sequence[_Row], catalogs: Collection[bytes]) -> None:
        """Begin to judge items, and commit those before."""
        now, book = self.now(), self._book(catalogs)
        raws = [row[0] if isinstance(row[0], bytes) else b"" for row in rows]
        judged = begin(raws, book, now, self.pool)
        self._finish()
        self.judged = judged, now

    def _finish(self) -> None:
        """Commit the items that are being judged."""
        if self.judged is None:
            return
        (begun, now), self.judged = self.judged, None
        accepted: list[Accepted] = []
        refused: dict[Reason, tuple[int, bytes]] = {}
        for raw, judged in verdicts_of(begun):
            verdict = self._listed(judged)
            if isinstance(verdict, Accepted):
                accepted.append(verdict)
            else:
                count, sample = refused.get(verdict.reason, (0, raw))
                refused[verdict.reason] = count + 1, sample
        done = self.store.commit(Batch(now, accepted, refused))
        found = self.found
        found.reports += done.reports
        found.erasures += done.erasures
        found.catalogs += len(done.catalogs)
        found.records += len(done.records)
        found.announcements += done.announcements
        found.known += done.duplicates
        found.erased += done.erased
        found.revoked += done.revoked
        found.refused.update({reason.value: n for reason, n in done.reasons.items()})
        self._advance(sum(len(part) for part, _ in begun))

    def _listed(self, verdict: Verdict) -> Verdict:
        """Learn a record; refuse a catalog that no record has ever listed."""
        if isinstance(verdict, Refused):
            return verdict
        item, body = verdict
        if isinstance(body, Record):
            self.records.add(item, body)
        elif isinstance(body, Catalog) and not self.records.ever_listed(body.key, body.id):
            return Refused(Reason.UNLISTED, item)
        return verdict

    def _book(self, catalogs: Iterable[bytes]) -> CatalogBook:
        book = CatalogBook()
        book.records = self.records
        for catalog_id in catalogs:
            catalog = self.store.catalog(catalog_id)
            if catalog is not None:
                book.add(catalog, given=True)
        return book

    def _advance(self, count: int) -> None:
        self.done += count
        self.progress(self.done, self.total)


def _bounded(column: str, most: int) -> str:
    """Return SQL for the bytes of an item; NULL if there are more than it can have. A small Parquet
    file can hold large values."""
    return f"CASE WHEN octet_length({column}) <= {most} THEN {column} END AS raw"

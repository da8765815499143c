"""Writes what is stored as Parquet, which others read and copy while the DuckDB file is private.

    metrics.parquet/
      manifest.json                                        every current file; digests of the days
      views.duckdb                                         a view for each table
      dictionary/<table>.<name>.parquet                    catalog, record, type, field, code, ...
      tombstone/<number>.<name>.parquet                    erasures, in the order of arrival
      raw/<schema>/<table>/<month>/<name>.parquet          exact signed bytes: the table `item`
      types/<schema>/<table>/<month>/<name>.parquet        columns; the steps in <table>_step

A file never changes: new content gets a new name. A new file is on disk before the table `part`
names it, in one transaction; then `manifest.json` and `views.duckdb` are replaced by rename. Files
that are named no more are deleted after a while, so whoever has read the manifest still finds its
files. Each table has a file without rows that has all of its columns (`empty`).

Files of a shard are in a folder of its own below the last one, such as `2026-11/2-of-4/`. So
several shards can write into one directory, a lake (`lake.py`).

An export writes what is new, and what must not stay: files with deleted rows. When all reports of
an event type and month have become late, and no row came since the last export, their rows move:
they are written as one part, and leave the DuckDB file in the transaction that names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from methrics.aggregate.closing.coverage import coverage_of
from methrics.aggregate.parquet.files import Files, Written, replace_file, sync_folder
from methrics.aggregate.parquet.groups import Snapshot, take_snapshot
from methrics.aggregate.parquet.lake import manifest_name, shards_in, touch_lake
from methrics.aggregate.parquet.lake_views import write_lake_views
from methrics.aggregate.parquet.manifest import (
    MANIFEST,
    SIZE_MAX,
    ClosedDays,
    Day,
    File,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from methrics.aggregate.parquet.plan import Group, Write, plan
from methrics.aggregate.parquet.views_file import VIEWS, ViewsFile
from methrics.aggregate.parquet.whole import TOMBSTONE, shapes_of, stem_of, whole_files
from methrics.aggregate.store.digest_cache import schemas_of
from methrics.aggregate.store.duck import Connection, translated_errors
from methrics.aggregate.store.parts import Change, Part, Settle, moment_of
from methrics.aggregate.store.rows import DAY
from methrics.aggregate.store.store import Store, reading_number
from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.errors import StoreError

GRACE = 120.0
"""Seconds that a file stays after nothing names it any more."""

FIRST = "first.tmp"
"""An empty file in a directory whose first export has not ended: if it was interrupted, the Parquet
files there are this exporter's, although no manifest lists them."""

SETTLE_ROWS = 4_000_000
"""Rows that one export moves at most; the next one goes on. To delete them takes a second or two,
during which no batch is committed."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of one export."""

    days: tuple[date, ...]
    """The days that changed."""
    files: int
    """Number of new files; 0 if nothing has changed."""
    reports: int
    """Number of reports on those days."""


@dataclass(slots=True)
class _Unnamed:
    """A file that nothing names any more."""

    name: str
    since: int
    number: int
    """Snapshots with a lower number may still read it."""


class Exporter:
    """Keeps the directory beside a store up to date. Only one thread at a time may use it.

    `grace`: seconds that a file stays after nothing names it any more. `ready` adds views to
    `views.duckdb`: see `ViewsFile`. Commits go on meanwhile.
    """

    def __init__(
        self,
        store: Store,
        *,
        grace: float = GRACE,
        ready: Callable[[Connection], None] = lambda con: None,
    ) -> None:
        self._store = store
        self._grace = grace
        self.directory = store.directory
        self._shard = store.shard
        self._own = "" if self._shard.is_whole else f"/{self._shard.folder}"
        self._views = ViewsFile(self.directory, ready)
        self._days: dict[tuple[str, date], Day] = {}
        """SQL schema and day -> its reports, as the manifest lists them"""
        self._begun = False
        self._stale = True
        """Whether the manifest may differ from the table `part`."""
        self._unnamed: list[_Unnamed] = []

    def export(self, now: int, *, closed_only: bool = False) -> Exported:
        """Write what changed since the last export, at the time `now` (Unix seconds).

        The first export of a process, and one after an export that failed, also counts all rows of
        open months, and deletes what an interrupted one left. With `closed_only`, reports of the
        UTC day of `now` and later are left out. Raises StoreError.
        """
        try:
            with translated_errors(self.directory):
                return self._export(now, now // DAY * DAY if closed_only else None)
        except BaseException:
            self._begun = False
            raise

    def _export(self, now: int, cut: int | None) -> Exported:
        self._begin()
        with self._store.reading() as con:
            snapshot = take_snapshot(con, self.directory, cut, self._own)
            changes = self._written(snapshot, now)
            days = self._day_digests(snapshot)
            closed = _closed_days(con)
        # If this export fails from here on, the next one writes the manifest again.
        stale, self._stale = self._stale, True
        parts = {part.name: part for part in snapshot.parts}
        for change in changes:
            self._store.change_parts(change, now)
            self._drop(parts, change, now)
        changed = {key for key in {*days, *self._days} if days.get(key) != self._days.get(key)}
        files = sum(len(change.added) for change in changes)
        if stale or changes or changed:
            files += self._publish(list(parts.values()), days, closed, now)
        self._days, self._stale = days, False
        if not self._begun:
            self._clear(parts)
            self._begun = True
        self._sweep(now)
        reports = sum(days[key].count for key in changed if key in days)
        return Exported(tuple(sorted({day for _, day in changed})), files, reports)

    def close(self) -> None:
        """Close what is open. Safe to call twice."""
        self._views.close()

    def _begin(self) -> None:
        """Before the first export: look at the directory, and make it if it does not exist."""
        if self._begun:
            return
        self.directory.mkdir(exist_ok=True)
        sync_folder(self.directory.parent)
        if not any(self.directory.iterdir()):
            (self.directory / FIRST).touch()
        with self._store.reading() as con:
            named = {name for (name,) in con.execute("SELECT name FROM part").fetchall()}
        found = self._manifest(bool(named))
        if found is None:
            return
        self._days = {
            (key, day): one for key, own in found.days.items() for day, one in own.items()
        }
        views = (self.directory / VIEWS).exists()
        self._stale = {one.name for one in found.files} != named or not views

    def _manifest(self, named: bool) -> Manifest | None:
        """Return what the manifest says. None if there is none, or if it may be replaced.

        A store that names no file does not take over the directory of another file: the rows of
        settled months may be nowhere else.
        """
        lake = shards_in(self.directory)
        if lake not in (None, self._shard.count):
            raise StoreError(
                "store-foreign",
                f"{self.directory} is a lake of {lake} shards, and this is {self._shard}",
            )
        path = self._manifest_path()
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            if named or lake or (self.directory / FIRST).exists():
                return None
            raise StoreError(
                "store-foreign",
                f"{self.directory} is not a methrics Parquet directory: no {MANIFEST}",
                "move it away",
            ) from None
        try:
            found = decode_manifest(text, str(self.directory))
        except StoreError as error:
            older = error.code == "store-version" and self._store.total > 0
            if named or older:  # the store has all that the directory should have
                return None
            raise
        if found.shard != self._shard:
            raise StoreError("store-foreign", f"{path} is of shard {found.shard}")
        if named or not found.files or self._has_all(found):
            return found
        raise StoreError(
            "store-foreign",
            f"{self.directory} was written from another file than {self._store.path}",
            "put that file back, or rename the directory and name it by --from",
        )

    def _manifest_path(self) -> Path:
        lake = shards_in(self.directory) is not None
        return self.directory / (manifest_name(self._shard) if lake else MANIFEST)

    def _has_all(self, found: Manifest) -> bool:
        """Whether the store of a shard has what another file of the shard had written: it was lost,
        and this one has taken it in."""
        if self._shard.is_whole:
            return False
        own = {(one.schema, one.date): one.count for one in self._store.day_digests()}
        return all(
            own.get((schema, day), 0) >= one.count
            for schema, days in found.days.items()
            for day, one in days.items()
        )

    def _written(self, snapshot: Snapshot, now: int) -> list[Change]:
        """Write all new files, or none; return the changes that name them, each to be made at
        once."""
        files = Files(snapshot.con, self.directory)
        try:
            return list(self._changes(files, snapshot, now))
        except BaseException:
            files.discard()
            raise

    def _changes(self, files: Files, snapshot: Snapshot, now: int) -> Iterator[Change]:
        together = Change()
        moves: list[Change] = []
        left = SETTLE_ROWS
        for group in snapshot.groups(now, audit=not self._begun):
            if not self._begun and not all(self._there(snapshot, group)):
                group = replace(group, broken=True)
            if group.over and left <= 0:
                group = replace(group, over=False)
            change = together
            for write in plan(group, snapshot.watermark, snapshot.last):
                if write.moves:
                    left -= sum(part.rows for part in group.parts)
                    change = Change()
                    moves.append(change)
                self._write(files, snapshot, group, write, now, change)
            change.buried += group.dead
        self._write_whole(files, snapshot, now, together)
        files.sync()
        if together:
            yield together
        yield from moves

    def _there(self, snapshot: Snapshot, group: Group) -> Iterator[bool]:
        """Whether the files of the open parts of a group are on disk."""
        for raw in group.parts:
            yield from map(self._is_there, snapshot.same(raw, group))

    def _is_there(self, part: Part) -> bool:
        path = self.directory / part.name
        return path.exists() and path.stat().st_size == part.size

    def _write(
        self,
        files: Files,
        snapshot: Snapshot,
        group: Group,
        write: Write,
        now: int,
        change: Change,
    ) -> None:
        """Write the files of a new part, of all its tables, and note the change."""
        for old in write.replaced:
            change.removed += snapshot.same(old, group)
        for table, folder, query in snapshot.queries(group, write):
            made = files.write(query, f"{folder}/")
            if not made.rows and table == "item":
                (self.directory / made.name).unlink()
                break
            part = _part(made, table, write.first, write.last, now)
            own = replace(part, type=group.type, month=group.month, settled=write.settled)
            change.added.append(own)
        if write.moves:
            of = snapshot.types[group.type]
            name = of.schema, of.table, group.type, of.stepped
            change.settled.append(Settle(*name, group.month, write.last))

    def _write_whole(self, files: Files, snapshot: Snapshot, now: int, change: Change) -> None:
        """Write the files of tables without months that changed."""
        stored = {stem_of(part.name): part for part in snapshot.parts if part.month is None}
        if not self._begun:
            stored = {stem: part for stem, part in stored.items() if self._is_there(part)}
        kept: set[str] = set()
        for one in whole_files(snapshot.con, shapes_of(snapshot.con), self._own):
            kept.add(one.stem)
            if one.stem not in stored:
                made = files.write(one.query, one.stem)
                change.added.append(_part(made, one.table, one.first, one.last, now))
        change.removed += [
            part
            for part in snapshot.parts
            if part.month is None
            and (stem_of(part.name) not in kept or stem_of(part.name) not in stored)
        ]

    def _day_digests(self, snapshot: Snapshot) -> dict[tuple[str, date], Day]:
        found = self._store.day_digests(con=snapshot.con)
        end = None if snapshot.cut is None else snapshot.cut // DAY
        return {
            (one.schema, one.date): Day(one.key, one.count, one.digest)
            for one in found
            if end is None or one.day < end
        }

    def _publish(
        self,
        parts: Iterable[Part],
        days: dict[tuple[str, date], Day],
        closed: dict[str, dict[str, ClosedDays]],
        now: int,
    ) -> int:
        """Replace the manifest and the views; return the number of files written."""
        # Those without rows come first: they have the newest columns.
        ordered = sorted(
            parts, key=lambda one: (one.table, one.month or date.min, one.type or 0, one.first)
        )
        listed = tuple(
            File(one.name, one.table, one.month, one.rows, one.size, one.sha256.hex(), one.settled)
            for one in ordered
        )
        by_schema: dict[str, dict[date, Day]] = {}
        for (schema, day), one in days.items():
            by_schema.setdefault(schema, {})[day] = one
        erased = sum(one.rows for one in listed if one.table == TOMBSTONE)
        written = datetime.fromtimestamp(now, UTC).isoformat()
        manifest = Manifest(written, listed, by_schema, erased, self._shard, closed)
        replace_file(self._manifest_path(), encode_manifest(manifest))
        if shards_in(self.directory) is not None:
            touch_lake(self.directory, self._shard)
            write_lake_views(self._views, self.directory, self._shard)
            return 2
        tables = manifest.tables()
        self._views.write({table: [one.name for one in own] for table, own in tables.items()})
        return 2

    def _drop(self, parts: dict[str, Part], change: Change, now: int) -> None:
        """Apply a change to `parts`, and note the files that nothing names any more."""
        number = reading_number()
        for part in change.removed:
            parts.pop(part.name, None)
            self._unnamed.append(_Unnamed(part.name, now, number))
        parts.update({part.name: part for part in change.added})

    def _sweep(self, now: int) -> None:
        """Delete the files that nothing has named for a while, and that no snapshot may read."""
        oldest = self._store.oldest_reading()
        kept: list[_Unnamed] = []
        for one in self._unnamed:
            if now - one.since < self._grace or (oldest is not None and oldest < one.number):
                kept.append(one)
            else:
                self._delete(self.directory / one.name)
        self._unnamed = kept

    def _clear(self, parts: dict[str, Part]) -> None:
        """Delete the files that an earlier process of this shard left."""
        (self.directory / FIRST).unlink(missing_ok=True)
        named = {*parts, *(one.name for one in self._unnamed)}
        for folder, _, files in os.walk(self.directory, topdown=False):
            for file in files:
                path = Path(folder, file)
                name = path.relative_to(self.directory).as_posix()
                own = not self._own or path.parent.name == self._shard.folder
                if own and path.suffix in (".tmp", ".parquet") and name not in named:
                    self._delete(path)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            if path.parent != self.directory:
                path.parent.rmdir()


def _closed_days(con: Connection) -> dict[str, dict[str, ClosedDays]]:
    """Return the days that aggregators have closed, by SQL schema and peer id."""
    schemas = schemas_of(con)
    found: dict[str, dict[str, ClosedDays]] = {}
    for one in coverage_of(con):
        # A peer may sign any numbers. What no reader takes would make the manifest unreadable.
        made = ClosedDays(*(min(n, SIZE_MAX) for n in (one.days, one.reports, one.late)))
        found.setdefault(schemas[one.key], {})[peer_id_of(one.signer)] = made
    return found


def _part(made: Written, table: str, first: int, last: int, now: int) -> Part:
    about = made.rows, made.size, made.sha256
    return Part(made.name, table, None, None, first, last, *about, False, moment_of(now))

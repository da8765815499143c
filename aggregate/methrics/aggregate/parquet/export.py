"""Exports the DuckDB file as Parquet, which others can read and copy while the file is locked.

    metrics.parquet/
      manifest.json                           layout, time written, count and digest of each day
      catalog.parquet  record.parquet  listing.parquet  revoked.parquet
      type.parquet  declaration.parquet  field.parquet  code.parquet  refusal.parquet
      tombstone/0.parquet                     erasures, numbered in the order of arrival
      item/2026-01-31.parquet                 exact signed bytes, so `verify` works from here alone
      types/example/heartbeat/2026-01-31.parquet

Every file is written under another name and then renamed, so a reader that opens it once sees
either the old or the new file. DuckDB opens a file several times, so `open_dataset` tries a query
again that met both. A day is written again when its digest changes, because of late reports,
erasures or revocations; the new file does not contain erased rows. A part of the tombstones is
written again when rows are added to it. Each folder has an `empty.parquet` with all columns and no
rows. Samples of refused bytes are not exported, because their content has not been checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from methrics.aggregate.parquet import parts
from methrics.aggregate.store.digest import DayDigest, digests
from methrics.aggregate.store.duck import Connection, check_regular, literal, translated_errors
from methrics.aggregate.store.plain_path import plain_path
from methrics.aggregate.store.rows import DAY
from methrics.aggregate.store.tables import LAYOUT_VERSION, TypeTable
from methrics.schema.errors import StoreError

MANIFEST = "manifest.json"
EMPTY = "empty"
"""The name, without suffix, of the file that has all columns of a folder and no rows."""

WHOLE: Mapping[str, str] = {
    "catalog": "SELECT * FROM catalog ORDER BY n",
    "record": "SELECT * FROM record ORDER BY n",
    "listing": "SELECT * FROM listing ORDER BY ALL",
    "revoked": "SELECT * FROM revoked ORDER BY ALL",
    "type": "SELECT * FROM type ORDER BY n",
    "declaration": "SELECT * FROM declaration ORDER BY n",
    "field": "SELECT * FROM field ORDER BY ALL",
    "code": "SELECT * FROM code ORDER BY ALL",
    "refusal": "SELECT day, reason, count FROM refusal ORDER BY ALL",
}
"""The tables that are exported as one file each: table -> query."""

_EPOCH = date(1970, 1, 1)
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of one export."""

    days: tuple[date, ...]
    files: int
    reports: int
    """Number of reports on those days."""


def directory_beside(path: Path) -> Path:
    """Return the Parquet directory beside a file, such as `metrics.parquet/` beside
    `metrics.duckdb`."""
    return path.with_suffix(".parquet") if path.suffix != ".parquet" else Path(f"{path}.d")


def is_parquet(path: Path) -> bool:
    """Whether the file `path` begins like a Parquet file. Raises StoreError, also for an empty file
    or one that is no regular file."""
    with translated_errors(path):
        check_regular(path)
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"


def table_of(path: Path) -> tuple[str, str]:
    """Return the SQL schema and table of one file of an export, from the file's path. If its folder
    is not one of an export, the schema is `main` and the table has the name of the file."""
    folder = path.absolute().parent
    if folder.name in ("item", parts.FOLDER):
        return "main", folder.name
    if folder.parent.parent.name == "types":
        return folder.parent.name, folder.name
    return "main", path.stem


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of an export. Raises StoreError: store-missing, store-foreign,
    store-version."""
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise StoreError(
            "store-foreign", f"{directory} is not a methrics Parquet directory: no {MANIFEST}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(directory) from error
    if not isinstance(manifest, dict) or manifest.get("layout") != LAYOUT_VERSION:
        raise StoreError("store-version", f"{directory} was written by another version of methrics")
    if not isinstance(manifest.get("written"), str) or not isinstance(manifest.get("days"), dict):
        raise _unreadable(directory)
    return manifest


def _unreadable(directory: Path) -> StoreError:
    return StoreError("store-foreign", f"{directory / MANIFEST} cannot be read")


class Exporter:
    """Updates a Parquet directory from a DuckDB file, a few days at a time.

    No other code may use `con`, and only one thread at a time.
    """

    def __init__(self, con: Connection, directory: Path) -> None:
        self._con = con
        self.directory = directory
        self._days: dict[tuple[str, int], DayDigest] = {}
        self._parts: dict[int, parts.Part] = {}
        """The parts of the tombstones that were exported."""
        self._compared = False
        self._empty: dict[Path, tuple[object, ...]] = {}
        """folder -> the columns of the file `empty.parquet` that this exporter wrote there"""

    def export(
        self,
        tables: Callable[[], Iterable[TypeTable]],
        now: int,
        days: Collection[int] | None = None,
        *,
        closed_only: bool = False,
    ) -> Exported:
        """Export `days` (since 1970-01-01), or all days, as far as they changed.

        `now` (Unix seconds) is written into the manifest. `tables` returns the tables of event
        types, including those of a commit in progress. The first export checks all days, even if
        `days` is given. With `closed_only`, the UTC day of `now` and later days are not exported.
        Raises StoreError.
        """
        with translated_errors(self.directory), self._snapshot():
            # If this export fails, the next one compares everything with the manifest.
            compared, self._compared = self._compared, False
            wanted = days if compared else None
            before = self._days if compared else self._stored()
            end = now // DAY if closed_only else _FOREVER
            found = {
                (day.schema, day.day): day for day in digests(self._con, wanted) if day.day < end
            }
            looked_at = {key for key in before if wanted is None or key[1] in wanted}
            looked_at = {key for key in looked_at if key[1] < end}
            stale = {key[1] for key in found.keys() | looked_at if _differ(before, found, key)}
            moves = [self._whole(table, query) for table, query in WHOLE.items()]
            gone: list[Path] = []
            folders = list(_folders(self._there(tables)))
            for folder in folders:
                self._day_files(folder, stale, moves, gone)
            self._tombstones(moves, gone, everything=not compared)
            self._days = {k: v for k, v in before.items() if k not in looked_at} | found
            moves.append(self._manifest(now))
            _publish(moves, gone)
            self._empty.update((one.folder, one.shape) for one in folders)
            self._empty[Path(parts.FOLDER)] = ()
            self._compared = True
        counts = [day.count for day in found.values() if day.day in stale]
        return Exported(tuple(_date(day) for day in sorted(stale)), len(moves), sum(counts))

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Make all queries inside the block see the same commit."""
        self._con.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            self._con.execute("ROLLBACK")

    def _there(self, tables: Callable[[], Iterable[TypeTable]]) -> list[TypeTable]:
        """Return the tables of this snapshot.

        They must be read after the snapshot begins. If they were read before, a table could be
        missing whose reports are in the snapshot, and its day would count as exported.
        """
        query = "SELECT schema_name, table_name FROM duckdb_tables()"
        there = set(self._con.execute(query).fetchall())
        return [table for table in tables() if (table.schema, table.table) in there]

    def _stored(self) -> dict[tuple[str, int], DayDigest]:
        """Read the digests in the manifest. Create the directory if it does not exist, and delete
        the temporary files of an export that was interrupted."""
        self._parts = {}
        self.directory.mkdir(exist_ok=True)
        for left in self.directory.rglob("*.tmp"):
            left.unlink()
        if not any(self.directory.iterdir()):
            return {}
        known: dict[tuple[str, int], DayDigest] = {}
        manifest = read_manifest(self.directory)
        try:
            self._parts = parts.decode_parts(manifest.get("tombstones", {}))
            for schema, days in manifest["days"].items():
                for text, entry in days.items():
                    day = (date.fromisoformat(text) - _EPOCH).days
                    key, digest = bytes.fromhex(entry["key"]), bytes.fromhex(entry["digest"])
                    known[schema, day] = DayDigest(key, schema, day, entry["count"], digest)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.directory) from error
        return known

    def _whole(self, table: str, query: str) -> tuple[Path, Path]:
        return self._copy(query, self.directory / f"{table}.parquet")

    def _tombstones(
        self, moves: list[tuple[Path, Path]], gone: list[Path], *, everything: bool
    ) -> None:
        """Write the parts of the tombstones that have changed, like `_day_files`.

        Without `everything`, only those that may have new rows are checked.
        """
        folder = self.directory / parts.FOLDER
        if Path(parts.FOLDER) not in self._empty:
            folder.mkdir(exist_ok=True)
            empty = "SELECT * FROM tombstone LIMIT 0"
            moves.append(self._copy(empty, folder / f"{EMPTY}.parquet"))
        since = 0 if everything else max(self._parts, default=0)
        found = parts.parts_of(self._con, since=since)
        for number, part in found.items():
            if self._parts.get(number) != part:
                target = self.directory / parts.file_of(number)
                moves.append(self._copy(parts.rows_of(number), target))
        lost = [number for number in self._parts if number >= since and number not in found]
        gone += [self.directory / parts.file_of(number) for number in lost]
        self._parts = {k: v for k, v in self._parts.items() if k < since} | found

    def _day_files(
        self,
        of: _Folder,
        days: Collection[int],
        moves: list[tuple[Path, Path]],
        gone: list[Path],
    ) -> None:
        """Write the files of one table for `days`, under temporary names.

        Adds the renames to `moves`, and the files of days without rows to `gone`.
        """
        folder = self.directory / of.folder
        query = f"SELECT {of.columns} FROM {of.rows}"
        if self._empty.get(of.folder) != of.shape:
            folder.mkdir(parents=True, exist_ok=True)
            moves.append(self._copy(f"{query} LIMIT 0", folder / f"{EMPTY}.parquet"))
        if not days:
            return
        there = self._con.execute(
            f"SELECT DISTINCT x.time::DATE FROM {of.rows} WHERE {_between(min(days), max(days))}"
        ).fetchall()
        for day in days:
            target = folder / f"{_date(day)}.parquet"
            if (_date(day),) in there:
                rows = f"{query} WHERE {_between(day, day)} ORDER BY ALL"
                moves.append(self._copy(rows, target))
            else:
                gone.append(target)

    def _copy(self, query: str, target: Path) -> tuple[Path, Path]:
        written = target.with_name(target.name + ".tmp")
        place = plain_path(self.directory) / written.relative_to(self.directory)
        self._con.execute(f"COPY ({query}) TO {literal(place)} (FORMAT parquet, COMPRESSION zstd)")
        return written, target

    def _manifest(self, now: int) -> tuple[Path, Path]:
        days: dict[str, dict[str, object]] = {}
        for (schema, _), day in sorted(self._days.items()):
            entry = {"count": day.count, "digest": day.digest.hex(), "key": day.key.hex()}
            days.setdefault(schema, {})[str(day.date)] = entry
        text = {
            "layout": LAYOUT_VERSION,
            "written": datetime.fromtimestamp(now, UTC).isoformat(),
            "days": days,
            "tombstones": parts.encode_parts(self._parts),
        }
        target = self.directory / MANIFEST
        written = target.with_name(target.name + ".tmp")
        written.write_text(json.dumps(text, indent=1) + "\n")
        return written, target


class _Folder(NamedTuple):
    """A table with one file per day: its folder, SQL for its columns and its rows (`x.time` is the
    time of a row), and what changes when it gets a column."""

    folder: Path
    columns: str
    rows: str
    shape: tuple[object, ...] = ()


def _folders(tables: Iterable[TypeTable]) -> Iterator[_Folder]:
    """Yield every table with one file per day."""
    yield _Folder(Path("item"), "x.*", "item x")
    for table in tables:
        base = Path("types", table.schema)
        shape = (*table.columns.items(), table.counted, table.stepped)
        yield _Folder(base / table.table, "x.*", f"{table.sql} x", shape)
        if table.stepped:
            rows = f"{table.steps_sql} s JOIN {table.sql} x ON x.n = s.n"
            yield _Folder(base / table.steps, "s.*", rows)


def _between(first: int, last: int) -> str:
    """SQL for the rows of the days from `first` to `last`."""
    start, end = literal(str(_date(first))), literal(str(_date(last + 1)))
    return f"x.time >= TIMESTAMP {start} AND x.time < TIMESTAMP {end}"


def _differ(
    before: Mapping[tuple[str, int], DayDigest],
    after: Mapping[tuple[str, int], DayDigest],
    key: tuple[str, int],
) -> bool:
    old, new = before.get(key), after.get(key)
    return old is None or new is None or (old.count, old.digest) != (new.count, new.digest)


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _publish(moves: Iterable[tuple[Path, Path]], gone: Iterable[Path]) -> None:
    """Sync all written files to disk, then rename them, the manifest last."""
    moves = list(moves)
    for written, _ in moves:
        with written.open("rb") as file:
            os.fsync(file.fileno())
    for written, target in moves:
        written.replace(target)
    for path in gone:
        path.unlink(missing_ok=True)

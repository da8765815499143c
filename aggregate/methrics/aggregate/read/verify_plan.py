"""Plans a verification: which tasks there are, so that each costs what its rows cost.

The rows in a DuckDB file are divided by ranges of n, whatever their event types. Parquet files are
divided by event type and month, as they stand in folders, and a large month by ranges of n. So 60
event types with a report each are 60 small files to read, or one range of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from methrics.aggregate.parquet.manifest import File, folders_of
from methrics.aggregate.read.check_rows import Opening, Task
from methrics.aggregate.read.signed import TABLES
from methrics.aggregate.read.sources import AttachedFile, Listed, Source
from methrics.aggregate.store.duck import (
    SCHEMA_ALIAS,
    Connection,
    literal,
    name,
    read_parquet_files,
)
from methrics.schema.wire.envelope import Kind

TASK_ROWS = 50_000
"""Rows of a task: a few seconds of work."""

_REPORT = int(Kind.REPORT)
_LEAST, _MOST = -(1 << 62), 1 << 62


@dataclass(slots=True)
class Plan:
    """What to verify: how to open it, its tasks, and files that stand in a wrong folder."""

    opening: Opening
    tasks: list[Task]
    astray: list[File] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """The files of one event type and month."""

    raw: list[File] = field(default_factory=list)
    tables: dict[str, list[File]] = field(default_factory=dict)

    def add(self, one: File) -> None:
        """Add a file."""
        if one.table == "item":
            self.raw.append(one)
        else:
            self.tables.setdefault(one.table, []).append(one)

    @property
    def files(self) -> list[File]:
        """All files."""
        return [*self.raw, *(one for own in self.tables.values() for one in own)]

    @property
    def rows(self) -> int:
        """The number of reports."""
        return sum(one.rows for one in self.raw)


def plan(source: Source, con: Connection) -> Plan:
    """Plan the verification of a data set that `con` reads. Raises what DuckDB raises."""
    if isinstance(source, AttachedFile):
        return _plan_file(source, con)
    assert isinstance(source, Listed), "a lone file has no plan"
    signed = tuple((table, source.rows(("main", table))) for table in TABLES)
    made = Plan(Opening(None, signed, source.shard), [])
    files = source.manifest.files
    paths = dict(zip(files, source.bring(list(files)), strict=True))
    _plan_files(made, files, paths, con, "")
    return made


def _plan_file(source: AttachedFile, con: Connection) -> Plan:
    signed = tuple((table, name(SCHEMA_ALIAS, "main", table)) for table in TABLES)
    tables = {f"{s}.{t}": name(SCHEMA_ALIAS, s, t) for s, t in source.tables() if s != "main"}
    items = name(SCHEMA_ALIAS, "main", "item")
    made = Plan(Opening(source.path, signed, source.shard), [])
    made.tasks += (Task(items, tables, *ends) for ends in _ranges(con, items))
    settled = source.settled
    files = [one for own in settled.files.values() for one in own]
    paths = {one: path for place in settled.files for one, path in settled.pairs(place)}
    alive = f" ANTI JOIN {name(SCHEMA_ALIAS, 'main', 'dead')} USING (n)" if settled.dead else ""
    _plan_files(made, files, paths, con, alive)
    return made


def _plan_files(
    made: Plan, files: Iterable[File], paths: Mapping[File, Path], con: Connection, alive: str
) -> None:
    """Add the tasks for Parquet files. `alive` is SQL that leaves out dead rows. Files that will be
    merged or replaced soonest come first."""
    groups: dict[tuple[str, date], _Group] = {}
    shapes: dict[str, list[File]] = {}
    for one in files:
        of = _type_of(one)
        if one.month is None:
            if one.table not in ("item", *TABLES):
                shapes.setdefault(one.table, []).append(one)
        elif of is None:
            if one.rows and not one.name.startswith(f"raw/{NOTICES}"):
                made.astray.append(one)
        else:
            groups.setdefault((of, one.month), _Group()).add(one)

    def rows(some: Iterable[File], *, by_name: bool) -> str:
        sql = read_parquet_files([paths[one] for one in some], by_name=by_name)
        return f"(FROM {sql}{alive})" if alive else sql

    def soon(group: _Group) -> bool:
        return all(one.settled for one in group.raw)

    split = [one for group in groups.values() for one in _split(group, paths, con)]
    for group in sorted(split, key=soon):
        tables = {
            table: rows([*shapes.get(table, ()), *own], by_name=True)
            for table, own in group.tables.items()
        }
        items = rows(group.raw, by_name=False) if group.raw else _NO_ITEMS
        ends: Iterable[tuple[int, int]] = [(_LEAST, _MOST)]
        if group.rows > TASK_ROWS:
            ends = _ranges(con, items)
        names = frozenset(one.name for one in group.files)
        made.tasks += (Task(items, tables, *pair, whole=True, files=names) for pair in ends)


def _split(group: _Group, paths: Mapping[File, Path], con: Connection) -> list[_Group]:
    """Divide a large group by files, so that what is verified of a file that stays stays verified.

    Files whose ranges of n overlap are together: the bytes of a report, and its columns.
    """
    if len(group.raw) < 2 or group.rows <= TASK_ROWS:
        return [group]
    by_path = {str(paths[one]): one for one in group.files}
    listed = ", ".join(map(literal, by_path))
    spans = con.execute(
        "SELECT file_name, min(stats_min_value::BIGINT) AS first, max(stats_max_value::BIGINT) "
        f"FROM parquet_metadata([{listed}]) WHERE path_in_schema = 'n' GROUP BY ALL ORDER BY first"
    ).fetchall()
    found: list[_Group] = []
    end = _LEAST
    for file, first, last in spans:
        if not found or first is None or first > end:
            found.append(_Group())
        found[-1].add(by_path.pop(file))
        end = max(end, _MOST if last is None else last)
    for left in by_path.values():  # without rows
        found[-1].add(left)
    return found


NOTICES = "notice/"
"""The folder below `raw` of announcements, which have no event type."""

_NO_ITEMS = "(SELECT 0 AS n, 0 AS kind, 0 AS catalog, 0 AS type, TIMESTAMP '1970-01-01' AS time, "
_NO_ITEMS += "''::BLOB AS id, ''::BLOB AS raw WHERE false)"


def _type_of(one: File) -> str | None:
    """Return the table of the event type whose folder a file is in; None if it is in another."""
    match folders_of(one.name):
        case ["raw", schema, table, _, _] if one.table == "item":
            return f"{schema}.{table}"
        case ["types", schema, table, _, _] if one.table == f"{schema}.{table}":
            return one.table.removesuffix("_step")
    return None


def _ranges(con: Connection, items: str) -> Iterator[tuple[int, int]]:
    """Yield ranges of n, each with about TASK_ROWS reports, that include every number."""
    first = _LEAST
    for (last,) in con.execute(
        f"SELECT n FROM (SELECT n, row_number() OVER (ORDER BY n) AS i FROM {items} "
        f"WHERE kind = {_REPORT}) WHERE i % {TASK_ROWS} = 0 ORDER BY n"
    ).fetchall():
        yield first, last
        first = last
    yield first, _MOST

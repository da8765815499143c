"""Compares stored rows of reports with their signed bytes, a range of numbers at a time.

A task is independent of all others, so any number of processes can work on them. The bytes of each
row in `item` are judged by the rules of every node; its columns, and its rows in the tables of its
event type, are derived from the bytes again and compared (NEW-1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import starmap
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.read.signed import Signed, body_of, views_of
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.store.duck import Connection, attach_reader, memory, name
from methrics.aggregate.store.rows import derive
from methrics.aggregate.store.tables import CatalogEntry
from methrics.schema.judging.judge import Verdict
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.items import Report
from methrics.schema.wire.shard import WHOLE, Shard

CHUNK = 10_000
"""Number of rows that are judged at a time: a few megabytes."""

_ROW = ("n", "kind", "catalog", "type", "time", "id")
_REPORT = int(Kind.REPORT)


@dataclass(frozen=True, slots=True)
class Opening:
    """How a process opens the data: the DuckDB file to attach, if any, and SQL for the rows of each
    table that `Signed` reads."""

    attach: Path | None
    signed: tuple[tuple[str, str], ...]
    shard: Shard = WHOLE


@dataclass(frozen=True, slots=True)
class Task:
    """The rows with `first` < n <= `last` of `items` (SQL), and of the tables of event types (name
    -> SQL). If `whole`, these tables may have no rows of other items. `files`: the names of the
    Parquet files that have all of them; none if they are in a DuckDB file."""

    items: str
    tables: Mapping[str, str]
    first: int
    last: int
    whole: bool = False
    files: frozenset[str] = frozenset()


@dataclass(slots=True)
class Result:
    """What a task found, and the number of rows that belong to items, by table."""

    found: Verification
    rows: Counter[str] = field(default_factory=Counter)


class RowChecker:
    """Works on tasks, one after the other."""

    def __init__(self, opening: Opening) -> None:
        self._con: Connection = memory()
        if opening.attach is not None:
            attach_reader(self._con, opening.attach)
        views_of(self._con, opening.signed)
        self._signed = Signed(self._con, Verification(), opening.shard)
        self._found = Verification()

    def close(self) -> None:
        """Close the connection."""
        self._con.close()

    def check(self, task: Task) -> Result:
        """Compare the rows of a task. Raises what DuckDB raises."""
        self._found = Verification()
        result = Result(self._found)
        expected: dict[str, list[pa.Table]] = {}
        for chunk in self._chunks(task):
            self._found.reports += len(chunk)
            for derived in derive(self._items(chunk)):
                table = derived.table
                expected.setdefault(f"{table.schema}.{table.table}", []).append(derived.rows)
                if derived.steps is not None:
                    expected.setdefault(f"{table.schema}.{table.steps}", []).append(derived.steps)
        for full in sorted({*expected, *(task.tables if task.whole else ())}):
            right = pa.concat_tables(expected[full]) if full in expected else None
            if full in task.tables:
                result.rows[full] += self._compare(task, full, right)
            elif right is not None and len(right):
                self._found.add(full, None, f"{len(right)} rows are missing")
        return result

    def _chunks(self, task: Task) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of reports in chunks, in order of n."""
        reader = (
            self._con.cursor()
            .sql(
                "SELECT n, kind, catalog, type, epoch(time)::BIGINT AS time, id, raw "
                f"FROM {task.items} WHERE kind = {_REPORT} AND {_within(task)} ORDER BY n"
            )
            .to_arrow_reader(CHUNK)
        )
        for batch in reader:
            if len(batch):
                columns = [column.to_pylist() for column in batch.columns]
                yield list(zip(*columns, strict=True))

    def _items(self, chunk: list[tuple[Any, ...]]) -> list[tuple[int, CatalogEntry, Report]]:
        """Judge the bytes of each row and compare its columns with them.

        Returns (n, catalog, report) for each row whose bytes are valid, in order of n.
        """
        good: list[tuple[int, CatalogEntry, Report]] = []
        for together in self._signed.by_catalogs(chunk, 2):
            verdicts = self._signed.judge_all([row[-1] for row in together])
            pairs = zip(together, verdicts, strict=True)
            good += [one for one in starmap(self._item, pairs) if one is not None]
        return sorted(good, key=itemgetter(0))

    def _item(
        self, row: tuple[Any, ...], verdict: Verdict
    ) -> tuple[int, CatalogEntry, Report] | None:
        n, *stored, _raw = row
        report, item = body_of(verdict), verdict.item
        if item is None or not isinstance(report, Report):
            self._found.add("item", n, f"the bytes are refused: {verdict.reason.value}")
            return None
        entry = self._signed.layout.entries[report.catalog]
        own = entry.types.get(report.type)
        of = own.table.n if own is not None else None
        right = (item.kind, entry.n, of, report.time, item.id)
        wrong = [
            column
            for column, one, other in zip(_ROW[1:], stored, right, strict=True)
            if one != other
        ]
        if wrong:
            self._found.add("item", n, f"not what the bytes say: {', '.join(wrong)}")
        if own is None:
            self._found.add("item", n, "the event type has no table")
            return None
        return n, entry, report

    def _compare(self, task: Task, full: str, expected: pa.Table | None) -> int:
        """Compare the rows of one table; return how many of them belong to an item."""
        sql = task.tables[full]
        if expected is None:
            strays = f"SELECT DISTINCT n FROM {sql} WHERE {_within(task)} ORDER BY n"
            for (n,) in self._con.execute(strays).fetchall():
                self._found.add(full, n, "no item has this content")
            return 0
        names = ", ".join(name(column) for column in expected.column_names)
        order = "n, i" if full.endswith("_step") else "n"
        found = self._con.sql(
            f"SELECT {names} FROM {sql} WHERE {_within(task)} ORDER BY {order}"
        ).to_arrow_table()
        return self._same(full, expected, found)

    def _same(self, full: str, expected: pa.Table, found: pa.Table) -> int:
        try:
            found = found.cast(expected.schema)
        except pa.ArrowInvalid:
            self._found.add(full, None, "the columns have other types")
            return len(found)
        if found.equals(expected):
            return len(found)
        right = _by_number(expected)
        stored = _by_number(found)
        for n in sorted(right.keys() | stored.keys()):
            if n not in stored:
                self._found.add(full, n, "the row is missing")
            elif n not in right:
                self._found.add(full, n, "no item has this content")
            elif right[n] != stored[n]:
                wrong = _differing(right[n], stored[n])
                self._found.add(full, n, f"not what the bytes say: {wrong}")
        return len(found)


def _within(task: Task) -> str:
    return f"n > {task.first} AND n <= {task.last}"


def _by_number(table: pa.Table) -> dict[Any, list[dict[str, Any]]]:
    """Group the rows by n. A table of steps has several rows for each n."""
    rows: dict[Any, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["n"], []).append(row)
    return rows


def _differing(right: list[dict[str, Any]], stored: list[dict[str, Any]]) -> str:
    if len(right) != len(stored):
        return f"{len(stored)} rows where {len(right)} should be"
    pairs = zip(right, stored, strict=True)
    return ", ".join(sorted({key for a, b in pairs for key in a if a[key] != b[key]}))

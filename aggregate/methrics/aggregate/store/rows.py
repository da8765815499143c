"""Derives the columns of every table from the signed bytes of reports. Pure.

The writer inserts these columns, and `verify` compares the tables with them. Each column is one
list, because creating a dictionary or tuple for each row would be slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.tables import CatalogEntry, TypeTable, column_name
from methrics.schema.wire.items import Report

DAY = 86_400
"""Seconds of a UTC day."""

_SECONDS = pa.timestamp("s")
_ARROW = {"VARCHAR": pa.string(), "BOOLEAN": pa.bool_(), "USMALLINT": pa.uint16()}


@dataclass(slots=True)
class ItemColumns:
    """The rows of the table `item`, as one list for each column."""

    n: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    catalog: list[int | None] = field(default_factory=list)
    type: list[int | None] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    id: list[bytes] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def table(self) -> pa.Table:
        """Return the columns as an Arrow table. The caller adds the column `received`."""
        return pa.table(
            {
                "n": pa.array(self.n, pa.int64()),
                "kind": pa.array(self.kind, pa.uint8()),
                "catalog": pa.array(self.catalog, pa.int32()),
                "type": pa.array(self.type, pa.int32()),
                "time": pa.array(self.time, _SECONDS),
                "id": pa.array(self.id, pa.binary()),
                "raw": pa.array(self.raw, pa.binary()),
            }
        )


Numbered = tuple[int, CatalogEntry, Report]
"""A report with its number n and the entry of its catalog."""


@dataclass(slots=True)
class _Group:
    table: TypeTable
    reports: list[Numbered] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Derived:
    """The rows of the table of one event type, and of its table of steps. The latter is None if the
    type has no steps."""

    table: TypeTable
    rows: pa.Table | None
    steps: pa.Table | None


def derive(numbered: Iterable[Numbered]) -> Iterator[Derived]:
    """Derive the rows of the event types' tables from reports."""
    groups: dict[int, _Group] = {}
    for one in numbered:
        table = one[1].types[one[2].type].table
        group = groups.get(table.n)
        if group is None:
            group = groups[table.n] = _Group(table)
        group.reports.append(one)
    for group in groups.values():
        steps = _steps(group) if group.table.stepped else None
        yield Derived(group.table, _rows(group), steps)


def _rows(group: _Group) -> pa.Table:
    numbers, entries, reports = zip(*group.reports, strict=True)
    times = pa.array([report.time for report in reports], _SECONDS)
    columns = {
        "n": pa.array(numbers, pa.int64()),
        "catalog": pa.array([entry.n for entry in entries], pa.int32()),
        "day": times.cast(pa.date32()),
        "time": times,
        "one_in": pa.array([report.one_in for report in reports], pa.uint32()),
    }
    if group.table.counted:
        columns["count"] = pa.array([report.count for report in reports], pa.uint32())
    if group.table.stepped:
        columns["reached"] = pa.array(_reached(group), pa.uint32())
    declared = group.table.columns
    cells = _cells([report.values for report in reports], declared)
    columns |= zip(map(column_name, declared), cells, strict=True)
    return pa.table(columns)


def _cells(values: Sequence[Mapping[str, object]], declared: Mapping[str, str]) -> list[pa.Array]:
    """Return a column for each declared field (name -> SQL type) of the values of reports."""
    # Arrow takes the maps apart itself, which is faster than a list for each column.
    rows = pa.struct([(name, _ARROW[sql]) for name, sql in declared.items()])
    try:
        return list(pa.array(values, rows).flatten())
    except pa.ArrowTypeError:
        # If two catalogs declare the field with different SQL types, its column is text.
        text = {name for name, sql in declared.items() if sql == "VARCHAR"}
        values = [
            {name: column_text(cell) if name in text else cell for name, cell in one.items()}
            for one in values
        ]
        return list(pa.array(values, rows).flatten())


def column_text(cell: object) -> str:
    """Format a wire value as SQL casts its column to text, for example `true`."""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _reached(group: _Group) -> Iterator[int | None]:
    """Yield, for each report, a bit mask of the steps that it reached; None if the report is not
    of a sequence."""
    masks: dict[int, dict[str, int]] = {}
    for _, entry, report in group.reports:
        bits = masks.get(entry.n)
        if bits is None:
            steps = entry.types[report.type].steps
            bits = masks[entry.n] = {step: 1 << i for i, step in enumerate(steps)}
        yield sum({bits[step] for step, _ in report.sequence}) if report.sequence else None


def _steps(group: _Group) -> pa.Table:
    rows = [
        (n, entry.n, report.one_in, i, step, offset)
        for n, entry, report in group.reports
        for i, (step, offset) in enumerate(report.sequence or ())
    ]
    first = {(row[0], row[4]): row[3] for row in reversed(rows)}
    firsts = [first[row[0], row[4]] == row[3] for row in rows]
    return pa.table(
        {
            "n": pa.array([row[0] for row in rows], pa.int64()),
            "catalog": pa.array([row[1] for row in rows], pa.int32()),
            "one_in": pa.array([row[2] for row in rows], pa.uint32()),
            "i": pa.array([row[3] for row in rows], pa.uint8()),
            "step": pa.array([row[4] for row in rows], pa.string()),
            "first": pa.array(firsts, pa.bool_()),
            "offset_bucket": pa.array([row[5] for row in rows], pa.uint16()),
        }
    )

"""Counts on this machine how many reports of other people have the same values as a person's own.

The person's own reports are found by their ids and left out. Each question is one scan of the table
of one event type, and nothing leaves the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.store.duck import moment, name
from methrics.node.mine.own import ReadableReport
from methrics.node.mine.trail.others import Overlap, Window
from methrics.node.outbox.periods import DAY
from methrics.node.report.parts import FLAGS, part_names
from methrics.node.report.threshold.crowd import DAYS_MIN, PEOPLE, REPORTS, lasting
from methrics.node.report.threshold.public import ROWS_MAX, Public, Row, Table
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType

_PERIODS = {"first_of_month": "month", "first_of_week": "week", "first_of_day": "day"}
"""Flags by which people can be counted -> their period. The longest period is first, because its
count misses the fewest people."""


class _Table:
    """The table of one event type of one app."""

    def __init__(self, schema: str, table: str, stepped: bool, columns: Mapping[str, str]) -> None:
        self.schema = schema
        self.table = table
        self.stepped = stepped
        self.columns = columns
        """field name -> column"""

    def column(self, part: str) -> str | None:
        """Return SQL for a part of a report; None if no report in this data set has that part."""
        if part == "sequence":
            return "steps.reported" if self.stepped else None
        if part in self.columns:
            return f"x.{name(self.columns[part])}"
        return f"x.{part}" if part in ("count", "one_in") else None

    def source(self, parts: Sequence[str]) -> str:
        """Return SQL for the rows of the table, with the joins that `parts` need."""
        rows = f"{name(self.schema, self.table)} x"
        if "sequence" in parts and self.stepped:
            steps = name(self.schema, f"{self.table}_step")
            rows += (
                " LEFT JOIN (SELECT n, string_agg(step || '@' || offset_bucket, ' ' ORDER BY i) "
                f"AS reported FROM {steps} GROUP BY n) steps ON steps.n = x.n"
            )
        return rows


class PublicReports:
    """Implements `Others` for a data set: every report in it except the person's own.

    `namespaces` maps a namespace to its catalogs, whose key identifies the tables.
    """

    def __init__(
        self,
        dataset: Dataset,
        namespaces: Mapping[str, Sequence[Catalog]],
        own: Sequence[ReadableReport],
    ) -> None:
        self._dataset = dataset
        self._tables: dict[tuple[str, str], _Table] = {}
        self._known: set[str] = set()
        """Namespaces of which the data set has a catalog."""
        present = set(dataset.tables())
        for namespace, catalogs in namespaces.items():
            for key in {catalog.key for catalog in catalogs}:
                self._find(namespace, key, present)
        found = dataset.rows(
            "SELECT n FROM item WHERE id IN (SELECT unnest(?::BLOB[]))", [[one.id for one in own]]
        )
        self._mine = [n for (n,) in found]

    @property
    def mine(self) -> int:
        """The number of the person's own reports in the data."""
        return len(self._mine)

    def _find(self, namespace: str, key: bytes, present: set[str]) -> None:
        if self._dataset.rows("SELECT n FROM catalog WHERE key = ? LIMIT 1", [key]):
            self._known.add(namespace)
        types = self._dataset.rows(
            'SELECT DISTINCT t.n, t.schema, t.name, t."table" FROM type t '
            "JOIN catalog c ON c.schema = t.schema WHERE c.key = ?",
            [key],
        )
        for number, schema, type_name, table in types:
            fields = self._dataset.rows(
                'SELECT DISTINCT name, "column" FROM field WHERE type = ?', [number]
            )
            stepped = f"{schema}.{table}_step" in present
            self._tables[namespace, type_name] = _Table(schema, table, stepped, dict(fields))

    def counts_people(self, own: ReadableReport) -> str | None:
        """Return the period (month, week or day) whose first reports count people; None if the
        report's type has no such flag."""
        table = self._tables.get((own.namespace, own.event_type.name))
        found = _people_field(own.event_type)
        if table is None or found is None or table.column(found[0]) is None:
            return None
        return found[1]

    def agreeing(
        self,
        own: ReadableReport,
        names: Sequence[str],
        *,
        window: Window | None = None,
        people: bool = False,
    ) -> Overlap:
        """See `Others.agreeing`. Raises StoreError if the data set cannot be read."""
        table = self._tables.get((own.namespace, own.event_type.name))
        if table is None:
            return {}
        masks: list[str] = []
        values: list[object] = []
        for place, part in enumerate(names):
            column, mine = table.column(part), _text(own.parts.get(part), part)
            if column is None:
                masks.append(str((mine is None) << place))
                continue
            masks.append(
                f"CASE WHEN CAST({column} AS VARCHAR) IS NOT DISTINCT FROM ?::VARCHAR "
                f"THEN {1 << place} ELSE 0 END"
            )
            values.append(mine)
        where = ["x.n NOT IN (SELECT unnest(?::BIGINT[]))"]
        values.append(self._mine)
        found = _people_field(own.event_type) if people else None
        if found is not None:
            where.append(f"CAST({table.column(found[0])} AS VARCHAR) = 'true'")
            window = period_of(own.time, found[1])
        if window is not None:
            start, end = (max(0, time) for time in window)
            where.append(f"x.time >= {moment(start)} AND x.time < {moment(end)}")
        rows = self._dataset.rows(
            f"SELECT {' + '.join(masks) or '0'} AS agreed, count(*) FROM {table.source(names)} "
            f"WHERE {' AND '.join(where)} GROUP BY agreed",
            values,
        )
        return dict(rows)

    def remember(
        self, namespace: str, catalogs: Sequence[Catalog], source: str, now: int
    ) -> Public:
        """Summarize the others' reports of one app for the threshold. The summary has no times, and
        no fields that only depend on the time of a report."""
        newest = {name: one for catalog in catalogs for name, one in catalog.types.items()}
        types: dict[str, Table] = {}
        for type_name, event_type in newest.items() if namespace in self._known else ():
            table = self._tables.get((namespace, type_name))
            if table is not None:
                types[type_name] = self._summary(table, event_type)
            else:  # nobody has sent a report of this type
                types[type_name] = Table(part_names(event_type), {}, 0, REPORTS, "all the data")
        return Public(namespace, source, now, types)

    def _summary(self, table: _Table, event_type: EventType) -> Table:
        names, unit, period = part_names(event_type), REPORTS, "all the data"
        where = ["x.n NOT IN (SELECT unnest(?::BIGINT[]))"]
        found = _people_field(event_type)
        flag = table.column(found[0]) if found is not None else None
        if found is not None and flag is not None:
            # A person may send many such reports, so count only the first ones of a period.
            unit = PEOPLE
            flags = {one.name for one in event_type.fields if one.source in FLAGS}
            names = tuple(one for one in names if one not in flags)
            where.append(f"CAST({flag} AS VARCHAR) = 'true'")
            start = f"date_trunc('{found[1]}', x.time)"
            fullest = self._dataset.rows(
                f"SELECT {start} AS start, count(*) AS n FROM {table.source(names)} "
                f"WHERE {' AND '.join(where)} GROUP BY start ORDER BY n DESC, start DESC LIMIT 1",
                [self._mine],
            )
            if fullest:
                where.append(f"{start} = TIMESTAMP '{fullest[0][0]}'")
                period = f"the {found[1]} from {fullest[0][0]:%Y-%m-%d}"
        counted, total = self._counted(table, names, " AND ".join(where))
        return Table(names, counted, total, unit, period)

    def _counted(
        self, table: _Table, names: Sequence[str], where: str
    ) -> tuple[dict[Row, int], int]:
        """Return how many reports of each combination count (`lasting`), and how many reports there
        are in all.

        The days are those of arrival. The times in the reports would not do: whoever invents a
        report chooses its time.
        """
        cells = [f"{self._cell(table, part)} AS c{place}" for place, part in enumerate(names)]
        parts = "".join(f"c{place}, " for place in range(len(names)))
        daily = (
            f"SELECT {''.join(f'{cell}, ' for cell in cells)}"
            "date_trunc('day', item.received) AS arrived, count(*) AS reports "
            f"FROM {table.source(names)} JOIN item ON item.n = x.n WHERE {where} GROUP BY ALL"
        )
        rows = self._dataset.rows(
            f"SELECT {parts}list(reports) AS daily, sum(sum(reports)) OVER () FROM ({daily}) "
            f"GROUP BY ALL ORDER BY (len(daily) >= {DAYS_MIN}) DESC, sum(reports) DESC "
            f"LIMIT {ROWS_MAX}",
            [self._mine],
        )
        counted = {tuple(row[:-2]): lasting(row[-2]) for row in rows}
        return {row: n for row, n in counted.items() if n}, int(rows[0][-1]) if rows else 0

    def _cell(self, table: _Table, part: str) -> str:
        column = table.column(part)
        if column is None:
            return "NULL"
        # A report that is not sampled has no `one_in`.
        return f"nullif({column}, 1)" if part == "one_in" else column


def _people_field(event_type: EventType) -> tuple[str, str] | None:
    """Return (field, period) by which people can be counted; None if the type has no such field."""
    for source, period in _PERIODS.items():
        for one in event_type.fields:
            if one.source == source:
                return one.name, period
    return None


def period_of(time: int, period: str) -> Window:
    """Return the calendar month, ISO week or day (UTC) that contains `time` (Unix seconds)."""
    day = time - time % DAY
    if period == "day":
        return day, day + DAY
    if period == "week":
        monday = day - (day // DAY + 3) % 7 * DAY
        return monday, monday + 7 * DAY
    first = datetime.fromtimestamp(time, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    following = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())


def _text(value: str | int | bool | None, part: str) -> str | None:
    """Format a part of a report as DuckDB casts its column to text."""
    if value is None:
        return "1" if part == "one_in" else None
    return str(value).lower() if isinstance(value, bool) else str(value)

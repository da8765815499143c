"""The data set of bench_query in JSON: the same views, and the same questions asked of raw JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.read.sources import AttachedFile
from methrics.aggregate.read.totals import read_shows
from methrics.aggregate.store.duck import SCHEMA_ALIAS, literal, name

SAME = frozenset(
    {
        "bias",
        "counts",
        "coverage",
        "dau",
        "events",
        "funnel",
        "mau",
        "new_and_returning",
        "platform_shares",
        "quantiles",
        "randomized",
        "report_shares",
        "retention",
        "sessions",
        "step_times",
        "stickiness",
        "version_adoption",
        "wau",
        "withheld",
    }
)
"""Views whose own SQL also runs on the JSON: see `JsonDataset.asked`."""

NO_REPORTS = frozenset({"namespace_changes", "namespaces", "refusals"})
"""Views of small tables without reports: the same in both files."""

ASKED = {
    "reports_per_day": """
        SELECT time::DATE, 'example', properties->>'$.event', shown(count(*))
        FROM event
        GROUP BY ALL
        HAVING shown(count(*)) IS NOT NULL""",
    "arrivals": """
        SELECT days_later, n, sum(n) OVER (ORDER BY days_later) AS by_then,
            round(100.0 * by_then / sum(n) OVER ())
        FROM (
            SELECT greatest(0, received::DATE - time::DATE) AS days_later, shown(count(*)) AS n
            FROM event
            WHERE properties->>'$.event' = {event}
            GROUP BY ALL
            HAVING shown(count(*)) IS NOT NULL
        )""",
}
"""Views with a separate query for the JSON."""

_LIST = "from_json(properties->'$.sequence', '[\"JSON\"]')"

_STEPS = f"""
    SELECT id AS n, 1 AS catalog, one_in, i, step->>'$[0]' AS step,
        (step->>'$[1]')::USMALLINT AS offset_bucket,
        list_position(list_transform(steps, lambda x: x->>'$[0]'), step->>'$[0]') = i + 1 AS first
    FROM (
        SELECT *, unnest(range(len(steps))) AS i, unnest(steps) AS step
        FROM (
            SELECT id, (properties->>'$.one_in')::UINTEGER AS one_in, {_LIST} AS steps
            FROM event
            WHERE {{}}
        )
    )"""
"""The steps of all sequences for which a condition holds."""


class TypedDataset(Dataset):
    """An aggregator's file, read on one thread."""

    @classmethod
    def open(cls, path: Path, known: Path, memory_limit: str) -> Self:
        """Open a file like `open_dataset`, with the default floor."""
        source = AttachedFile(path)
        source.con.execute("SET threads = 1")
        return cls(source, memory_limit, read_shows(10, known))

    def kinds(self) -> Iterator[tuple[str, str, str]]:
        """(view, its file's name, event type or nothing) for every view."""
        for view in self._views.values():
            kind = view.template.name
            yield view.full, kind, view.name.removesuffix(kind).removesuffix("_")


class JsonDataset(TypedDataset):
    """The file of `make_json`: `event` and the small tables, and no typed ones."""

    @classmethod
    def open(cls, path: Path, known: Path, memory_limit: str) -> Self:
        """Open the file, with a view of `event` as well."""
        data = super().open(path, known, memory_limit)
        data.connection.execute(f"CREATE VIEW event AS FROM {name(SCHEMA_ALIAS, 'main', 'event')}")
        return data

    def asked(self, full: str, event: str) -> str:
        """The SQL for the view `full` on the JSON.

        It is the view's own SQL; a query in front of it extracts each column that it uses from the
        objects, once.
        """
        view = self._views[full]
        if view.template.name in NO_REPORTS:
            return f"FROM {full}"
        if view.template.name in ASKED:
            return ASKED[view.template.name].replace("{event}", literal(event))
        sql = view.sql.view
        fronts = []
        for table, front in self._fronts(view.schema, event, sql):
            if table in sql:
                sql = sql.replace(table, front.partition(" ")[0])
                fronts.append(front)
        if not fronts or "item" in sql.split():
            raise SystemExit(f"{full}: reads tables that benchmarks/query_json.py does not know")
        return f"WITH {', '.join(fronts)}, {sql.removeprefix('WITH ')}"

    def _fronts(self, schema: str, event: str, sql: str) -> Iterator[tuple[str, str]]:
        """(table, the query in its place) for the table of steps and that of the event type."""
        number, table = self.rows(
            'SELECT n, "table" FROM type WHERE schema = ? AND name = ?', [schema, event]
        )[0]
        columns = {
            "n": "id",
            "catalog": "1",
            "day": "time::DATE",
            "time": "time",
            "one_in": "(properties->>'$.one_in')::UINTEGER",
            "count": "(properties->>'$.count')::UINTEGER",
            "reached": self._reached(number),
        }
        for field, column, kind in self.rows(
            'SELECT DISTINCT name, "column", kind FROM field WHERE type = ?', [number]
        ):
            cast = {"flag": "::BOOLEAN", "bucket": "::USMALLINT", "count": "::USMALLINT"}
            columns[column] = f"(properties->>'$.{field}'){cast.get(kind, '')}"
        used = set(re.findall(r"\w+", sql))
        listed = ", ".join(f"{sql} AS {name(own)}" for own, sql in columns.items() if own in used)
        where = f"properties->>'$.event' = {literal(event)}"
        yield name(schema, f"{table}_step"), f"json_step AS MATERIALIZED ({_STEPS.format(where)})"
        yield (
            name(schema, table),
            f"json_event AS MATERIALIZED (SELECT {listed} FROM event WHERE {where})",
        )

    def _reached(self, number: int) -> str:
        """The steps that a sequence reached, like the typed column `reached`."""
        found = self.rows(
            "SELECT text FROM code WHERE type = ? AND field = 'step' ORDER BY value", [number]
        )
        steps = ", ".join(literal(step) for (step,) in found)
        reached = f"list_distinct(list_transform({_LIST}, lambda x: x->>'$[0]'))"
        bit = f"1 << (list_position([{steps}], x) - 1)"
        return f"list_sum(list_transform({reached}, lambda x: {bit}))::UINTEGER"

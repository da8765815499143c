"""The data set of bench_query in JSON: the same views, and the same questions asked of raw JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from methrics.aggregate.dataset import Dataset
from methrics.aggregate.duck import SCHEMA_ALIAS, attach_reader, literal, memory, name
from methrics.aggregate.layout import BASE

SAME = frozenset(
    {
        "platforms",
        "users_per_day",
        "users_per_month",
        "versions",
    }
)
"""Views whose SQL is asked of the JSON as it stands, each column being read from the object."""

NO_REPORTS = frozenset({"refusals"})
"""Views of small tables which are no reports: the same either way."""

ASKED = {
    "reports_per_day": """
        SELECT time::DATE, 'example', properties->>'$.event', count(*)
        FROM event GROUP BY ALL""",
    "funnel": """
        WITH own AS (
            SELECT id, (properties->>'$.one_in')::INTEGER AS one_in,
                from_json(properties->'$.sequence', '["JSON"]') AS steps
            FROM event WHERE properties->>'$.event' = '{type}'
        ),
        step AS (
            SELECT id, one_in, unnest(range(len(steps))) AS i, unnest(steps)->>'$[0]' AS step
            FROM own
        ),
        reached AS (SELECT step, id, one_in, min(i) AS place FROM step GROUP BY ALL)
        SELECT step, sum(one_in)::BIGINT,
            round(100.0 * sum(one_in) / (SELECT sum(one_in) FROM own), 1)
        FROM reached GROUP BY step""",
}
"""Views asked of the JSON in words of its own: {type} is the event type."""


class TypedDataset(Dataset):
    """An aggregator's file, read on one thread."""

    @classmethod
    def open(cls, path: Path, memory_limit: str) -> Self:
        """As `open_dataset` opens a file."""
        con = memory()
        con.execute("SET threads = 1")
        attach_reader(con, path)
        return cls(path, con, memory_limit)


class JsonDataset(TypedDataset):
    """The file of `make_json`, with every typed table replaced by a view of the JSON."""

    def _bring_file(self) -> None:
        for table in BASE:
            if table != "item":
                self._view("main", table, f"FROM {name(SCHEMA_ALIAS, table)}")
        self._view("main", "event", f"FROM {name(SCHEMA_ALIAS, 'event')}")
        self._view(
            "main",
            "item",
            "SELECT e.id AS n, 1 AS kind, 1 AS catalog, t.n AS type, e.time "
            "FROM event e JOIN type t ON t.name = e.properties->>'$.event'",
        )
        types = self._con.execute('SELECT n, schema, name, "table", kind FROM type').fetchall()
        for number, schema, type_name, table, kind in types:
            self._typed(number, schema, type_name, table, kind)

    def _typed(self, number: int, schema: str, type_name: str, table: str, kind: str) -> None:
        columns = {
            "n": "id",
            "catalog": "1",
            "day": "time::DATE",
            "time": "time",
            "one_in": "(properties->>'$.one_in')::UINTEGER",
        }
        if kind == "count":
            columns["count"] = "(properties->>'$.count')::UINTEGER"
        for field, column, sql in self._con.execute(
            'SELECT f.name, f."column", c.data_type FROM field f JOIN duckdb_columns() c '
            'ON c.column_name = f."column" WHERE f.type = ? AND c.schema_name = ? '
            "AND c.table_name = ? AND c.database_name = ?",
            [number, schema, table, SCHEMA_ALIAS],
        ).fetchall():
            columns[column] = f"(properties->>'$.{field}')::{sql}"
        listed = ", ".join(f"{sql} AS {name(column)}" for column, sql in columns.items())
        where = f"properties->>'$.event' = {literal(type_name)}"
        self._view(schema, table, f"SELECT {listed} FROM event WHERE {where}")
        if kind == "sequence":
            self._view(
                schema,
                f"{table}_step",
                "SELECT id AS n, i, step->>'$[0]' AS step, (step->>'$[1]')::USMALLINT AS "
                "offset_bucket FROM (SELECT id, unnest(range(len(steps))) AS i, "
                "unnest(steps) AS step FROM (SELECT id, from_json(properties->'$.sequence', "
                f"'[\"JSON\"]') AS steps FROM event WHERE {where}))",
            )

    def asked(self, query: str, view: str) -> str:
        """`query` for the event type of `view`."""
        for (type_name,) in self.rows("SELECT name FROM type ORDER BY len(name) DESC"):
            if f".{type_name}_" in view:
                return query.replace("{type}", type_name)
        return query

"""One view's file: what its header declares, and the SQL that the loader makes of it.

A file is a comment, a header and two queries:

    -- What the numbers mean. What they do not claim.
    -- for each type with: source=first_of_week, source=install_age
    -- for each field of: enum, country
    -- labels: week, field, value, one_in
    -- size: installs
    -- percents: percent
    SELECT ... FROM {table} ...
    -- shown
    SELECT ... FROM shown ...

The first query counts. The loader lets through only the columns that the header names, and of
them only labels as they are: every count goes through the macro `shown`, and a row whose `size`
(reports behind it) is under the floor is dropped. The second query sees nothing but what is left,
so whatever it works out (percents, intervals, quantiles) says no more about a small group than the
counts that are shown. That is the one place where small groups are protected, and no file can do
without it.

The first query of a file that is for each field may be two, with a line `-- each` between them: one
that reads the table for as many fields at once as have few values together (`{columns}`, or
`{filled}` which counts the rows that have each), and one for each field, that reads what came of it
(`FROM {bundle}`). That spares reading a large table once for every field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from methrics.aggregate.store.duck import Connection, name

SHOWN = (
    "CREATE MACRO shown(n) AS"
    " CASE WHEN n >= {floor} OR {floor} = 1 THEN (n - n % {floor})::BIGINT END;"
    "CREATE MACRO percent(part, whole) AS round(100.0 * part / nullif(whole, 0))::BIGINT;"
    "CREATE MACRO shown_step() AS {floor};"
)
"""`shown`: rounded down to a multiple of the floor, NULL under it. The one macro of all views."""

RESULT_READS = frozenset({"shown", "code", "known"})
"""All that a second query may read: what is shown, the dictionary of codes, known totals."""

BUNDLE_MAX = 600
"""Combinations of values, NULL included, of the fields that are read at once: a few hundred groups
cost little more than one, hundreds of thousands cost more than reading the table again."""

_MARK = "-- shown"
_EACH = "-- each"
WHOLE = "''"
"""The column in a filling for all reports, whatever their fields say."""

_FOR_TYPE = "for each type with"
_FOR_FIELD = "for each field of"
COUNTED = ("labels", "size", "counts")
RESULT = ("totals", "percents", "bounds", "numbers")
KINDS = (*COUNTED, *RESULT)
"""What a column is. Of the first query: `labels`, names, days, and numbers that count nobody;
`size`, how many reports are behind the row; `counts`, reports too. There are no sums over reports,
for a sum beside a larger one gives away what the difference holds: group by what is to be added up,
and add up in the second query. Of that one, which may show the same columns again: `totals` add up
what is shown, `percents` are rounded to whole numbers, `bounds` are ends of intervals and estimates
between them, and `numbers` are none of these, such as days."""

_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\))(\[\])*")


class ViewError(ValueError):
    """A view's file breaks the rules of this module: a mistake in the program, not in the data."""


@dataclass(frozen=True, slots=True)
class Template:
    """One file, read. `types` and `fields` are what follows `for each`; None without the line."""

    name: str
    says: str
    types: tuple[str, ...] | None
    fields: tuple[str, ...] | None
    kinds: Mapping[str, str]
    """column -> kind"""
    bundled: str | None
    counted: str
    result: str

    @property
    def size(self) -> str:
        """The column that says how many reports are behind a row."""
        return next(column for column, kind in self.kinds.items() if kind == "size")


def read(view: str, text: str) -> Template:
    """The file `text` of the view called `view`. Raises ViewError."""
    head, marked, result = text.partition(f"\n{_MARK}\n")
    if not marked:
        raise ViewError(f"{view}: no line `{_MARK}` before the query of what is shown")
    lines = head.splitlines()
    comment = [
        line.removeprefix("--").strip() for line in lines if line.startswith("--") and line != _EACH
    ]
    parts = _queries(head).split(f"\n{_EACH}\n")
    if len(parts) > 2:
        raise ViewError(f"{view}: more than one line `{_EACH}`")
    header = {key: value for key, value in map(_declared, comment) if key}
    if unknown := set(header) - {_FOR_TYPE, _FOR_FIELD, *KINDS}:
        raise ViewError(f"{view}: the header cannot say {', '.join(sorted(unknown))}")
    kinds = {column: kind for kind in KINDS for column in header.get(kind, ())}
    if len(header.get("size", ())) != 1:
        raise ViewError(f"{view}: the header names no one column as size")
    if len(kinds) != sum(len(header.get(kind, ())) for kind in KINDS):
        raise ViewError(f"{view}: the header names a column twice")
    says = " ".join(line for line in comment if not _declared(line)[0])
    types, fields = header.get(_FOR_TYPE), header.get(_FOR_FIELD)
    bundled = parts[0].strip() if len(parts) == 2 else None
    return Template(view, says, types, fields, kinds, bundled, parts[-1].strip(), result.strip())


def _queries(head: str) -> str:
    """`head` without its comment and header."""
    lines = head.splitlines()
    return "\n".join(line for line in lines if line == _EACH or not line.startswith("--"))


def _declared(line: str) -> tuple[str, tuple[str, ...]]:
    """(key, values) of a header line; an empty key for a line of the comment."""
    key, colon, values = line.partition(": ")
    if not colon or key not in (_FOR_TYPE, _FOR_FIELD, *KINDS):
        return "", ()
    return key, tuple(value.strip() for value in values.split(","))


def fill(sql: str, names: Mapping[str, str]) -> str:
    """`sql` with what stands in braces replaced."""
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], sql)


@dataclass(frozen=True, slots=True)
class Composed:
    """SQL of a view, of its first query, of its second, and of the number of rows left out."""

    view: str
    counted: str
    result: str
    hidden: str


def compose(template: Template, fillings: Sequence[Mapping[str, str]]) -> Composed:
    """The SQL of one view; with one filling for each field if it is for each field."""
    bundles, fillings = _bundle(template, fillings)
    parts = [fill(template.counted, names) for names in fillings]
    counted = parts[0] if len(parts) == 1 else "\nUNION ALL\n".join(f"({one})" for one in parts)
    size = name(template.size)
    columns = ", ".join(
        name(column) if kind == "labels" else f"shown({name(column)}) AS {name(column)}"
        for column, kind in template.kinds.items()
        if kind in COUNTED
    )
    rounded = [name(column) for column, kind in template.kinds.items() if kind == "percents"]
    star = ", ".join(f"round({column})::BIGINT AS {column}" for column in rounded)
    result = fill(template.result, fillings[0])
    view = (
        f"WITH {bundles}counted AS (\n{counted}\n),\n"
        f"shown AS (SELECT {columns} FROM counted WHERE shown({size}) IS NOT NULL)\n"
        f"SELECT *{f' REPLACE ({star})' if star else ''} FROM (\n"
        f"{result}\n)"
    )
    hidden = (
        f"WITH {bundles}counted AS (\n{counted}\n)\n"
        f"SELECT count(*) FROM counted WHERE {size} > 0 AND shown({size}) IS NULL"
    )
    whole = f"WITH {bundles}counted AS (\n{counted}\n)\nFROM counted"
    return Composed(view, whole, result, hidden)


def _bundle(
    template: Template, fillings: Sequence[Mapping[str, str]]
) -> tuple[str, Sequence[Mapping[str, str]]]:
    """The queries that read several fields at once, and what stands in the braces of each field."""
    if template.bundled is None:
        return "", fillings
    bundles: list[list[str]] = [[]]
    sizes = [1]
    placed: list[dict[str, str]] = []
    for names in sorted(fillings, key=lambda names: int(names["domain"])):
        values = int(names["domain"]) + 1
        together = sizes[-1] * values <= BUNDLE_MAX or "{columns}" not in template.bundled
        if bundles[-1] and names["column"] != WHOLE and not together:
            bundles.append([])
            sizes.append(1)
        column = WHOLE
        if names["column"] != WHOLE:
            bundles[-1].append(names["column"])
            sizes[-1] *= values
            column = f"field_{len(bundles[-1])}"  # its own name could be that of a label
        placed.append({**names, "column": column, "bundle": f"bundle_{len(bundles)}"})
    sql = ""
    for number, columns in enumerate(bundles, start=1):
        named = [f"{column} AS field_{i}" for i, column in enumerate(columns, start=1)]
        filled = [f"count({column}) AS field_{i}" for i, column in enumerate(columns, start=1)]
        lists = {
            "columns": ", ".join(named) or "NULL AS nothing",
            "filled": ", ".join(filled) or "NULL AS nothing",
        }
        query = fill(template.bundled, {**fillings[0], **lists})
        sql += f"bundle_{number} AS MATERIALIZED (\n{query}\n),\n"
    return sql, placed


def check(con: Connection, template: Template, sql: Composed) -> None:
    """Raise ViewError unless every column is declared and the second query reads what is shown."""
    counted = [column for column, _ in _columns(con, sql.counted)]
    declared = [column for column, kind in template.kinds.items() if kind in COUNTED]
    if sorted(counted) != sorted(declared):
        odd = ", ".join(sorted(set(counted) ^ set(declared)))
        raise ViewError(f"{template.name}: {odd}: declared and counted are not the same columns")
    more = _read_by(con, sql.result) - RESULT_READS
    if more:
        raise ViewError(f"{template.name}: the second query reads {', '.join(sorted(more))}")
    for column, type_name in _columns(con, sql.view):
        if _NUMBERS.fullmatch(type_name) and column not in template.kinds:
            raise ViewError(f"{template.name}: the number {column} is not declared")


def _read_by(con: Connection, sql: str) -> set[str]:
    """Tables and table functions that `sql` reads, without its own common table expressions."""
    row = con.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(row[0] if row else "{}")
    if tree.get("error") is not False:
        raise ViewError(f"not a query that can be checked: {tree.get('error_message')}")
    read: set[str] = set()
    own: set[str] = set()
    nodes: list[Any] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, dict):
            nodes += node.values()
            if node.get("type") == "BASE_TABLE":
                place = [node["catalog_name"], node["schema_name"], node["table_name"]]
                read.add(".".join(part for part in place if part))
            elif node.get("type") == "TABLE_FUNCTION":
                read.add(f"{node['function']['function_name']}()")
            own |= {one["key"] for one in node.get("cte_map", {}).get("map", ())}
    return read - own


def _columns(con: Connection, sql: str) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in con.execute(f"DESCRIBE {sql}").fetchall()]

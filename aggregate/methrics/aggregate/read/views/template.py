"""Reads the file of one view and composes the view's SQL.

A file is a comment, a header and two queries:

    -- The meaning of the numbers. Their limits.
    -- for each type with: source=first_of_week, source=install_age
    -- for each field of: enum, country
    -- labels: week, field, value, one_in
    -- size: installs
    -- percents: percent
    SELECT ... FROM {table} ...
    -- shown
    SELECT ... FROM shown ...

The first query counts. Only the columns that the header names go on to the second query. Labels go
on unchanged, every count is rounded by the macro `shown`, and a row is dropped if its `size` (the
number of its reports) is under the floor. The second query reads only the remaining rows. So its
results (percents, intervals, quantiles) reveal no more about a small group than the counts that are
shown. Small groups are protected at this one place, and every file has to pass through it.

In a file with a line `for each field of`, a line `-- each` may divide the first query into two. The
query before that line reads the table once for several fields that have few combinations of values
(`{columns}`; or `{filled}`, which counts the rows with a value of each field). The query after it
is repeated for each field and reads the result of the other one (`FROM {bundle}`). So a large table
is not read once for every field.
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
"""The macros of all views. `shown` rounds a count down to a multiple of the floor; a count under
the floor becomes NULL. `percent` divides two counts; `shown_step` is the floor."""

RESULT_READS = frozenset({"shown", "code", "known"})
"""The only tables that a second query may read: the rows that are shown, the dictionary of codes,
and the known totals."""

BUNDLE_MAX = 600
"""Limit on the combinations of values (NULL included) of fields that are read together. A few
hundred groups cost little more than one; hundreds of thousands cost more than reading the table
again."""

_MARK = "-- shown"
_EACH = "-- each"
WHOLE = "''"
"""The SQL that replaces `{column}` where the query counts all reports, whatever their values."""

_FOR_TYPE = "for each type with"
_FOR_FIELD = "for each field of"
COUNTED = ("labels", "size", "counts")
RESULT = ("totals", "percents", "bounds", "numbers")
KINDS = (*COUNTED, *RESULT)
"""The kinds of columns that a header declares.

Columns of the first query: `labels` are names, days, and numbers that do not count reports; `size`
is the number of reports in the row; `counts` are other numbers of reports. The first query must not
compute sums over reports, because the difference of two sums reveals the part by which they differ:
group by the number to be added up, and add up in the second query.

Columns of the second query, which may show those of the first again: `totals` add up counts that
are shown; `percents` are rounded to whole numbers; `bounds` are ends of intervals and estimates
between them; `numbers` are all others, such as days."""

_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\))(\[\])*")


class ViewError(ValueError):
    """A view's file breaks the rules of this module: an error in the program, not in the data."""


@dataclass(frozen=True, slots=True)
class Template:
    """The content of one file. `types` and `fields` are the words after `for each type with` and
    `for each field of`; None if the header has no such line."""

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
        """The name of the column with the number of reports in a row."""
        return next(column for column, kind in self.kinds.items() if kind == "size")


def read(view: str, text: str) -> Template:
    """Parse `text`, the file of the view called `view`. Raises ViewError."""
    head, marked, result = text.partition(f"\n{_MARK}\n")
    if not marked:
        raise ViewError(f"{view}: no line `{_MARK}` before the second query")
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
        raise ViewError(f"{view}: the header must name exactly one column as size")
    if len(kinds) != sum(len(header.get(kind, ())) for kind in KINDS):
        raise ViewError(f"{view}: the header names a column twice")
    says = " ".join(line for line in comment if not _declared(line)[0])
    types, fields = header.get(_FOR_TYPE), header.get(_FOR_FIELD)
    bundled = parts[0].strip() if len(parts) == 2 else None
    return Template(view, says, types, fields, kinds, bundled, parts[-1].strip(), result.strip())


def _queries(head: str) -> str:
    """Return `head` without its comment and header."""
    lines = head.splitlines()
    return "\n".join(line for line in lines if line == _EACH or not line.startswith("--"))


def _declared(line: str) -> tuple[str, tuple[str, ...]]:
    """Return (key, values) of a header line; the key is empty for a line of the comment."""
    key, colon, values = line.partition(": ")
    if not colon or key not in (_FOR_TYPE, _FOR_FIELD, *KINDS):
        return "", ()
    return key, tuple(value.strip() for value in values.split(","))


def fill(sql: str, names: Mapping[str, str]) -> str:
    """Replace each placeholder `{word}` in `sql` by `names[word]`."""
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], sql)


@dataclass(frozen=True, slots=True)
class Composed:
    """The SQL of a view: of the whole view, of its first query, of its second query, and of a query
    that counts the rows that the floor drops."""

    view: str
    counted: str
    result: str
    hidden: str


def compose(template: Template, fillings: Sequence[Mapping[str, str]]) -> Composed:
    """Compose the SQL of one view. Each of `fillings` maps the placeholders of `template` to their
    values; a template for each field gets one mapping for each field."""
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
    """Compose the queries that read several fields at once.

    Returns their SQL, and for each field its placeholders, changed to read from these queries.
    """
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
    """Raise ViewError if a column is not declared, or if the second query reads other tables than
    those in `RESULT_READS`."""
    counted = [column for column, _ in _columns(con, sql.counted)]
    declared = [column for column, kind in template.kinds.items() if kind in COUNTED]
    if sorted(counted) != sorted(declared):
        odd = ", ".join(sorted(set(counted) ^ set(declared)))
        raise ViewError(f"{template.name}: {odd}: declared and counted are not the same columns")
    more = tables_read(con, sql.result) - RESULT_READS
    if more:
        raise ViewError(f"{template.name}: the second query reads {', '.join(sorted(more))}")
    for column, type_name in _columns(con, sql.view):
        if _NUMBERS.fullmatch(type_name) and column not in template.kinds:
            raise ViewError(f"{template.name}: the number {column} is not declared")


def tables_read(con: Connection, sql: str) -> set[str]:
    """Return the tables and table functions that `sql` reads, without common table expressions that
    `sql` defines itself."""
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

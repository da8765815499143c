"""Tells whether SQL only reads, by the tree into which DuckDB parses it.

A SELECT may hold statements that write: DuckDB 2 takes `WITH x AS (COPY ... TO 'file')`, and
INSERT, UPDATE and DELETE in the same place. It calls the whole a SELECT, and a read-only
transaction lets COPY write files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from methrics.aggregate.store.duck import (
    Connection,
    StatementType,
    translated_query_errors,
)
from methrics.schema.errors import StoreError

_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?P<runs>ANALYZE\s+)?", re.IGNORECASE)

_READING = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""The kinds of queries that only read."""


def is_select(con: Connection, sql: str) -> bool:
    """Whether `sql` is exactly one SELECT, or EXPLAIN of one, that writes nothing.

    `con` parses the SQL and runs none of it. Raises StoreError, code query.
    """
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise StoreError("query", "the SQL is not text in UTF-8") from None
    with translated_query_errors():
        statements = con.extract_statements(sql)
    if len(statements) != 1:
        return False
    if statements[0].type == StatementType.EXPLAIN:
        rest = explained(sql)
        return rest is not None and _reads(con, rest)
    return statements[0].type == StatementType.SELECT and _reads(con, sql)


def explained(sql: str, *, runs: bool = True) -> str | None:
    """Return what `sql` explains, or None if it does not begin with EXPLAIN. `runs`: also what
    EXPLAIN ANALYZE runs."""
    begins = _EXPLAIN.match(sql)
    if begins is None or (begins["runs"] and not runs):
        return None
    return sql[begins.end() :]


def parse_tree(con: Connection, sql: str) -> dict[str, Any]:
    """Return the tree into which DuckDB parses SELECT statements; runs none of it.

    For other SQL it has `error` true. Raises StoreError, code query.
    """
    with translated_query_errors():
        [(text,)] = con.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    try:
        tree: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise StoreError("query", "the SQL is nested too deeply") from None
    return tree


def dictionaries(tree: object) -> Iterator[dict[str, Any]]:
    """Yield all objects in `tree`. Constants are left out: their content is data."""
    todo = [tree]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if one.get("class") != "CONSTANT":
                yield one
                todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)


def _reads(con: Connection, sql: str) -> bool:
    tree = parse_tree(con, sql)
    if tree.get("error") or len(tree.get("statements", ())) != 1:
        return False
    kinds = (str(node.get("type")) for node in dictionaries(tree))
    return all(kind in _READING for kind in kinds if kind.endswith("_NODE"))

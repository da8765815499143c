"""Decides whether a question may run: one SELECT over the tables of the data set. Pure.

It judges the tree into which DuckDB parses the SQL, not its text. Everything in the tree must be on
a closed list: kinds of nodes, functions, names of tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from methrics.aggregate.serve.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS
from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.only_reads import dictionaries, explained, is_select, parse_tree
from methrics.schema.errors import StoreError

SQL_MAX = 32_768
"""Maximum size of a question in bytes."""

_NODE_LIST = """
SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE
BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EMPTY EMPTY_FROM EXPRESSION_LIST PIVOT SHOW_REF
ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER
ORDER_DEFAULT ASCENDING DESCENDING
"""

_CLASS_LIST = """
BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT DEFAULT FUNCTION LAMBDA
LAMBDA_REF OPERATOR PARAMETER POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW
"""

_NODES = frozenset(_NODE_LIST.split())
"""The kinds of nodes that are no expressions."""

_CLASSES = frozenset(_CLASS_LIST.split())
"""The classes of expressions."""

_PLAIN = re.compile(r"[a-z_]\w*")

_SYSTEM = ("duckdb_", "pg_", "sqlite_", "pragma_", "information_schema")
"""Beginnings of the names of DuckDB's own views, which no name in a question may have."""


def check(con: Connection, sql: str, names: Collection[str]) -> None:
    """Raise StoreError, code query, unless `sql` is one SELECT, or EXPLAIN of one, that calls
    listed functions only and reads no table but those in `names` (in lower case) and its own.

    `con` parses the SQL and runs none of it.
    """
    if len(sql.encode(errors="replace")) > SQL_MAX:
        raise _refused(f"a question is at most {SQL_MAX:,} bytes")
    if not is_select(con, sql):
        raise _refused("only one SELECT statement can be asked")
    tree = parse_tree(con, explained(sql, runs=False) or sql)
    if tree.get("error") or len(tree.get("statements", ())) != 1:
        raise _refused("only one SELECT statement can be asked", "write it without PIVOT or CALL")
    nodes = list(dictionaries(tree["statements"][0]))
    own = frozenset(_own_names(nodes))
    for node in nodes:
        _check_node(node, names, own)


def _check_node(node: dict[str, Any], names: Collection[str], own: Collection[str]) -> None:
    kind, of_class = node.get("type"), node.get("class")
    if of_class is not None:
        if of_class not in _CLASSES:
            raise _refused(f"{of_class} cannot be used here")
    elif isinstance(kind, str) and "id" not in node and kind not in _NODES:
        raise _refused(f"{kind} cannot be used here")
    if kind == "TABLE_FUNCTION":
        _check_call(node["function"], TABLE_FUNCTIONS)
    elif "function_name" in node:
        _check_call(node, FUNCTIONS | OPERATORS | TABLE_FUNCTIONS)
    elif kind == "BASE_TABLE":
        _check_table(_path(node), names, own)
    elif kind == "SHOW_REF" and not isinstance(node.get("query"), dict):
        raise _refused("SHOW cannot be used here", "GET /tables lists the tables and views")


def _check_call(node: dict[str, Any], listed: Collection[str]) -> None:
    name = str(node.get("function_name", "")).lower()
    if name not in listed or {part.lower() for part in _path(node)[:-1]} - {"main", "system"}:
        raise _refused(f"the function {name} cannot be used here")


def _check_table(path: list[str], names: Collection[str], own: Collection[str]) -> None:
    lower = [part.lower() for part in path]
    if len(lower) == 1 and lower[0] in own:
        return
    if len(lower) > 1 and lower[0] in ("memory", "main"):
        lower = lower[1:]
    if ".".join(lower) not in names:
        raise _refused(
            f"no table or view is called {'.'.join(path)}", "GET /tables lists the tables and views"
        )


def _own_names(nodes: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the names that the question gives to its own subqueries (WITH name AS ...)."""
    for node in nodes:
        ctes = node.get("cte_map")
        for entry in ctes.get("map", ()) if isinstance(ctes, dict) else ():
            name = str(entry.get("key", "")).lower()
            if not _PLAIN.fullmatch(name) or name.startswith(_SYSTEM):
                raise _refused(f"WITH cannot give the name {name}")
            yield name


def _path(node: dict[str, Any]) -> list[str]:
    path = node.get("qualified_name", {}).get("path")
    if not isinstance(path, list) or not path:
        raise _refused("a name in the SQL is not understood")
    return [str(part) for part in path]


def _refused(why: str, hint: str = "") -> StoreError:
    return StoreError("query", why, hint)

"""SQL that people ask reads only, whatever it has inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from methrics.aggregate.store.duck import Connection, memory
from methrics.aggregate.store.only_reads import explained, is_select
from methrics.schema.errors import StoreError


@pytest.fixture
def con() -> Iterator[Connection]:
    with memory() as made:
        made.execute("CREATE TABLE t (a INTEGER, b VARCHAR)")
        yield made


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "FROM t",
        "VALUES (1)",
        "DESCRIBE t",
        "SUMMARIZE t",
        "SHOW TABLES",
        "EXPLAIN FROM t",
        "explain\nanalyze SELECT count(*) FROM t",
        "WITH x AS (SELECT 1) FROM x UNION ALL FROM x",
        "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r WHERE x < 5) FROM r",
        "SELECT {'type': 'COPY_QUERY_NODE'}",
        "-- a comment\nSELECT 1;",
    ],
)
def test_what_reads_may_be_asked(con: Connection, sql: str) -> None:
    assert is_select(con, sql)
    con.sql(sql)


def test_attack_a_select_that_writes_is_refused(con: Connection, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    copy = f"COPY (SELECT 1) TO '{out}'"
    for sql in (
        copy,
        f"WITH x AS ({copy}) SELECT 1",
        f"WITH x AS MATERIALIZED ({copy}) SELECT 1",
        f"SELECT (WITH x AS ({copy}) SELECT 1)",
        f"FROM (WITH x AS ({copy}) SELECT 1)",
        f"SELECT 1 UNION (WITH x AS ({copy}) SELECT 1)",
        f"WITH y AS (WITH x AS ({copy}) SELECT 1) FROM y",
        f"EXPLAIN ANALYZE {copy}",
        f"EXPLAIN ANALYZE WITH x AS ({copy}) SELECT 1",
        f"--\nEXPLAIN ANALYZE {copy}",
        f"/* SELECT */ EXPLAIN ANALYZE {copy}",
        f"SELECT 1; {copy}",
        "WITH x AS (INSERT INTO t VALUES (1, 'a') RETURNING *) FROM x",
        "WITH x AS (UPDATE t SET a = 1 RETURNING *) FROM x",
        "WITH x AS (DELETE FROM t RETURNING *) FROM x",
        "EXPLAIN ANALYZE DELETE FROM t",
        "CALL pragma_version()",
        "CREATE TABLE u AS SELECT 1",
        "",
    ):
        assert not is_select(con, sql), sql
    assert not out.exists()


def test_sql_that_cannot_be_parsed_says_so(con: Connection) -> None:
    for sql in ("SELEC 1", "SELECT '\ud800'", f"SELECT {'(' * 5000}1{')' * 5000}"):
        with pytest.raises(StoreError) as caught:
            is_select(con, sql)
        assert caught.value.code == "query"


def test_only_the_beginning_explains() -> None:
    assert explained(" EXPLAIN FROM t") == "FROM t"
    assert explained("EXPLAIN ANALYZE FROM t") == "FROM t"
    assert explained("EXPLAIN ANALYZE FROM t", runs=False) is None
    for sql in ("SELECT 1", "-- \nEXPLAIN FROM t", "FROM t, EXPLAIN t"):
        assert explained(sql) is None

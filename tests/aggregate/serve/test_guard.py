"""Questions that would write, leave the data set, or use up the machine: each is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_making import make_data

from methrics.aggregate.read.live import ERROR_KEY
from methrics.aggregate.serve.frames import ARROW, END, ERROR, HEAD, READY, decode_head
from methrics.aggregate.serve.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.serve.statement import SQL_MAX, check
from methrics.aggregate.serve.worker import Worker
from methrics.aggregate.store.duck import Connection, memory
from methrics.schema.errors import StoreError

NAMES = {"t", "item", "test.beat", "test.beat_dau"}


@pytest.fixture(scope="module")
def parser() -> Iterator[Connection]:
    con = memory()
    yield con
    con.close()


class Asked:
    """A worker in this process, and the frames that it wrote last."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._out = bytearray()
        self._worker = Worker(directory, limits, self._out.extend)

    def frames(self, request: object) -> list[tuple[bytes, bytes]]:
        self._out.clear()
        self._worker.answer(json.dumps(request).encode())
        found, at = [], 0
        while at < len(self._out):
            kind, length = decode_head(bytes(self._out[at : at + HEAD.size]))
            at += HEAD.size
            found.append((kind, bytes(self._out[at : at + length])))
            at += length
        return found

    def sql(self, sql: str, *parameters: object) -> list[tuple[bytes, bytes]]:
        return self.frames({"ask": "sql", "sql": sql, "parameters": parameters, "floor": 1})

    def rows(self, sql: str, *parameters: object) -> list[dict[str, object]]:
        frames = self.sql(sql, *parameters)
        assert [frames[0][0], frames[-1][0]] == [READY, END], frames
        stream = b"".join(content for kind, content in frames if kind == ARROW)
        return list(pa.ipc.open_stream(stream).read_all().to_pylist())

    def refusal(self, sql: str) -> str:
        [(kind, content)] = self.sql(sql)
        assert kind == ERROR
        return str(json.loads(content)["message"])

    def close(self) -> None:
        self._worker.close()


@pytest.fixture(scope="module")
def asked(parquet: Path) -> Iterator[Asked]:
    one = Asked(parquet, Limits(answer_bytes=2_000_000))
    yield one
    one.close()


def test_questions_are_answered_in_arrow(asked: Asked) -> None:
    assert asked.rows("SELECT count(*) AS n FROM item") == [{"n": 40}]
    assert asked.rows("SELECT ? + 1 AS n", 41) == [{"n": 42}]
    assert len(asked.rows("FROM test.beat")) == 40
    assert asked.rows("FROM test.beat_dau") == asked.rows("SELECT * FROM Test.Beat_DAU")
    assert asked.rows("WITH few AS (FROM test.beat LIMIT 3) SELECT count(*) AS n FROM few") == [
        {"n": 3}
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a BETWEEN 1 AND 2, a::VARCHAR, CASE WHEN a = 1 THEN 2 END, s LIKE 'x%' FROM t",
        "SELECT l[1], {'a': 1}.a, [x + 1 FOR x IN l], year(d), d AT TIME ZONE 'UTC' FROM t",
        "SELECT count(*) FILTER (a > 1), row_number() OVER (ORDER BY a ROWS 2 PRECEDING) FROM t",
        "FROM t JOIN item i USING (a) LEFT JOIN unnest([1]) ON true, range(3), LATERAL (SELECT 1)",
        "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x + 1 FROM r WHERE x < 5) FROM r",
        "FROM t PIVOT (count(*) FOR a IN (1, 2))",
        "UNPIVOT t ON a, b INTO NAME n VALUE v",
        "FROM t TABLESAMPLE 10% QUALIFY 1 = 1 ORDER BY ALL LIMIT 3",
        "SELECT DISTINCT ON (a) t.* EXCLUDE (b) FROM main.t GROUP BY ROLLUP (a)",
        "DESCRIBE t",
        "SUMMARIZE test.beat",
        "EXPLAIN SELECT 1",
        "SELECT {'type': 'INSERT_QUERY_NODE', 'function_name': 'read_csv'}",
    ],
)
def test_ordinary_questions_may_be_asked(parser: Connection, sql: str) -> None:
    check(parser, sql, NAMES)


ATTACKS = {
    "write": "INSERT INTO t VALUES (1)",
    "create": "CREATE TABLE x AS SELECT 1",
    "several-statements": "SELECT 1; SELECT 2",
    "hidden-second-statement": "SELECT 1; COPY t TO 'x'",
    "nothing": "-- only a comment",
    "data-changing-cte": "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) FROM x",
    "deleting-cte": "WITH x AS (DELETE FROM t RETURNING *) FROM x",
    "copy": "COPY t TO 'x.csv'",
    "attach": "ATTACH 'x.duckdb'",
    "pragma": "PRAGMA database_list",
    "set": "SET memory_limit = '100GB'",
    "install": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "call": "CALL pragma_version()",
    "file-name-as-table": "FROM '/etc/passwd.csv'",
    "read-csv": "FROM read_csv('/etc/passwd')",
    "read-text-in-a-subquery": "SELECT 1 WHERE EXISTS (FROM read_text('/etc/passwd'))",
    "read-in-describe": "DESCRIBE SELECT * FROM read_csv('/etc/passwd')",
    "read-in-explain": "EXPLAIN SELECT * FROM read_csv('/etc/passwd')",
    "parquet-of-another-path": "FROM read_parquet('/tmp/other.parquet')",
    "glob": "FROM glob('/*')",
    "address": "FROM 'https://example.org/x.parquet'",
    "getenv": "SELECT getenv('HOME')",
    "setting": "SELECT current_setting('temp_directory')",
    "settings": "FROM duckdb_settings()",
    "settings-view": "FROM pg_catalog.pg_settings",
    "system-view": "FROM duckdb_views",
    "system-view-behind-a-name": "WITH duckdb_views AS (SELECT 1) FROM duckdb_views",
    "file-behind-a-name": 'FROM (WITH "x.csv" AS (SELECT 1) SELECT 1), "x.csv"',
    "information-schema": "FROM information_schema.tables",
    "other-catalog": "FROM system.main.duckdb_views",
    "sql-in-text": "FROM query('FROM duckdb_settings()')",
    "table-in-text": "FROM query_table(['duckdb_settings'])",
    "serialized-sql": "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "sequence": "SELECT nextval('s')",
    "variable": "SELECT getvariable('x')",
    "profiling": "FROM enable_profiling()",
    "log": "SELECT write_log('x')",
    "sleep": "SELECT sleep_ms(100000)",
    "python-variable": "FROM parser",
    "show": "SHOW ALL TABLES",
    "explain-analyze": "EXPLAIN ANALYZE SELECT 1",
    "explain-in-a-comment": "--\nEXPLAIN FROM duckdb_settings()",
    "explain-in-a-block-comment": "/* */ EXPLAIN FROM duckdb_settings()",
    "explain-in-the-middle": "FROM t, --\nEXPLAIN FROM\n duckdb_settings()",
    "copy-in-with": "WITH x AS (COPY (SELECT 1) TO 'metrics.parquet/manifest.json') SELECT 1",
    "copy-in-with-in-a-subquery": "SELECT (WITH x AS (COPY (SELECT 1) TO 'x.csv') SELECT 1)",
    "copy-explained": "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
    "explain-with-options": "EXPLAIN (FORMAT json) SELECT 1",
    "writers-refusal-samples": "SELECT sample FROM refusal",
    "writers-private-table": "FROM contested",
    "writers-votes": "FROM vote",
    "writers-file": "FROM methrics.item",
    "function-behind-a-comment": "SELECT name --\nEXPLAIN FROM duckdb_settings()",
    "file-behind-a-comment": "SELECT content --\nEXPLAIN FROM read_text('/etc/hostname')",
    "copying-cte": "WITH x AS (COPY (SELECT 1) TO 'x.csv') SELECT 1",
    "copying-cte-behind-a-comment": (
        "WITH a AS (SELECT 1 --\nEXPLAIN FROM range(1)), x AS (COPY (SELECT 1) TO 'x.csv') "
        "SELECT 1 /*\n) SELECT 1 --*/"
    ),
    "explained-copy": "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
    "too-long": f"SELECT {'1+' * SQL_MAX}1",
    "too-deep": f"SELECT {'(' * 5000}1{')' * 5000}",
}


@pytest.mark.shows("METH-12")
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_by_sql_is_refused(asked: Asked, attack: str) -> None:
    assert asked.refusal(ATTACKS[attack])
    assert asked.rows("SELECT count(*) AS n FROM item") == [{"n": 40}], "it still answers"


@pytest.mark.parametrize("name", ["metrics.parquet", "m\u00e9triques.parquet", 'a "b".parquet'])
def test_no_error_tells_where_the_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet: Path, name: str
) -> None:
    shutil.copytree(parquet, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    one = Asked(Path(name), Limits())
    asked = {"ask": "sql", "sql": "SELECT sum(n) FROM item", "parameters": [], "floor": 1}
    assert one.frames(asked)[-1][0] == END
    for file in (tmp_path / name).rglob("raw/**/*.parquet"):
        file.write_bytes(b"damaged")
    [(kind, content)] = one.frames(asked)
    assert kind == ERROR
    said = json.loads(content)["message"]
    assert str(tmp_path) not in said
    assert name in said
    one.close()


def test_what_only_reads_is_decided_before_the_tree_is_read(parser: Connection) -> None:
    """DuckDB gives no tree of text that is not UTF-8, nor a useful hint about other statements."""
    for sql, why in (
        ("SELECT '\ud800'", "the SQL is not text in UTF-8"),
        ("DELETE FROM t", "only one SELECT statement can be asked"),
        ("SELECT 1; SELECT 2", "only one SELECT statement can be asked"),
    ):
        with pytest.raises(StoreError, match=why) as caught:
            check(parser, sql, NAMES)
        assert (caught.value.code, caught.value.hint) == ("query", "")


def test_attack_by_any_other_function_is_refused(parser: Connection) -> None:
    """Every function that this DuckDB has and the closed list has not."""
    listed = FUNCTIONS | OPERATORS | TABLE_FUNCTIONS
    found = parser.execute(
        "SELECT DISTINCT function_name, function_type LIKE '%table%' FROM duckdb_functions()"
    ).fetchall()
    dangerous = [name for name, _ in found if name.lower() not in listed]
    assert {"read_csv", "glob", "getvariable", "duckdb_settings", "write_log"} <= set(dangerous)
    for name in dangerous:
        quoted = '"' + name.replace('"', '""') + '"'
        for sql in (f"SELECT {quoted}('x')", f"FROM {quoted}('x')"):
            with pytest.raises(StoreError, match=r"cannot be used|syntax error|asked"):
                check(parser, sql, NAMES)
    tables = {name.lower() for name, of_table in found if of_table} & listed
    assert tables <= TABLE_FUNCTIONS | {"generate_series", "range", "repeat", "unnest", "histogram"}
    for name in tables - TABLE_FUNCTIONS:
        with pytest.raises(StoreError, match="cannot be used"):
            check(parser, f"FROM {name}('x', 1)", NAMES)


def test_no_listed_function_is_of_a_dangerous_family() -> None:
    words = (
        "read_",
        "glob",
        "setting",
        "secret",
        "sql",
        "log_",
        "file",
        "env",
        "parse_path",
        "sleep",
    )
    assert not [name for name in FUNCTIONS for word in words if word in name]
    assert not [name for name in FUNCTIONS if name.startswith(("duckdb_", "pg_", "pragma"))]


def test_every_view_of_duckdb_itself_is_refused(parser: Connection) -> None:
    found = parser.execute(
        "SELECT schema_name, view_name, schema_name IN ('main', 'pg_catalog') FROM duckdb_views() "
        "WHERE internal"
    ).fetchall()
    assert len(found) > 20
    for schema, view, unqualified in found:
        behind = f"FROM (WITH {view} AS (SELECT 1) SELECT 1), {view}" if unqualified else "PRAGMA x"
        for sql in (
            f"FROM {view}",
            f"FROM {schema}.{view}",
            f"FROM system.{schema}.{view}",
            behind,
        ):
            with pytest.raises(StoreError):
                check(parser, sql, NAMES)


TOKENS = (
    "SELECT FROM WITH x AS ( ) , 1 * x EXISTS UNION ALL WHERE read_text('{}') read_blob( '{}' "
    "\"{}\" glob('{}') LATERAL t.x EXPLAIN DESCRIBE JOIN ON true ; -- /* */ main. query( "
    "'SELECT getenv(1)' :: VARCHAR $1 [ ] {{ }}"
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(range(len(TOKENS.split()))), min_size=2, max_size=14))
def test_what_may_be_asked_never_opens_a_file(
    opened: tuple[Connection, Path], at: list[int]
) -> None:
    con, secret = opened
    tokens = TOKENS.format(*[secret] * 4).split()
    sql = " ".join(tokens[i] for i in at)
    try:
        check(con, sql, NAMES)
    except StoreError:
        return
    with suppress(duckdb.Error):
        assert "the secret" not in str(con.execute(sql).fetchall())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Connection, Path]]:
    """A connection without any restriction, and a file that it could read."""
    secret = tmp_path_factory.mktemp("secret") / "x.csv"
    secret.write_text("the secret")
    con = memory()
    yield con, secret
    con.close()


def test_a_transaction_that_only_reads_refuses_what_the_list_would_miss(parquet: Path) -> None:
    one = Asked(parquet, Limits())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methrics.aggregate.serve.worker.check", lambda *_: None)
        assert "read-only" in one.refusal("CREATE TABLE memory.x AS SELECT 1")
        for sql in ("FROM read_text('/etc/hostname')", "FROM glob('/*')", "COPY item TO '/tmp/x'"):
            assert "disabled by configuration" in one.refusal(sql), sql
        assert "locked" in one.refusal("SET memory_limit = '1TB'")
        assert "asked" in one.refusal("SELECT nothing_such_function_asked()")
    one.close()


def test_attack_by_a_huge_answer_ends_it_with_a_sentence(asked: Asked) -> None:
    frames = asked.sql("SELECT * FROM range(10_000_000)")
    assert (frames[0][0], frames[-1][0]) == (READY, ERROR)
    stream = b"".join(content for kind, content in frames if kind == ARROW)
    assert len(stream) < 3_000_000
    reader, told = pa.ipc.open_stream(stream), b""
    while True:
        try:
            _, about = reader.read_next_batch_with_custom_metadata()
        except StopIteration:
            break
        told = about[ERROR_KEY] if about else told
    assert "larger than 2,000,000 bytes" in json.loads(told)["message"]


def test_errors_and_plans_name_no_folder_of_the_machine(asked: Asked, parquet: Path) -> None:
    for sql in ("EXPLAIN FROM item", "SELECT x FROM item", "FROM test.nothing"):
        assert str(parquet.parent).encode() not in b"".join(c for _, c in asked.sql(sql)), sql


def test_a_data_set_is_opened_again_when_it_has_changed(tmp_path: Path) -> None:
    directory = make_data(tmp_path / "a.duckdb", 3)
    one = Asked(directory, Limits())
    assert one.rows("SELECT count(*) AS n FROM item") == [{"n": 3}]
    make_data(tmp_path / "b.duckdb", 5).rename(tmp_path / "new")
    directory.rename(tmp_path / "old")
    (tmp_path / "new").rename(directory)
    assert one.rows("SELECT count(*) AS n FROM item") == [{"n": 5}]
    one.close()


def test_contents_and_footnote(asked: Asked) -> None:
    [(_, content)] = asked.frames({"ask": "contents", "floor": 10})
    found = json.loads(content)
    assert {"item", "test.beat"} <= set(found["tables"])
    assert "test.beat_dau" in found["views"]
    [(_, content)] = asked.frames({"ask": "footnote", "view": "test.beat_dau", "floor": 10})
    assert "rounded down to multiples of 10" in json.loads(content)
    [(kind, _)] = asked.frames({"ask": "footnote", "view": "nothing", "floor": 10})
    assert kind == ERROR

"""Rows for bench_query: millions of reports in a real file's tables, made by SQL inside DuckDB.

The file, its tables and its dictionary are made by the aggregator's own code from a real catalog;
only the rows are made here, since signing ten million reports would take minutes and no view
looks at a signature. `item` therefore has numbers, types and times, and no bytes. Every value is a
function of the row's number, so the same call gives the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from methrics.aggregate.store.duck import Connection, literal, memory, name, open_writer
from methrics.aggregate.store.store import Batch, Store
from methrics.aggregate.store.tables import BASE, TypeTable, column_name
from methrics.schema.catalog import regions
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType, SequenceDeclaration
from methrics.schema.catalog.fields import Field
from methrics.schema.example import example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import judge
from methrics.schema.wire.record import sign_record

START = 1_767_225_600
"""2026-01-01 UTC."""
DAYS = 365

SHARES = {
    "heartbeat": 40,
    "signin": 28,
    "module": 16,
    "system": 10,
    "retention": 4,
    "assistive": 2,
}
"""Parts of all reports; types not named here get two."""

FLAGS = {"first_of_day": 0.99, "first_of_week": 0.3, "first_of_month": 0.1}
"""How many reports of an install that is active on two days of seven are the first of a period."""

WITHHELD = {"country": 0.6}
"""How often a field type is not shared."""
USUALLY_WITHHELD = 0.04


def _uniform(salt: str) -> str:
    """A number in [0, 1) that depends on the row and `salt` alone."""
    return f"(hash(n * {2**32 + 15} + {crc32(salt.encode())}) / 18446744073709551616.0)"


def _pick(values: list[str], salt: str) -> str:
    """One of `values`, early ones far more often."""
    listed = ", ".join(literal(value) for value in values)
    return f"([{listed}])[1 + floor({len(values)} * {_uniform(salt)} ** 2.5)::INTEGER]"


def _version(most: list[int], salt: str) -> str:
    """A new version every twenty days, which most installs have within a month."""
    newest = f"(10 + epoch(time)::BIGINT // {20 * 86_400} - {START // (20 * 86_400)})"
    number = f"greatest(0, {newest} - floor(-1.2 * ln(1 - {_uniform(salt)})))::INTEGER"
    minor = min(most[1], 9) + 1
    tail = " || '.0'" * (len(most) - 2)
    return f"least({most[0]}, {number} // {minor}) || '.' || {number} % {minor}{tail}"


def value(field: Field, type_name: str) -> str:
    """SQL for the wire value of `field` in a row that has `n` and `time`."""
    salt = f"{type_name}.{field.name}"
    params: Mapping[str, object] = field.params
    if field.type == "flag":
        return f"{_uniform(salt)} < {FLAGS.get(field.source or '', 0.3)}"
    if field.type in ("bucket", "count"):
        return f"floor({field.domain} * {_uniform(salt)} ** 1.5)::USMALLINT"
    if field.type == "version":
        return _version(list(params["max"]), salt)  # type: ignore[call-overload]
    if field.type == "country":
        return _pick(sorted(regions.COUNTRIES)[::4], salt)
    rest = [] if field.source == "milestone" else ["other"]
    return _pick([*params["values"], *rest], salt)  # type: ignore[misc]


def _cell(field: Field, type_name: str) -> str:
    """The value, or NULL where it is not shared; fields that the node fills in are always
    shared."""
    if field.source is not None:
        return value(field, type_name)
    share = WITHHELD.get(field.type, USUALLY_WITHHELD)
    return f"CASE WHEN {_uniform(field.name + '?')} >= {share} THEN {value(field, type_name)} END"


def _type_of(types: Mapping[str, int], only: str | None) -> str:
    """SQL for the number of the event type of row `n`."""
    if only is not None:
        return str(types[only])
    shares = [(number, SHARES.get(type_name, 2)) for type_name, number in types.items()]
    total, below, cases = sum(share for _, share in shares), 0, ""
    for number, share in shares:
        below += share
        cases += f" WHEN {_uniform('type')} < {below / total} THEN {number}"
    return f"CASE{cases} ELSE {shares[-1][0]} END"


def _items(
    con: Connection, catalog: Catalog, tables: list[TypeTable], rows: int, only: str
) -> None:
    """`item` in the order of arrival: most reports arrive within a day of their time, some late."""
    resolutions = {table.n: catalog.types[table.type].resolution for table in tables}
    step = "CASE type" + "".join(f" WHEN {n} THEN {s}" for n, s in resolutions.items()) + " END"
    types = {table.type: table.n for table in tables}
    con.execute(
        f"""INSERT INTO item BY NAME
        WITH numbered AS (
            SELECT
                range AS n,
                {_type_of(types, only or None)} AS type,
                {START} + range * {DAYS * 86_400} // {rows} AS received,
                least(20 * 86400, -43200 * ln(1 - {_uniform("late")}))::BIGINT AS late
            FROM (SELECT range, range AS n FROM range({rows}))
        )
        SELECT
            n, 1 AS kind, 1 AS catalog, type,
            make_timestamp((received - late) // {step} * {step} * 1000000) AS time,
            make_timestamp(received // 3600 * 3600 * 1000000) AS received,
            ''::BLOB AS id, ''::BLOB AS raw
        FROM numbered"""
    )


def _typed(con: Connection, event_type: EventType, table: TypeTable) -> None:
    """The table of one event type, from `item`."""
    rates = ", ".join(str(one) for one in event_type.one_in)
    place = f"floor({len(event_type.one_in)} * {_uniform('one_in')} ** 4)"
    picked = f"([{rates}])[1 + {place}::INTEGER]"
    columns = {"n": "n", "catalog": "1", "day": "time::DATE", "time": "time", "one_in": picked}
    if table.counted:
        columns["count"] = f"1 + floor(20 * {_uniform('count')} ** 3)::UINTEGER"
    if event_type.sequence is not None:
        columns["reached"] = f"((1 << {_length(event_type.sequence)}) - 1)::UINTEGER"
    for field in event_type.fields:
        columns[column_name(field.name)] = _cell(field, event_type.name)
    listed = ", ".join(f"{sql} AS {name(column)}" for column, sql in columns.items())
    con.execute(
        f"INSERT INTO {table.sql} BY NAME "
        f"SELECT {listed} FROM item WHERE type = {table.n} ORDER BY n"
    )
    if event_type.sequence is not None:
        _steps(con, event_type.sequence, table)


def _length(sequence: SequenceDeclaration) -> str:
    """SQL for the number of steps: in four cases of five there is one more."""
    most = min(sequence.max_steps, len(sequence.steps))
    return f"least({most}, 1 + floor(ln(1 - {_uniform('length')}) / ln(0.8)))::INTEGER"


def _steps(con: Connection, sequence: SequenceDeclaration, table: TypeTable) -> None:
    """The steps of each sequence in their order, none twice, later and later."""
    steps = ", ".join(literal(step) for step in sequence.steps)
    edges = len(sequence.offset_edges)
    con.execute(
        f"""INSERT INTO {table.steps_sql} BY NAME
        WITH long AS (
            SELECT n, catalog, one_in, unnest(range({_length(sequence)})) AS i FROM {table.sql}
        )
        SELECT
            n, catalog, one_in, i, ([{steps}])[i + 1] AS step, true AS first,
            CASE WHEN i = 0 THEN 0
            ELSE least({edges}, i + floor(3 * {_uniform("offset")}))::USMALLINT END AS offset_bucket
        FROM long ORDER BY n, i"""
    )


def make_typed(path: Path, catalog: Catalog, rows: int, only: str = "") -> dict[str, int]:
    """Make the file `path` with that many reports, all of type `only` if it is said.

    Returns how many rows each table has.
    """
    book = CatalogBook()
    record = sign_record([catalog.id], example_seed(), time=START, expires=START + DAYS * 86_400)
    verdicts = [judge(raw, book, START, live=False) for raw in (catalog.raw, record.raw)]
    with Store(path) as store:
        store.commit(Batch(START, verdicts))
        store.make_tables(catalog)
        tables = store.tables()
    con = open_writer(path)
    _items(con, catalog, tables, rows, only)
    for table in tables:
        _typed(con, catalog.types[table.type], table)
    con.execute(
        f"""INSERT INTO refusal SELECT
            DATE '2026-01-01' + (range // 5)::INTEGER,
            (['late', 'duplicate', 'early', 'forged', 'malformed'])[1 + range % 5],
            1 + hash(range) % 1000, NULL
        FROM range({5 * DAYS})"""
    )
    con.execute("CHECKPOINT")
    counts = {
        one: con.execute(f"SELECT count(*) FROM {one}").fetchall()[0][0]
        for table in tables
        for one in [table.sql, *([table.steps_sql] if table.stepped else [])]
    }
    con.close()
    return {one.replace('"', ""): count for one, count in counts.items()}


def make_known(path: Path, catalog: Catalog) -> None:
    """Invented known totals, for the views that compare with them."""
    lines = ["day,field,value,installs"]
    systems = catalog.types["heartbeat"].field("os").params["values"]
    for day in range(START // 86_400, START // 86_400 + DAYS):
        date = datetime.fromtimestamp(day * 86_400, UTC).date()
        lines.append(f"{date},,,{20_000 + day % 7}")
        lines += [f"{date},os,{system},{1000 + day % 5}" for system in systems]  # type: ignore[attr-defined]
    path.write_text("\n".join(lines) + "\n")


def _text(field: str, kind: str, column: str) -> str:
    """SQL for `,"field":value`, nothing where it is NULL."""
    quoted = "'\"' || {} || '\"'" if kind in ("enum", "version", "country", "language") else "{}"
    return f"""coalesce(',"{field}":' || {quoted.format(column)}, '')"""


def _objects(catalog: Catalog, tables: list[TypeTable]) -> Iterator[str]:
    """For each event type a SELECT of (n, time, properties): the report's content as one object."""
    for table in tables:
        event_type = catalog.types[table.type]
        parts = [f"""'{{"event":"{table.type}"'""", _text("one_in", "count", "one_in")]
        if table.counted:
            parts.append(_text("count", "count", '"count"'))
        parts += [
            _text(field.name, field.type, name(column_name(field.name)))
            for field in event_type.fields
        ]
        source = table.sql
        if table.stepped:
            parts.append("""',"sequence":[' || steps || ']'""")
            source += f""" JOIN (
                SELECT n, string_agg('["' || step || '",' || offset_bucket || ']', ',' ORDER BY i)
                    AS steps
                FROM {table.steps_sql} GROUP BY n) USING (n)"""
        yield f"SELECT n, time, {' || '.join(parts)} || '}}' AS properties FROM {source}"


def make_json(path: Path, typed: Path, catalog: Catalog) -> None:
    """Make the file `path`: one table `event` with a row of JSON for each report in `typed`.

    The small tables without reports (`type`, `field`, `code`, ...) are copied; all others are
    empty.
    """
    with Store(typed) as store:
        tables = store.tables()
    con = memory()
    con.execute(f"ATTACH {literal(typed)} AS methrics (READ_ONLY)")
    con.execute(f"ATTACH {literal(path)} AS js (STORAGE_VERSION 'v1.5.0')")
    con.execute("USE methrics")
    for base in BASE:
        none = " LIMIT 0" if base == "item" else ""
        con.execute(f"CREATE TABLE js.{base} AS FROM methrics.{base}{none}")
    for table in tables:
        con.execute(f"CREATE SCHEMA IF NOT EXISTS js.{name(table.schema)}")
        for one in (table.sql, *([table.steps_sql] if table.stepped else [])):
            con.execute(f"CREATE TABLE js.{one} AS FROM methrics.{one} LIMIT 0")
    con.execute(
        "CREATE TABLE js.event (id BIGINT, time TIMESTAMP, received TIMESTAMP, properties JSON)"
    )
    objects = " UNION ALL ".join(f"({one})" for one in _objects(catalog, tables))
    con.execute(
        "INSERT INTO js.event SELECT n, o.time, i.received, properties "
        f"FROM ({objects}) o JOIN item i USING (n) ORDER BY n"
    )
    con.execute("CHECKPOINT js")
    con.close()

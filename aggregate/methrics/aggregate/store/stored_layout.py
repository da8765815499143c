"""Reads the layout of a file from the file's own tables, without parsing any catalog.

A parsed catalog of sixty event types takes 0.7 MB, and a file may have a thousand catalogs.
"""

from __future__ import annotations

from methrics.aggregate.store.duck import SCHEMA_ALIAS, Connection, name
from methrics.aggregate.store.tables import (
    BASE,
    LAYOUT_VERSION,
    SHARD,
    CatalogEntry,
    Declared,
    Layout,
    TypeTable,
)
from methrics.schema.errors import StoreError
from methrics.schema.wire.shard import WHOLE, Shard, shard_of


def read_shard(con: Connection, alias: str = SCHEMA_ALIAS) -> Shard:
    """Return which shard the file attached as `alias` is of. Raises StoreError `store-broken`."""
    if not con.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main' "
        "AND table_name = 'shard'",
        [alias],
    ).fetchall():
        return WHOLE
    try:
        ((number, count),) = con.execute(
            f"SELECT number, count FROM {name(alias, 'main', 'shard')}"
        ).fetchall()
        return shard_of(number, count)
    except ValueError:
        raise StoreError("store-broken", "the file does not say which shard it is of") from None


def create(con: Connection, shard: Shard) -> None:
    """Make the tables of a new file of a shard, which is the current database of `con`."""
    con.execute("BEGIN")
    for table, columns in BASE.items():
        con.execute(f"CREATE TABLE {table} ({columns})")
    con.execute("INSERT INTO meta VALUES (?)", [LAYOUT_VERSION])
    if not shard.is_whole:
        con.execute(f"CREATE TABLE shard ({SHARD})")
        con.execute("INSERT INTO shard VALUES (?, ?)", [shard.number, shard.count])
    con.execute("COMMIT")


def read_layout(con: Connection, shard: Shard = WHOLE) -> Layout:
    """Read the layout of the file that is the current database of `con`, of a shard."""
    layout = Layout(shard)
    numbered: dict[int, CatalogEntry] = {}
    for row in con.execute(
        "SELECT n, id, key, label, number, schema FROM catalog ORDER BY n"
    ).fetchall():
        entry = numbered[row[0]] = CatalogEntry(*row)
        layout.restore_catalog(entry)
    tables = _tables(con)
    for table in tables.values():
        layout.restore_table(table)
    codes = {
        (catalog, of): size
        for catalog, of, size in con.execute(
            "SELECT catalog, type, count(*) FROM code GROUP BY ALL"
        ).fetchall()
    }
    for catalog, of, steps, retention, lateness in con.execute(
        "SELECT catalog, type, steps, retention, lateness FROM declaration ORDER BY n"
    ).fetchall():
        declared = Declared(tables[of], retention, lateness, tuple(steps))
        layout.restore_declaration(numbered[catalog], declared, codes.get((catalog, of), 0))
    return layout


def _tables(con: Connection) -> dict[int, TypeTable]:
    """The tables of event types by their numbers, with their columns."""
    columns: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, sql in con.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = ? ORDER BY column_index",
        [SCHEMA_ALIAS],
    ).fetchall():
        columns.setdefault((schema, table), {})[column] = sql
    fields: dict[int, dict[str, str]] = {}
    for of, field, column in con.execute(
        'SELECT type, name, any_value("column") FROM field GROUP BY ALL ORDER BY min(catalog)'
    ).fetchall():
        fields.setdefault(of, {})[field] = column
    found: dict[int, TypeTable] = {}
    for n, schema, type_name, table, kind, question in con.execute(
        'SELECT n, schema, name, "table", kind, question FROM type ORDER BY n'
    ).fetchall():
        own = columns[schema, table]
        of = {field: own[column] for field, column in fields.get(n, {}).items()}
        stepped = "reached" in own
        found[n] = TypeTable(n, schema, type_name, kind, question, of, "count" in own, stepped)
    return found

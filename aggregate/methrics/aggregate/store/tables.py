"""Defines the tables of the file, and derives the tables of event types from catalogs.

Pure: it takes catalogs and returns SQL text. The layout is not stored, because it follows from the
catalogs in the file, applied in the order of their numbers.

- `item` contains the exact signed bytes of every report, record and announcement once, under a
  small number `n`. The tables of event types can be derived from it again.
- `catalog` and `tombstone` contain the exact bytes of catalogs and erasures.
- Each event type has a table `<label>.<type>` with a row for each report. A sequence also has
  `<type>_step` with a row for each step. `n` joins both to `item`. Bit i of `reached` is set if
  the report reached step i of its catalog; `first` is true in the row where a report reached a
  step for the first time. So funnels and step times need no join of big tables.
- `type` and `field` describe the event types and their columns. `field.domain` is the number of
  values; `field.epsilon` (in thousandths) is set for randomized response. `code` lists the values
  of every field except versions and counts: `value` numbers them in order, `text` is the column as
  text, `low` and `high` are the edges of a bucket (low <= raw value < high; NULL where it is open).
  For a sequence it lists the steps as field `step` and the offset buckets (seconds) as `offset`.
- `refusal` counts refused items by reason; `quarantine` holds reports whose catalog is not known.

Big tables have no primary key: an index on 32-byte ids makes loading 4 times slower, the file 3
times larger, and deleting 100 times slower. The writer looks for duplicates by time instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count

from methrics.aggregate.store.duck import name
from methrics.schema.catalog.catalog import Catalog, EventType

LAYOUT_VERSION = 3
"""The version of the layout. It increases when older readers would misread a changed table."""

BASE: Mapping[str, str] = {
    "meta": "layout INTEGER",
    "catalog": "n INTEGER, id BLOB, key BLOB, label VARCHAR, number UINTEGER, "
    "schema VARCHAR, received TIMESTAMP, raw BLOB",
    "type": 'n INTEGER, schema VARCHAR, name VARCHAR, "table" VARCHAR, kind VARCHAR, '
    "question VARCHAR",
    "field": 'catalog INTEGER, type INTEGER, name VARCHAR, "column" VARCHAR, kind VARCHAR, '
    "source VARCHAR, says VARCHAR, epsilon INTEGER, domain BIGINT",
    "code": "catalog INTEGER, type INTEGER, field VARCHAR, value INTEGER, label VARCHAR, "
    "low DOUBLE, high DOUBLE, text VARCHAR",
    "item": "n BIGINT, kind UTINYINT, catalog INTEGER, type INTEGER, time TIMESTAMP, "
    "received TIMESTAMP, id BLOB, raw BLOB",
    "tombstone": "n BIGINT, report BLOB, day DATE, received TIMESTAMP, id BLOB, raw BLOB",
    "refusal": "day DATE, reason VARCHAR, count BIGINT, sample BLOB",
    "quarantine": "n BIGINT, awaits BLOB, received TIMESTAMP, id BLOB, raw BLOB",
}
"""The tables of every file, and their columns. Times are UTC; `received` is rounded to the hour."""

_COLUMN = {"text": "VARCHAR", "bool": "BOOLEAN", "u8": "USMALLINT", "u16": "USMALLINT"}
_FIXED = ("n", "catalog", "day", "time", "one_in", "count", "reached")
_SCHEMAS_TAKEN = frozenset({"main", "temp", "system", "pg_catalog", "information_schema"})


@dataclass(slots=True)
class TypeTable:
    """The table of one event type of one app."""

    n: int
    schema: str
    type: str
    kind: str
    question: str
    columns: dict[str, str] = field(default_factory=dict)
    """field name -> SQL type"""
    counted: bool = False
    """Whether the table has a column `count`."""
    stepped: bool = False
    """Whether the type also has a table of steps."""

    @property
    def table(self) -> str:
        """The table's name inside its SQL schema."""
        return table_name(self.type)

    @property
    def sql(self) -> str:
        """The table's full quoted name."""
        return name(self.schema, self.table)

    @property
    def steps_sql(self) -> str:
        """The full quoted name of the table of steps."""
        return name(self.schema, self.steps)

    @property
    def steps(self) -> str:
        """The name of the table of steps inside its SQL schema."""
        return self.table + "_step"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A catalog with its number in the file, its SQL schema and its types' tables."""

    n: int
    schema: str
    catalog: Catalog
    tables: Mapping[str, TypeTable]


def column_name(field_name: str) -> str:
    """Return the column of a field: the field's name, with `_` appended if the name without any
    final `_` is one of `_FIXED`.

    Two fields never get the same column: `time` becomes `time_`, and `time_` becomes `time__`.
    """
    return field_name + "_" if field_name.rstrip("_") in _FIXED else field_name


def table_name(type_name: str) -> str:
    """Return the table of an event type: the type's name, with `_` appended if the name looks like
    that of a table of steps."""
    return type_name + "_" if type_name.rstrip("_").endswith("_step") else type_name


class Layout:
    """The tables that follow from the catalogs added so far."""

    def __init__(self) -> None:
        self.entries: dict[bytes, CatalogEntry] = {}
        """catalog id -> entry"""
        self.by_number: dict[int, CatalogEntry] = {}
        self._schemas: dict[str, bytes] = {}
        self._tables: dict[tuple[str, str], TypeTable] = {}

    def tables(self) -> list[TypeTable]:
        """The tables of all event types, in order of their numbers."""
        return sorted(self._tables.values(), key=lambda table: table.n)

    def schemas(self) -> list[str]:
        """The SQL schemas, one for each app, in the order in which they were added."""
        return list(self._schemas)

    def newest(self, key: bytes) -> CatalogEntry | None:
        """Return the entry of the highest-numbered catalog of a namespace key; None if there is no
        such catalog."""
        own = [entry for entry in self.entries.values() if entry.catalog.key == key]
        return max(own, key=lambda entry: (entry.catalog.number, entry.n), default=None)

    def add(self, catalog: Catalog) -> list[str]:
        """Add `catalog` and return the SQL statements that create its tables and columns. The list
        is empty if the catalog is known already.

        Columns are added, never dropped. If two catalogs declare a field with different SQL types,
        its column is text, in whatever order the catalogs arrive.
        """
        if catalog.id in self.entries:
            return []
        schema = self._schema(catalog)
        statements: list[str] = []
        if schema not in self._schemas:
            self._schemas[schema] = catalog.key
            statements.append(f"CREATE SCHEMA IF NOT EXISTS {name(schema)}")
        tables: dict[str, TypeTable] = {}
        for event_type in catalog.types.values():
            tables[event_type.name] = self._type(schema, event_type, statements)
        entry = CatalogEntry(len(self.entries) + 1, schema, catalog, tables)
        self.entries[catalog.id] = entry
        self.by_number[entry.n] = entry
        return statements

    def _schema(self, catalog: Catalog) -> str:
        """Return the SQL schema of an app: the app's label with `_` for `-`. If another app has
        that schema or the name is reserved, the app's short key is appended."""
        label = catalog.label.replace("-", "_")
        long = f"{label}_{catalog.short_key}"
        longer = (f"{long}_{i}" for i in count(2))
        for schema in chain((label, long), longer):
            taken = schema in _SCHEMAS_TAKEN
            if not taken and self._schemas.get(schema, catalog.key) == catalog.key:
                return schema
        raise AssertionError("unreachable: the candidates never end")

    def _type(self, schema: str, event_type: EventType, statements: list[str]) -> TypeTable:
        table = self._tables.get((schema, event_type.name))
        if table is None:
            table = TypeTable(
                len(self._tables) + 1,
                schema,
                event_type.name,
                str(event_type.kind),
                event_type.question,
            )
            self._tables[schema, event_type.name] = table
            statements.append(
                f"CREATE TABLE {table.sql} "
                "(n BIGINT, catalog INTEGER, day DATE, time TIMESTAMP, one_in UINTEGER)"
            )
        if event_type.kind == "count" and not table.counted:
            table.counted = True
            statements.append(f"ALTER TABLE {table.sql} ADD COLUMN count UINTEGER")
        if event_type.sequence is not None and not table.stepped:
            table.stepped = True
            statements.append(f"ALTER TABLE {table.sql} ADD COLUMN reached UINTEGER")
            statements.append(
                f"CREATE TABLE {table.steps_sql} (n BIGINT, catalog INTEGER, one_in UINTEGER, "
                "i UTINYINT, step VARCHAR, first BOOLEAN, offset_bucket USMALLINT)"
            )
        for declared in event_type.fields:
            _add_column(table, declared.name, _COLUMN[declared.column], statements)
        return table


def _add_column(table: TypeTable, field_name: str, sql: str, statements: list[str]) -> None:
    known = table.columns.get(field_name)
    column = name(column_name(field_name))
    if known is None:
        table.columns[field_name] = sql
        statements.append(f"ALTER TABLE {table.sql} ADD COLUMN {column} {sql}")
    elif known not in (sql, "VARCHAR"):
        table.columns[field_name] = "VARCHAR"
        statements.append(f"ALTER TABLE {table.sql} ALTER COLUMN {column} TYPE VARCHAR")

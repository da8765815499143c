"""Defines the tables of the file, and derives the tables of event types from catalogs.

Pure: it takes catalogs and returns SQL text.

- `item` contains the exact signed bytes of every report and announcement once, under a small
  number `n`. The tables of event types can be derived from it again.
- `catalog`, `record` and `tombstone` contain the exact bytes of catalogs, namespace records and
  erasures. `listing` and `revoked` contain what each record lists and revokes.
- Each event type of which a report came has a table `<label>.<type>` with a row for each report. A
  sequence also has `<type>_step` with a row for each step. `n` joins both to `item`. Bit i of
  `reached` is set if the report reached step i of its catalog; `first` is true in the row where a
  report reached a step for the first time. So funnels and step times need no join of big tables.
- `declaration` says under which catalogs reports of which event types came, in that order, and for
  how many days (`retention`) they are kept, and after how many seconds (`lateness`) they are
  late. The tables of event types follow from it and the
  catalogs. `type` and `field` describe the event types
  and their columns. `field.domain` is the number of values; `field.epsilon` (in thousandths) is set
  for randomized response. `code` lists the values of every field except versions and counts:
  `value` numbers them in order, `text` is the column as text, `low` and `high` are the edges of a
  bucket (low <= raw value < high; NULL where it is open). For a sequence it lists the steps as
  field `step` and the offset buckets (seconds) as `offset`.
- `refusal` counts refused items by reason.
- `part` lists the Parquet files beside the file that are current (`store/parts.py`). The rows of a
  settled month of an event type are only there: they have left the file.
- `dead` names rows that were deleted and may still be in such a file. Whoever reads the file leaves
  them out; the next export writes the files without them.
- `digest` keeps the digests of days, and `manifest` those that aggregators signed. `contested` has
  reports of closed days that wait for the `vote` of other aggregators.
- `waste` notes deletions whose bytes are still in the file (`store/compaction.py`).
- `shard` says which part of all ids the file has; the file of a whole aggregator has no such table.
  No two shards give the same number to different things, so their rows can stand side by side.
- `commits` has one row: the random id of the file, and the number of its commits. `clock` says when
  the machine's clock was last believed (`store/clock_notes.py`).

Whoever has a namespace key can sign catalogs without end. So a table is made when the first report
of its type comes, and a namespace has a limited number of catalogs, tables, columns and codes.

Big tables have no primary key: an index on 32-byte ids makes loading 4 times slower, the file 3
times larger, and deleting 100 times slower. The writer looks for duplicates by time instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count

from methrics.aggregate.store.duck import name
from methrics.schema.catalog.catalog import Catalog, EventType
from methrics.schema.wire.shard import WHOLE, Shard
from methrics.schema.wire.topic import topic

LAYOUT_VERSION = 4
"""The version of the layout. It increases when older readers would misread a changed table."""

BASE: Mapping[str, str] = {
    "meta": "layout INTEGER",
    "catalog": "n INTEGER, id BLOB, key BLOB, label VARCHAR, number UINTEGER, "
    "schema VARCHAR, received TIMESTAMP, raw BLOB",
    "record": "n INTEGER, key BLOB, time TIMESTAMP, expires TIMESTAMP, "
    "settled TIMESTAMP, previous BLOB[], id BLOB, raw BLOB, received TIMESTAMP",
    "listing": "record INTEGER, catalog BLOB, listed TIMESTAMP, delisted TIMESTAMP",
    "revoked": "record INTEGER, type VARCHAR, time TIMESTAMP, reason VARCHAR",
    "type": 'n INTEGER, schema VARCHAR, name VARCHAR, "table" VARCHAR, kind VARCHAR, '
    "question VARCHAR",
    "declaration": "n INTEGER, catalog INTEGER, type INTEGER, steps VARCHAR[], retention INTEGER, "
    "lateness INTEGER",
    "field": 'catalog INTEGER, type INTEGER, name VARCHAR, "column" VARCHAR, kind VARCHAR, '
    "source VARCHAR, says VARCHAR, epsilon INTEGER, domain BIGINT",
    "code": "catalog INTEGER, type INTEGER, field VARCHAR, value INTEGER, label VARCHAR, "
    "low DOUBLE, high DOUBLE, text VARCHAR",
    "item": "n BIGINT, kind UTINYINT, catalog INTEGER, type INTEGER, time TIMESTAMP, "
    "received TIMESTAMP, id BLOB USING COMPRESSION uncompressed, "
    "raw BLOB USING COMPRESSION uncompressed",
    "tombstone": "n BIGINT, report BLOB, catalog INTEGER, day DATE, received TIMESTAMP, "
    "id BLOB, raw BLOB",
    "refusal": "day DATE, reason VARCHAR, count BIGINT, sample BLOB",
    "part": 'name VARCHAR, "table" VARCHAR, type INTEGER, month DATE, first BIGINT, last BIGINT, '
    "rows BIGINT, size BIGINT, sha256 BLOB, settled BOOLEAN, written TIMESTAMP",
    "dead": "n BIGINT, type INTEGER, month DATE",
    "digest": "key BLOB, day DATE, count BIGINT, digest BLOB",
    "manifest": "signer BLOB, key BLOB, day DATE, as_of TIMESTAMP, closed BOOLEAN, count BIGINT, "
    "digest BLOB, id BLOB, raw BLOB",
    "contested": "key BLOB, day DATE, id BLOB, catalog INTEGER, received TIMESTAMP, raw BLOB",
    "vote": "id BLOB, signer BLOB",
    "waste": "n BIGINT, since TIMESTAMP, rows BIGINT",
}
"""The tables of every file, and their columns. Times are UTC; `received` is rounded to the hour.

Hashes and signatures do not compress, but when DuckDB merges its log into the file, it tries all
methods: three quarters of that time."""

SHARD = "number INTEGER, count INTEGER"
"""The columns of the table `shard`, which only the file of a shard has."""

ROW_BITS = 48
"""Items and tombstones of a shard are numbered in a range of so many bits of its own."""

SMALL_BITS = 27
"""The same for catalogs, event types, declarations and records, whose numbers have 31 bits."""

OWN: Mapping[str, str] = {
    "commits": "file BLOB, n BIGINT",
    "clock": "believed TIMESTAMP, looked TIMESTAMP, doubted BIGINT",
}
"""Tables that only the writer reads. They are made in a file that lacks them."""

CATALOGS_MAX = 1024
"""Most catalogs of one namespace in a file: a new one each week for twenty years. Each takes up to
64 KiB of disk."""

TABLES_MAX = 1024
"""Most event types of one namespace that get a table: sixteen times as many as one catalog can
declare. A table takes about 40 KB of memory."""

COLUMNS_MAX = 16_384
"""Most columns of all these tables: sixteen for each table."""

CODES_MAX = 1_000_000
"""Most rows of one namespace in the table `code`, about 20 MB: an app with ten lists of countries
has 2,500 for each catalog."""

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
class Declared:
    """An event type as one catalog declares it: its table, for how many days its reports are kept,
    and the steps of its sequence."""

    table: TypeTable
    retention: int
    lateness: int
    """Seconds after which a report is late."""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A catalog in the file: its number there, its SQL schema, and `types`: those of its event
    types of which a report came under this catalog."""

    n: int
    id: bytes
    key: bytes
    label: str
    number: int
    schema: str
    types: dict[str, Declared] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        """The topic of the namespace."""
        return topic(self.label, self.key)


@dataclass(slots=True)
class _Size:
    """What a namespace has in the file so far."""

    catalogs: int = 0
    tables: int = 0
    columns: int = 0
    codes: int = 0


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
    """The catalogs, and the tables of the event types of which reports came so far."""

    def __init__(self, shard: Shard = WHOLE) -> None:
        self.first = shard.first(SMALL_BITS)
        """Catalogs and tables have higher numbers."""
        self.entries: dict[bytes, CatalogEntry] = {}
        """catalog id -> entry"""
        self._schemas: dict[str, bytes] = {}
        """SQL schema -> namespace key"""
        self._tables: dict[tuple[str, str], TypeTable] = {}
        self._sizes: dict[bytes, _Size] = {}

    def tables(self) -> list[TypeTable]:
        """The tables of all event types, in order of their numbers."""
        return sorted(self._tables.values(), key=lambda table: table.n)

    def tables_of(self, key: bytes, type_name: str) -> list[TypeTable]:
        """The tables of one event type of a namespace key: one for each label of its catalogs."""
        schemas = [schema for schema, owner in self._schemas.items() if owner == key]
        found = [self._tables.get((schema, type_name)) for schema in schemas]
        return [table for table in found if table is not None]

    def schemas(self) -> list[str]:
        """The SQL schemas, one for each app, in the order in which they were added."""
        return list(self._schemas)

    def newest(self, key: bytes) -> CatalogEntry | None:
        """Return the entry of the highest-numbered catalog of a namespace key; None if there is no
        such catalog."""
        own = [entry for entry in self.entries.values() if entry.key == key]
        return max(own, key=lambda entry: (entry.number, entry.n), default=None)

    def add(self, catalog: Catalog) -> CatalogEntry | None:
        """Add `catalog`, which gets a number and an SQL schema, but no table yet.

        Returns None if it is known already, or if its namespace has CATALOGS_MAX catalogs.
        """
        size = self._size(catalog.key)
        if catalog.id in self.entries or size.catalogs >= CATALOGS_MAX:
            return None
        label, key = catalog.label, catalog.key
        schema = self._schema(label, key, catalog.short_key)
        n = self.first + len(self.entries) + 1
        entry = CatalogEntry(n, catalog.id, key, label, catalog.number, schema)
        self.restore_catalog(entry)
        return entry

    def restore_catalog(self, entry: CatalogEntry) -> None:
        """Add a catalog that is in the file."""
        self._size(entry.key).catalogs += 1
        self._schemas.setdefault(entry.schema, entry.key)
        self.entries[entry.id] = entry

    def restore_table(self, table: TypeTable) -> None:
        """Add a table that is in the file, with all its columns."""
        size = self._size(self._schemas[table.schema])
        size.tables += 1
        size.columns += len(table.columns)
        self._tables[table.schema, table.type] = table

    def restore_declaration(self, entry: CatalogEntry, declared: Declared, codes: int) -> None:
        """Add the declaration of an event type that is in the file, with `codes` rows in `code`."""
        self._size(entry.key).codes += codes
        entry.types[declared.table.type] = declared

    def declare(self, entry: CatalogEntry, declared: EventType) -> list[str] | None:
        """Give an event type, of which a first report came under a catalog, its table and columns.

        Returns the SQL statements that create them; None, with nothing changed, if the namespace
        would have more tables, columns or codes than allowed. Columns are added, never dropped. If
        two catalogs declare a field with different SQL types, its column is text, in whatever
        order the reports arrive.
        """
        if declared.name in entry.types:
            return []
        size, codes = self._size(entry.key), code_count(declared)
        table = self._tables.get((entry.schema, declared.name))
        known = table.columns if table is not None else {}
        columns = sum(one.name not in known for one in declared.fields)
        if (
            size.tables + (table is None) > TABLES_MAX
            or size.columns + columns > COLUMNS_MAX
            or size.codes + codes > CODES_MAX
        ):
            return None
        size.tables += table is None
        size.columns += columns
        size.codes += codes
        if table is None:
            table, statements = self._new_table(entry.schema, declared)
        else:
            statements = _widen(table, declared)
        steps = tuple(declared.sequence.steps) if declared.sequence is not None else ()
        entry.types[declared.name] = Declared(
            table, declared.retention_days, declared.lateness, steps
        )
        return statements

    def _size(self, key: bytes) -> _Size:
        return self._sizes.setdefault(key, _Size())

    def _schema(self, label: str, key: bytes, short_key: str) -> str:
        """Return the SQL schema of an app: the app's label with `_` for `-`. If another app has
        that schema or the name is reserved, the app's short key is appended."""
        label = label.replace("-", "_")
        long = f"{label}_{short_key}"
        longer = (f"{long}_{i}" for i in count(2))
        for schema in chain((label, long), longer):
            taken = schema in _SCHEMAS_TAKEN
            if not taken and self._schemas.get(schema, key) == key:
                return schema
        raise AssertionError("unreachable: the candidates never end")

    def _new_table(self, schema: str, declared: EventType) -> tuple[TypeTable, list[str]]:
        statements = [f"CREATE SCHEMA IF NOT EXISTS {name(schema)}"]
        table = TypeTable(
            self.first + len(self._tables) + 1,
            schema,
            declared.name,
            str(declared.kind),
            declared.question,
        )
        self._tables[schema, declared.name] = table
        table.counted = declared.kind == "count"
        table.columns = {one.name: _COLUMN[one.column] for one in declared.fields}
        own = [f", {name(column_name(one))} {sql}" for one, sql in table.columns.items()]
        statements.append(
            f"CREATE TABLE {table.sql} "
            "(n BIGINT, catalog INTEGER, day DATE, time TIMESTAMP, one_in UINTEGER"
            f"{', count UINTEGER' if table.counted else ''}{''.join(own)})"
        )
        if declared.sequence is not None:
            _add_steps(table, statements)
        return table, statements


def code_count(declared: EventType) -> int:
    """The number of rows in the table `code` for an event type of one catalog."""
    sequence = declared.sequence
    steps = 0 if sequence is None else len(sequence.steps) + len(sequence.offset_edges) + 1
    return steps + sum(len(one.listed()) for one in declared.fields)


def _widen(table: TypeTable, declared: EventType) -> list[str]:
    """Add to `table` what `declared` needs; return the SQL statements."""
    statements: list[str] = []
    if declared.kind == "count" and not table.counted:
        table.counted = True
        statements.append(f"ALTER TABLE {table.sql} ADD COLUMN count UINTEGER")
    if declared.sequence is not None and not table.stepped:
        _add_steps(table, statements)
    for one in declared.fields:
        sql, known = _COLUMN[one.column], table.columns.get(one.name)
        column = name(column_name(one.name))
        if known is None:
            table.columns[one.name] = sql
            statements.append(f"ALTER TABLE {table.sql} ADD COLUMN {column} {sql}")
        elif known not in (sql, "VARCHAR"):
            table.columns[one.name] = "VARCHAR"
            statements.append(f"ALTER TABLE {table.sql} ALTER COLUMN {column} TYPE VARCHAR")
    return statements


def _add_steps(table: TypeTable, statements: list[str]) -> None:
    table.stepped = True
    statements.append(f"ALTER TABLE {table.sql} ADD COLUMN reached UINTEGER")
    statements.append(
        f"CREATE TABLE {table.steps_sql} (n BIGINT, catalog INTEGER, one_in UINTEGER, "
        "i UTINYINT, step VARCHAR, first BOOLEAN, offset_bucket USMALLINT)"
    )

"""The tables that have no months: the data dictionary, tombstones, and a file without rows for each
table, from which its columns are known.

A file's name has a fingerprint of its rows or columns, so a new file is written only when they have
changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from methrics.aggregate.store.duck import SCHEMA_ALIAS, Connection, name

DICTIONARY: Mapping[str, str] = {
    "catalog": "SELECT * FROM catalog ORDER BY n",
    "record": "SELECT * FROM record ORDER BY n",
    "listing": "SELECT * FROM listing ORDER BY ALL",
    "revoked": "SELECT * FROM revoked ORDER BY ALL",
    "type": "SELECT * FROM type ORDER BY n",
    "declaration": "SELECT * FROM declaration ORDER BY n",
    "field": "SELECT * FROM field ORDER BY ALL",
    "code": "SELECT * FROM code ORDER BY ALL",
    "manifest": "SELECT * FROM manifest WHERE closed ORDER BY signer, key, day, id",
    "refusal": "SELECT day, reason, count FROM refusal ORDER BY ALL",
}
"""The tables that are exported as one file each: table -> query. Samples of refused bytes are left
out, because their content has not been checked."""

TOMBSTONE = "tombstone"

TOMBSTONE_ROWS = 16_384
"""Rows of one file of tombstones: about 4 MB, written in a quarter of a second. Anyone can publish
erasures, and each is kept, so the table may become long."""


@dataclass(frozen=True, slots=True)
class Whole:
    """One such file: its table, the beginning of its name, which changes with its content, the
    query for its rows, and the range of n."""

    table: str
    stem: str
    query: str
    first: int = 0
    last: int = 0


def whole_files(
    con: Connection, shapes: Mapping[tuple[str, str], str], own: str = ""
) -> Iterator[Whole]:
    """Yield the files that the snapshot `con` should have. `shapes`: see `shapes_of`. `own`: the
    folder of a shard, such as `/2-of-4`."""
    for table, query in DICTIONARY.items():
        row = con.execute(f"SELECT count(*), bit_xor(hash(t)) FROM ({query}) t").fetchone()
        print_ = _fingerprint(row, shapes["main", table])
        yield Whole(table, f"dictionary{own}/{table}.{print_}-", query)
    for schema, table in shapes:
        shape = shapes[schema, table]
        if schema != "main":
            yield _empty(
                f"types/{schema}/{table}{own}", f"{schema}.{table}", shape, name(schema, table)
            )
    yield _empty(f"raw{own}", "item", shapes["main", "item"], "item")
    yield _empty(f"{TOMBSTONE}{own}", TOMBSTONE, shapes["main", TOMBSTONE], TOMBSTONE)
    for (part,) in con.execute(
        f"SELECT DISTINCT (n - 1) // {TOMBSTONE_ROWS} AS part FROM {TOMBSTONE} ORDER BY part"
    ).fetchall():
        first, last = part * TOMBSTONE_ROWS + 1, (part + 1) * TOMBSTONE_ROWS
        rows = f"FROM {TOMBSTONE} WHERE n >= {first} AND n <= {last} ORDER BY n"
        # All ids, as the numbers of deleted rows are given again: others could take their place.
        about = hashlib.sha256(repr(con.execute(f"SELECT n, id {rows}").fetchall()).encode())
        stem = f"{TOMBSTONE}{own}/{part}.{_fingerprint(about.digest(), shapes['main', TOMBSTONE])}-"
        yield Whole(TOMBSTONE, stem, f"SELECT * {rows}", first, last)


def shapes_of(con: Connection) -> dict[tuple[str, str], str]:
    """Return the columns, as text, of each table in the snapshot `con`, by SQL schema and name."""
    found = con.execute(
        "SELECT schema_name, table_name, "
        "string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) "
        "FROM duckdb_columns() WHERE database_name = ? GROUP BY ALL ORDER BY ALL",
        [SCHEMA_ALIAS],
    ).fetchall()
    return {(schema, table): shape for schema, table, shape in found}


def stem_of(file: str) -> str:
    """Return the stem of a file that was written for a `Whole`, from its name."""
    return file[: file.rindex("-") + 1] if "-" in file else file


def _empty(folder: str, table: str, shape: str, sql: str) -> Whole:
    return Whole(table, f"{folder}/empty.{_fingerprint(shape)}-", f"SELECT * FROM {sql} LIMIT 0")


def _fingerprint(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]

"""Checks what describes the reports: the data dictionary, and the manifests of days.

Views are made by the dictionary, so whoever changes it changes their numbers: a code with another
label, or a randomized field without its epsilon.
"""

from __future__ import annotations

from collections.abc import Collection

from methrics.aggregate.read.signed import Signed
from methrics.aggregate.read.verification import Verification
from methrics.aggregate.store.dictionary_tables import described
from methrics.aggregate.store.duck import Connection
from methrics.schema.errors import RefusedError
from methrics.schema.wire.manifest import read_manifest

DICTIONARY = ("field", "code")
"""The tables that follow from the catalogs alone, besides those that `Signed` reads."""

MANIFEST = "manifest"

CHUNK = 1000
"""Number of manifests that are read at a time."""

_COLUMNS = {
    "field": 'catalog, type, name, "column", kind, source, says, epsilon, domain',
    "code": "catalog, type, field, value, label, low, high, text",
}

_MANIFESTS = (
    "SELECT signer, key, date_diff('day', DATE '1970-01-01', day), epoch(as_of)::BIGINT, closed, "
    "count, digest, id, raw FROM manifest"
)


def check_dictionary(
    con: Connection, signed: Signed, present: Collection[str], found: Verification
) -> None:
    """Compare the tables of `DICTIONARY` with the catalogs, one catalog at a time. `present` are
    the tables that the data set has. Raises what DuckDB raises."""
    for table in [one for one in DICTIONARY if one not in present]:
        found.add(table, None, "the table is missing")
    tables = [one for one in DICTIONARY if one in present]
    counts = dict.fromkeys(tables, 0)
    for entry, types in signed.declared():
        rows = [described(entry, one) for one in types]
        right = {
            "field": [row for one in rows for row in one.fields],
            "code": [row for one in rows for row in one.codes],
        }
        for table in tables:
            stored = con.execute(
                f"SELECT {_COLUMNS[table]} FROM {table} WHERE catalog = ?", [entry.n]
            ).fetchall()
            counts[table] += len(stored)
            if sorted(map(repr, stored)) != sorted(map(repr, right[table])):
                found.add(table, None, f"not what catalog {entry.n} says")
    for table, count in counts.items():
        if con.execute(f"SELECT count(*) FROM {table}").fetchall() != [(count,)]:
            found.add(table, None, "rows that belong to no catalog")


def check_manifests(con: Connection, found: Verification) -> None:
    """Check each manifest against its bytes. Whether a signer is to be believed is for the reader.
    Raises what DuckDB raises."""
    rows = con.cursor().execute(_MANIFESTS)
    while some := rows.fetchmany(CHUNK):
        for *stored, raw in some:
            try:
                item, one = read_manifest(raw if isinstance(raw, bytes) else b"")
            except RefusedError as error:
                found.add(MANIFEST, None, f"the bytes are refused: {error.code}")
                continue
            about = [item.key, one.namespace, one.day, one.as_of, one.closed, one.count]
            if stored != [*about, one.digest, item.id]:
                found.add(MANIFEST, None, "not what the bytes say")

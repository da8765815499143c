"""Migrates layout 3 to 4: adds tables, and says how long reports are kept and when they are late.

The new tables are about the Parquet files, deleted rows, digests, and signed manifests.
"""

from __future__ import annotations

from methrics.aggregate.store.duck import Connection
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import split

_NEW = (
    'CREATE TABLE part (name VARCHAR, "table" VARCHAR, type INTEGER, month DATE, first BIGINT, '
    "last BIGINT, rows BIGINT, size BIGINT, sha256 BLOB, settled BOOLEAN, written TIMESTAMP)",
    "CREATE TABLE dead (n BIGINT, type INTEGER, month DATE)",
    "CREATE TABLE digest (key BLOB, day DATE, count BIGINT, digest BLOB)",
    "CREATE TABLE manifest (signer BLOB, key BLOB, day DATE, as_of TIMESTAMP, closed BOOLEAN, "
    "count BIGINT, digest BLOB, id BLOB, raw BLOB)",
    "CREATE TABLE contested (key BLOB, day DATE, id BLOB, catalog INTEGER, received TIMESTAMP, "
    "raw BLOB)",
    "CREATE TABLE vote (id BLOB, signer BLOB)",
    "CREATE TABLE waste (n BIGINT, since TIMESTAMP, rows BIGINT)",
    "ALTER TABLE declaration ADD COLUMN retention INTEGER",
    "ALTER TABLE declaration ADD COLUMN lateness INTEGER",
)


def to_4(con: Connection) -> None:
    """Migrate the current database of `con`, in the caller's transaction.

    Raises StoreError `store-broken` if a catalog in the file does not declare an event type of
    which the file has reports.
    """
    for statement in _NEW:
        con.execute(statement)
    wanted: dict[int, list[tuple[int, str]]] = {}
    for n, catalog, type_name in con.execute(
        "SELECT d.n, d.catalog, t.name FROM declaration d JOIN type t ON t.n = d.type"
    ).fetchall():
        wanted.setdefault(catalog, []).append((n, type_name))
    for catalog, declared in wanted.items():
        # One at a time: a parsed catalog of sixty event types takes 0.7 MB.
        rows = con.execute("SELECT raw FROM catalog WHERE n = ?", [catalog]).fetchall()
        item = split(rows[0][0]) if rows else None
        parsed = item and Catalog.from_payload(item.payload, item.key, item.id, item.raw)
        for n, type_name in declared:
            one = parsed.types.get(type_name) if parsed else None
            if one is None:
                raise StoreError(
                    "store-broken", f"declaration {n} names a type that its catalog lacks"
                )
            con.execute(
                "UPDATE declaration SET retention = ?, lateness = ? WHERE n = ?",
                [one.retention_days, one.lateness, n],
            )

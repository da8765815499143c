"""Writes a Parquet directory of layout 4 for readers to read, without the aggregator's keeper."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

from methrics.aggregate.parquet.manifest import Day, File, Manifest, encode_manifest
from methrics.aggregate.store.digest import digests
from methrics.aggregate.store.duck import Connection, literal, name
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store

DICTIONARY = {
    "catalog": "catalog",
    "record": "record",
    "listing": "listing",
    "revoked": "revoked",
    "type": "type",
    "declaration": "declaration",
    "field": "field",
    "code": "code",
    "manifest": "(FROM manifest WHERE closed)",
    "refusal": "(SELECT day, reason, count FROM refusal)",
}


class Writer:
    """Writes directories with fresh file names; `rng` makes the names."""

    def __init__(self, directory: Path, rng: random.Random | None = None) -> None:
        self.directory = directory
        self.rng = rng or random.Random(4)
        self.files: list[File] = []

    def write(self, store: Store, now: int) -> Manifest:
        """Write all of the store in new files, and a manifest that lists only these."""
        con = store.cursor()
        self.files = []
        for table, rows in DICTIONARY.items():
            self.copy(con, f"dictionary/{table}", f"FROM {rows}", table, None)
        self.copy(con, "tombstone/0", "FROM tombstone", "tombstone", None)
        self.copy(con, "dictionary/item", "FROM item WHERE type IS NULL", "item", None)
        for one in store.tables():
            for month in self.months(con, one.sql):
                self.month(con, one.schema, one.table, one.n, month)
                if one.stepped:
                    when = f"n IN (SELECT n FROM {one.sql} WHERE {_within(month)})"
                    rows = f"FROM {one.steps_sql} WHERE {when}"
                    folder = f"types/{one.schema}/{one.steps}/{month:%Y-%m}"
                    self.copy(con, folder, rows, f"{one.schema}.{one.steps}", month)
        days: dict[str, dict[date, Day]] = {}
        for day in digests(con):
            days.setdefault(day.schema, {})[day.date] = Day(day.key, day.count, day.digest)
        row = con.execute("SELECT count(*) FROM tombstone").fetchone()
        written = datetime.fromtimestamp(now, UTC).isoformat()
        manifest = Manifest(written, tuple(self.files), days, row[0] if row else 0)
        new = self.directory / "manifest.json.tmp"
        new.write_bytes(encode_manifest(manifest))
        new.replace(self.directory / "manifest.json")
        return manifest

    def months(self, con: Connection, table: str) -> Iterator[date]:
        for (month,) in con.execute(
            f"SELECT DISTINCT date_trunc('month', time)::DATE FROM {table} ORDER BY 1"
        ).fetchall():
            yield month

    def month(self, con: Connection, schema: str, table: str, n: int, month: date) -> None:
        rows = f"FROM {name(schema, table)} WHERE {_within(month)} ORDER BY time"
        folder = f"{schema}/{table}/{month:%Y-%m}"
        self.copy(con, f"types/{folder}", rows, f"{schema}.{table}", month)
        rows = f"FROM item WHERE type = {n} AND {_within(month)} ORDER BY time"
        self.copy(con, f"raw/{folder}", rows, "item", month)

    def copy(self, con: Connection, folder: str, rows: str, table: str, month: date | None) -> File:
        """Write a file with these rows and list it."""
        gen = f"{self.rng.getrandbits(32):08x}.parquet"
        whole = folder.startswith(("dictionary", "tombstone"))
        called = f"{folder}.{gen}" if whole else f"{folder}/{gen}"
        place = self.directory / called
        place.parent.mkdir(parents=True, exist_ok=True)
        con.execute(f"COPY ({rows}) TO {literal(place)} (FORMAT parquet, COMPRESSION zstd)")
        row = con.execute(f"SELECT count(*) FROM ({rows})").fetchone()
        data = place.read_bytes()
        one = File(
            called,
            table,
            month,
            row[0] if row else 0,
            len(data),
            hashlib.sha256(data).hexdigest(),
            month is not None,
        )
        self.files.append(one)
        return one


def _within(month: date) -> str:
    return f"date_trunc('month', time) = DATE '{month}'"


def settle(store: Store, now: int) -> Manifest:
    """Move every report of the store into settled files, and empty its tables."""
    writer = Writer(directory_beside(store.path))
    manifest = writer.write(store, now)
    con = store.cursor()
    con.execute("BEGIN")
    for one in manifest.files:
        if one.month is not None:
            con.execute(
                "INSERT INTO part VALUES (?, ?, NULL, ?, 0, 0, ?, ?, unhex(?), true, NULL)",
                [one.name, one.table, one.month, one.rows, one.size, one.sha256],
            )
    con.execute("DELETE FROM item WHERE type IS NOT NULL")
    for table in store.tables():
        con.execute(f"DELETE FROM {table.sql}")
        if table.stepped:
            con.execute(f"DELETE FROM {table.steps_sql}")
    con.execute("COMMIT")
    return manifest

"""Computes digests, with which two aggregators compare their data: a count and a hash per app and
day.

    digest = SHA-256( "methrics/1 digest" || namespace key (32) || day (8) || ids (32 each)
                      || count (8) )

`day` is days since 1970-01-01 and, like `count`, big-endian. `ids` are the ids of the day's
reports in ascending order. So the digest does not depend on the order of arrival.
Finding another set with the same digest would require breaking SHA-256. A sum or XOR of hashes
would be cheaper to update, but could be forged by linear algebra or a birthday search, because
anyone can create ids.

A reconciliation protocol can use the same order: all ids with one prefix are a run of this
sequence, and one pass computes the count and a salted XOR of a run. These show where two sets may
differ, whereas this digest proves that two sets are equal.

Erased reports are not in the set. The digest of all days of one app is SHA-256 over
"methrics/1 digests", the key, and (day, count, digest) of its days in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.duck import Connection
from methrics.schema.errors import StoreError
from methrics.schema.wire.envelope import Kind
from methrics.schema.wire.manifest import reports_digest

_EPOCH = date(1970, 1, 1)
_ALL_DOMAIN = b"methrics/1 digests"


@dataclass(frozen=True, slots=True)
class DayDigest:
    """The count and digest of the reports of one app on one UTC day.

    `key` is the app's namespace key, `schema` its SQL schema.
    """

    key: bytes
    schema: str
    day: int
    count: int
    digest: bytes

    @property
    def date(self) -> date:
        """The day as a date."""
        return _EPOCH + timedelta(days=self.day)


@dataclass(frozen=True, slots=True)
class NamespaceDigest:
    """The count and digest of the reports of one app on all days."""

    key: bytes
    schema: str
    count: int
    digest: bytes


def day_digest(key: bytes, day: int, ids: Iterable[bytes | memoryview]) -> tuple[int, bytes]:
    """Compute the count and digest of one day.

    `ids` are chunks of whole 32-byte ids, in ascending order.
    """
    return reports_digest(key, day, ids)


def combine(days: Iterable[DayDigest]) -> list[NamespaceDigest]:
    """Compute one digest for each app from the digests of its days, which come in any order."""
    by_key: dict[bytes, list[DayDigest]] = {}
    for day in days:
        by_key.setdefault(day.key, []).append(day)
    found = []
    for key, own in sorted(by_key.items()):
        state = hashlib.sha256(_ALL_DOMAIN + key)
        for day in sorted(own, key=lambda day: day.day):
            state.update(day.day.to_bytes(8, "big") + day.count.to_bytes(8, "big") + day.digest)
        found.append(
            NamespaceDigest(key, own[0].schema, sum(day.count for day in own), state.digest())
        )
    return found


def digests(con: Connection, days: Collection[int] | None = None) -> list[DayDigest]:
    """Compute the digests of all days with reports, or only of `days` (counted from 1970-01-01).

    `con` must be able to read the tables `item` and `catalog`, from a file or from Parquet.
    """
    wanted = [
        (key, schema, day)
        for key, schema, day in con.execute(
            "SELECT key, schema, date_diff('day', DATE '1970-01-01', day) AS n "
            f"FROM ({days_of('item')}) ORDER BY key, n"
        ).fetchall()
        if days is None or day in days
    ]
    return day_digests_of(con, "item", wanted)


def days_of(items: str) -> str:
    """Return SQL for the key, SQL schema and day of each day of reports in `items` (SQL). An app
    with several schemas has that of its first catalog."""
    return (
        "SELECT c.key, first(s.schema ORDER BY s.n) AS schema, d.day FROM "
        "(SELECT DISTINCT i.catalog, i.time::DATE AS day "
        f"FROM {items} i WHERE i.kind = {int(Kind.REPORT)}) d "
        "JOIN catalog c ON c.n = d.catalog JOIN catalog s ON s.key = c.key GROUP BY c.key, d.day"
    )


def day_digests_of(
    con: Connection, items: str, wanted: Iterable[tuple[bytes, str, int]]
) -> list[DayDigest]:
    """Compute the digests of days, given as (key, SQL schema, day), from `items` (SQL). Those of
    days without reports have the count 0."""
    found = []
    for key, schema, day in wanted:
        count, digest = day_digest(key, day, ids_of(con, items, key, day))
        found.append(DayDigest(key, schema, day, count, digest))
    return found


def ids_of(con: Connection, items: str, key: bytes, day: int) -> Iterator[memoryview]:
    """Yield the ids of a day's reports in ascending order, many one after another."""
    start = _EPOCH + timedelta(days=day)
    found = con.sql(
        f"SELECT i.id FROM {items} i WHERE i.kind = ? AND i.time >= ?::DATE AND i.time < ?::DATE "
        "AND i.catalog IN (SELECT n FROM catalog WHERE key = ?) ORDER BY i.id",
        params=[int(Kind.REPORT), start, start + timedelta(days=1), key],
    )
    for batch in found.to_arrow_reader(100_000):
        yield id_bytes(batch.column(0))


def id_bytes(ids: pa.Array) -> memoryview:
    """Return the ids of an array, one after another. Raises StoreError if one has not 32 bytes."""
    try:
        fixed = ids.cast(pa.binary(32))
    except pa.ArrowInvalid:
        raise StoreError(
            "store-broken", "a stored id has not 32 bytes", "run `methrics verify`"
        ) from None
    data = fixed.buffers()[1]
    if data is None or not len(fixed):
        return memoryview(b"")
    return memoryview(data)[fixed.offset * 32 : (fixed.offset + len(fixed)) * 32]

"""Keeps items whose catalog is not known yet, and returns them when the catalog arrives.

Only the structure of these items has been checked, so anyone can fill the quarantine. Its size is
limited: the oldest items are dropped first, and so are items that would be refused as late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.store.duck import Connection, moment
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.gate import named_catalog
from methrics.schema.wire.envelope import split
from methrics.schema.wire.limits import LATE_DEFAULT

ITEMS_MAX = 100_000
"""Maximum number of items in the quarantine: about 25 MB of heartbeats."""

AGE_MAX = LATE_DEFAULT
"""Maximum seconds that an item waits. After that its report would be refused as late."""

STEP = 600
"""Seconds. The time of receipt is rounded up to a multiple of this, because judging the item later
does not need the exact time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One item that waits for a catalog. `awaits`: the catalog's id or its namespace key."""

    awaits: bytes
    id: bytes
    raw: bytes


class Quarantine:
    """Maintains the table `quarantine`. Every method runs in the caller's transaction."""

    def __init__(self, con: Connection) -> None:
        self._con = con
        row = con.execute("SELECT coalesce(max(n), 0), count(*) FROM quarantine").fetchone()
        self._last: int
        self._size: int
        self._last, self._size = row or (0, 0)

    def add(self, waiting: Sequence[Waiting], now: int) -> int:
        """Store `waiting` without duplicates; return how many items were new."""
        new = {item.id: item for item in waiting}
        if not new:
            return 0
        columns = pa.table(
            {
                "awaits": pa.array([item.awaits for item in new.values()], pa.binary()),
                "id": pa.array(list(new), pa.binary()),
                "raw": pa.array([item.raw for item in new.values()], pa.binary()),
            }
        )
        self._con.register("incoming", columns)
        received = now + -now % STEP
        self._con.execute(
            "INSERT INTO quarantine BY NAME "
            f"SELECT {self._last} + row_number() OVER () AS n, awaits, "
            f"{moment(received)} AS received, id, raw "
            "FROM incoming ANTI JOIN quarantine USING (id)"
        )
        self._con.unregister("incoming")
        before = self._size
        self._measure()
        added = self._size - before
        self._trim(received)
        return added

    def _trim(self, now: int) -> None:
        """Delete items older than AGE_MAX, and the oldest of more than ITEMS_MAX items."""
        self._con.execute(f"DELETE FROM quarantine WHERE received < {moment(now - AGE_MAX)}")
        if self._size > ITEMS_MAX:
            self._con.execute(
                "DELETE FROM quarantine WHERE n <= "
                f"(SELECT n FROM quarantine ORDER BY n DESC LIMIT 1 OFFSET {ITEMS_MAX})"
            )
        self._measure()

    def _measure(self) -> None:
        row = self._con.execute("SELECT coalesce(max(n), 0), count(*) FROM quarantine").fetchone()
        last, self._size = row or (0, 0)
        self._last = max(self._last, last)

    def waiting(self, catalog: Catalog) -> list[tuple[int, int, bytes]]:
        """Return (number, time of receipt, raw) of the items that wait for `catalog` or its key."""
        return self._con.execute(
            "SELECT n, epoch(received)::BIGINT, raw FROM quarantine WHERE awaits IN (?, ?) "
            "ORDER BY n",
            [catalog.id, catalog.key],
        ).fetchall()

    def release(self, numbers: Sequence[int]) -> None:
        """Remove the items with these numbers, which have been judged again."""
        if numbers:
            self._con.register("incoming", pa.table({"n": pa.array(numbers, pa.int64())}))
            self._con.execute("DELETE FROM quarantine WHERE n IN (SELECT n FROM incoming)")
            self._con.unregister("incoming")
            self._measure()


def awaited(raw: bytes) -> bytes:
    """Return the catalog id or the namespace key for which an item with unknown catalog waits."""
    return named_catalog(raw) or split(raw).key

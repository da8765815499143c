"""Reads catalogs from the file when they are needed, and keeps the last ones in memory."""

from __future__ import annotations

from methrics.aggregate.store.duck import Connection
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.envelope import split

KEPT = 64
"""Number of parsed catalogs that are kept: a catalog of sixty event types takes 0.7 MB."""


class Shelf:
    """The catalogs in the table `catalog` that `con` reads, by id."""

    def __init__(self, con: Connection) -> None:
        self._con = con
        self._kept: dict[bytes, Catalog] = {}

    def get(self, catalog_id: bytes) -> Catalog | None:
        """Return a catalog, or None if the file does not have it."""
        found = self._kept.pop(catalog_id, None)
        if found is None:
            rows = self._con.execute(
                "SELECT raw FROM catalog WHERE id = ?", [catalog_id]
            ).fetchall()
            if not rows:
                return None
            item = split(rows[0][0])
            found = Catalog.from_payload(item.payload, key=item.key, id=item.id, raw=item.raw)
        self.put(found)
        return found

    def put(self, catalog: Catalog) -> None:
        """Keep a catalog in memory, and drop the one that was not used for longest."""
        self._kept[catalog.id] = catalog
        if len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))

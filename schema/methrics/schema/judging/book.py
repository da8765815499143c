"""Store the catalogs that a node knows, and the revocations of their namespaces.

`judge` looks catalogs up here. The size is limited, because anyone can sign catalogs: a full book
keeps its catalogs and refuses new ones. Threads may share a book: each change is atomic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from threading import Lock

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.items import Revocation
from methrics.schema.wire.topic import parse_topic, short_key

CATALOGS_MAX = 1024
"""The most catalogs in a book, by default: they take a few megabytes."""

REVOCATIONS_MAX = 1024
"""The most revoked event types of one namespace: more than its catalogs declare in practice."""


class CatalogBook:
    """Catalogs by id. `topics_allowed` limits them to some topics; None allows every topic."""

    def __init__(
        self, topics_allowed: Collection[str] | None = None, *, capacity: int = CATALOGS_MAX
    ) -> None:
        self._topics = None if topics_allowed is None else frozenset(topics_allowed)
        self._shorts = frozenset(parse_topic(topic)[1] for topic in self._topics or ())
        self._capacity = capacity
        self._catalogs: dict[bytes, Catalog] = {}
        self._topic_of: dict[bytes, str] = {}
        self._namespaces: dict[bytes, dict[str, int]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._catalogs)

    def __iter__(self) -> Iterator[Catalog]:
        return iter(list(self._catalogs.values()))

    def allows(self, catalog: Catalog) -> bool:
        """Tell whether this book accepts catalogs of the catalog's topic."""
        return self._topics is None or catalog.topic in self._topics

    def allows_key(self, key: bytes) -> bool:
        """Tell whether one of the topics of this book belongs to this namespace key."""
        return self._topics is None or short_key(key) in self._shorts

    def add(self, catalog: Catalog) -> bool:
        """Add a catalog. Returns False if the book is full or does not accept the catalog's
        topic."""
        with self._lock:
            if catalog.id in self._catalogs:
                return True
            if not self.allows(catalog) or len(self._catalogs) >= self._capacity:
                return False
            self._topic_of[catalog.id] = catalog.topic
            self._namespaces.setdefault(catalog.key, {})
            self._catalogs[catalog.id] = catalog
            return True

    def get(self, catalog_id: bytes) -> Catalog | None:
        """Return the catalog with that id, or None."""
        return self._catalogs.get(catalog_id)

    def topic_of(self, catalog: Catalog) -> str:
        """Return the catalog's topic, which is computed once for each catalog in the book."""
        return self._topic_of.get(catalog.id) or catalog.topic

    def knows_namespace(self, key: bytes) -> bool:
        """Tell whether the book has a catalog of this namespace key."""
        return key in self._namespaces

    def revoke(self, namespace_key: bytes, revocation: Revocation) -> bool:
        """Add a revocation. If a type is revoked several times, the earliest time applies.

        Returns False if the namespace is not known or has revoked `REVOCATIONS_MAX` other types.
        """
        with self._lock:
            revoked = self._namespaces.get(namespace_key)
            if revoked is None:
                return False
            if revocation.type not in revoked and len(revoked) >= REVOCATIONS_MAX:
                return False
            revoked[revocation.type] = min(
                revocation.time, revoked.get(revocation.type, revocation.time)
            )
            return True

    def revoked(self, catalog: Catalog, type: str, time: int) -> bool:
        """Tell whether a report of this type with this `time` (Unix seconds) is revoked."""
        revoked = self._namespaces.get(catalog.key)
        if not revoked or type not in revoked:
            return False
        return time >= revoked[type]

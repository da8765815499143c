"""Store the catalogs that a node knows, and the records of their namespaces.

`judge` looks catalogs up here. The size is limited: a full book keeps its catalogs and refuses new
ones, and the catalogs of one namespace are limited to `NAMESPACE_MAX`, of which those that its
record does not list any more make room first. Threads may share a book: each change is atomic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from threading import Lock

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.records import RecordBook
from methrics.schema.wire.topic import parse_topic, short_key

CATALOGS_MAX = 1024
"""The most catalogs in a book, by default: they take a few megabytes."""

NAMESPACE_MAX = 64
"""The most catalogs of one namespace: twice as many as a record lists, for those given by hand."""


class CatalogBook:
    """Catalogs by id. `topics_allowed` limits them to some topics; None allows every topic.

    `records` are the records of the namespaces.
    """

    def __init__(
        self,
        topics_allowed: Collection[str] | None = None,
        *,
        capacity: int = CATALOGS_MAX,
        per_namespace: int = NAMESPACE_MAX,
    ) -> None:
        self.records = RecordBook()
        self._topics = None if topics_allowed is None else frozenset(topics_allowed)
        self._shorts = frozenset(parse_topic(topic)[1] for topic in self._topics or ())
        self._capacity = capacity
        self._per_namespace = per_namespace
        self._catalogs: dict[bytes, Catalog] = {}
        self._topic_of: dict[bytes, str] = {}
        self._given: set[bytes] = set()
        self._namespaces: dict[bytes, dict[bytes, None]] = {}
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

    def lists(self, catalog: Catalog) -> bool:
        """Tell whether the newest record of the catalog's namespace lists it, delisted or not."""
        newest = self.records.newest(catalog.key)
        return newest is not None and catalog.id in newest.record.listings

    def add(self, catalog: Catalog, *, given: bool = False) -> bool:
        """Add a catalog that its namespace's record lists, or that the operator or the app `given`.

        Returns False if the catalog is neither, or if the book is full or does not accept the
        catalog's topic.
        """
        with self._lock:
            known = catalog.id in self._catalogs
            if not known and not (self.allows(catalog) and (given or self.lists(catalog))):
                return False
            if not known and not self._place(catalog):
                return False
            if given:
                self._given.add(catalog.id)
            return True

    def _place(self, catalog: Catalog) -> bool:
        """Add a new catalog, in place of another one of its namespace if there are too many."""
        own = self._namespaces.setdefault(catalog.key, {})
        if len(own) >= self._per_namespace:
            self._remove(min(own, key=self._worth))
        if len(self._catalogs) >= self._capacity:
            return False
        self._topic_of[catalog.id] = catalog.topic
        own[catalog.id] = None
        self._catalogs[catalog.id] = catalog
        return True

    def _worth(self, catalog_id: bytes) -> tuple[bool, bool]:
        """Rank a catalog for eviction: neither listed nor given ones go first."""
        return self.lists(self._catalogs[catalog_id]), catalog_id in self._given

    def _remove(self, catalog_id: bytes) -> None:
        catalog = self._catalogs.pop(catalog_id)
        del self._topic_of[catalog_id], self._namespaces[catalog.key][catalog_id]
        self._given.discard(catalog_id)

    def get(self, catalog_id: bytes) -> Catalog | None:
        """Return the catalog with that id, or None."""
        return self._catalogs.get(catalog_id)

    def topic_of(self, catalog: Catalog) -> str:
        """Return the catalog's topic, which is computed once for each catalog in the book."""
        return self._topic_of.get(catalog.id) or catalog.topic

"""The catalogs a node knows, and what their namespaces have revoked: where `judge` looks things up.

Bounded, because anyone can sign catalogs: what is known stays, what is too much is not taken in.
Threads may share a book: changes are made one after the other, and none is seen by half.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from threading import Lock

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.wire.items import Revocation
from methrics.schema.wire.topic import parse_topic, short_key

CATALOGS_MAX = 1024
"""Catalogs in one book, unless its owner says otherwise: a few megabytes."""

REVOCATIONS_MAX = 1024
"""Revoked event types of one namespace: more names than its catalogs declare in practice."""


class CatalogBook:
    """Catalogs by id, for the topics a node takes part in; None allows every topic."""

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
        """Whether the catalog's topic is one of ours."""
        return self._topics is None or catalog.topic in self._topics

    def allows_key(self, key: bytes) -> bool:
        """Whether a topic of ours belongs to this namespace key."""
        return self._topics is None or short_key(key) in self._shorts

    def add(self, catalog: Catalog) -> bool:
        """Take a catalog in. False if its topic is not ours or the book is full."""
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
        """The catalog with that id, if known."""
        return self._catalogs.get(catalog_id)

    def topic_of(self, catalog: Catalog) -> str:
        """The catalog's topic, computed once."""
        return self._topic_of.get(catalog.id) or catalog.topic

    def knows_namespace(self, key: bytes) -> bool:
        """Whether a catalog of this namespace key is known."""
        return key in self._namespaces

    def revoke(self, namespace_key: bytes, revocation: Revocation) -> bool:
        """Note a revocation; of several for one type the earliest time holds.

        False if the namespace is not known or has revoked too many names.
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
        """Whether reports of this type and time (unix seconds) have been revoked."""
        revoked = self._namespaces.get(catalog.key)
        if not revoked or type not in revoked:
            return False
        return time >= revoked[type]

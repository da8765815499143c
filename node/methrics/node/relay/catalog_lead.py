"""Decides when a relay publishes the newest catalog again, before a bundle (pure).

A node that joins a topic late cannot judge reports until it has their catalog. It can ask its peers
(`catalog_exchange`), but need not do so if a relay repeats the newest catalog from time to time.
"""

from __future__ import annotations

from collections.abc import Collection

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook


class CatalogLead:
    """Remembers when the newest catalog of each topic was published last.

    `every`: seconds after which the catalog is due again, or None if it is never due. `now` is in
    seconds on a clock that never goes back.
    """

    def __init__(self, book: CatalogBook, every: float | None) -> None:
        self._book = book
        self._every = every
        self._sent: dict[str, tuple[bytes, float]] = {}

    def due(self, topic: str, ids: Collection[bytes], now: float) -> Catalog | None:
        """Return the catalog to publish before a bundle with the items `ids`.

        None if no catalog is due, or if the bundle contains it already.
        """
        newest = self._newest(topic)
        if self._every is None or newest is None or newest.id in ids:
            return None
        sent, time = self._sent.get(topic, (b"", 0.0))
        return None if sent == newest.id and now - time < self._every else newest

    def published(self, topic: str, ids: Collection[bytes], now: float) -> None:
        """Note that a bundle with the items `ids` was published. If the newest catalog is one of
        them, it was published at `now`."""
        newest = self._newest(topic)
        if newest is not None and newest.id in ids:
            self._sent[topic] = newest.id, now

    def _newest(self, topic: str) -> Catalog | None:
        of_topic = (one for one in self._book if self._book.topic_of(one) == topic)
        return max(of_topic, key=lambda one: (one.number, one.id), default=None)

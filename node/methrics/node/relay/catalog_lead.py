"""Which catalog goes in front of a relay's bundle, and how often (pure).

A node that joins a topic late cannot judge reports until it has their catalog. It can ask its peers
(`catalog_exchange`); a relay that sends the newest catalog along now and then spares it that.
"""

from __future__ import annotations

from collections.abc import Collection

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.limits import BUNDLE_ITEMS_MAX, BUNDLE_MAX

_HEADS = 8
"""Bytes of CBOR by which a bundle grows beside the catalog itself, at most."""


class CatalogLead:
    """Remembers when the newest catalog of each topic was published last.

    `every`: seconds until it is due again; None: never due. `now` is in seconds on a steady clock.
    """

    def __init__(self, book: CatalogBook, every: float | None) -> None:
        self._book = book
        self._every = every
        self._sent: dict[str, tuple[bytes, float]] = {}

    def due(self, topic: str, bundle: bytes, ids: Collection[bytes], now: float) -> Catalog | None:
        """The catalog to put in front of `bundle`, which holds the items `ids`; None: none.

        None too if the bundle holds that catalog already, or has no room for it.
        """
        newest = self._newest(topic)
        if self._every is None or newest is None or newest.id in ids:
            return None
        if len(bundle) + len(newest.raw) + _HEADS > BUNDLE_MAX or len(ids) >= BUNDLE_ITEMS_MAX:
            return None
        sent, time = self._sent.get(topic, (b"", 0.0))
        return None if sent == newest.id and now - time < self._every else newest

    def published(self, topic: str, ids: Collection[bytes], now: float) -> None:
        """Note that a bundle with the items `ids` has left; a catalog among them counts."""
        newest = self._newest(topic)
        if newest is not None and newest.id in ids:
            self._sent[topic] = newest.id, now

    def _newest(self, topic: str) -> Catalog | None:
        of_topic = (one for one in self._book if self._book.topic_of(one) == topic)
        return max(of_topic, key=lambda one: (one.number, one.id), default=None)

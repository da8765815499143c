"""Remembers digests of a part of a day: sessions about a shard compare them."""

from __future__ import annotations

from collections.abc import Callable

from methrics.aggregate.reconcile.wire import DaySum
from methrics.aggregate.store.digest import DayDigest
from methrics.schema.wire.shard import Shard

KEPT_MAX = 65_536
"""Most digests that are remembered: sixteen shards of eleven years, or of a year of eleven apps.
About 20 MB."""


class PartDigests:
    """The digests of parts of days. The digest of the whole day tells whether one still holds, so
    nothing has to be forgotten when a day changes. Threads may share it."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int, bytes, Shard], DaySum] = {}

    def get(self, day: DayDigest, shard: Shard, compute: Callable[[], DaySum]) -> DaySum:
        """Return the digest of the reports of a shard on a day; `compute` is called if it is not
        known."""
        about = day.key, day.day, day.digest, shard
        found = self._known.get(about)
        if found is None:
            found = compute()
            if len(self._known) >= KEPT_MAX:
                self._known.clear()
            self._known[about] = found
        return found

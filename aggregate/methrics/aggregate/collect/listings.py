"""Gives peers the record that listed a catalog, and asks peers (`/methrics/listing/1`).

    request = the id of a catalog, 32 bytes
    reply   = the item's bytes of the newest record known that lists it, or nothing

Reports of the past count under any catalog that a record has ever listed. A namespace's newest
record may have dropped that catalog, and who came later has never seen the older one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import StoreError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, learn
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.limits import EARLY_MAX, RECORD_MAX
from methrics.schema.wire.record import Record
from methrics.schema.wire.verdict import Decision, Reason

PROTOCOL = "/methrics/listing/1"

ID_SIZE = 32
"""Bytes of a request."""

REPLY_TIME = 10.0
"""Seconds within which a peer must reply."""


class Listings:
    """The exchange of one aggregator. `take` stores a record that was fetched."""

    def __init__(
        self,
        swarm: Swarm,
        store: Store,
        book: CatalogBook,
        clock: Clock,
        take: Callable[[BundleVerdict], Awaitable[object]],
    ) -> None:
        self._swarm = swarm
        self._store = store
        self._book = book
        self._clock = clock
        self._take = take
        self._one = trio.CapacityLimiter(1)

    def serve(self) -> None:
        """Answer peers from now on."""
        self._swarm.serve(PROTOCOL, self._answer, request_max=ID_SIZE)

    async def ask(self, topic: str, peer: PeerId, catalog_id: bytes) -> bool:
        """Ask a peer for the record that listed a catalog; tell whether it is one, and is known
        now. Raises trio.ClosedResourceError and trio.BrokenResourceError when nothing is stored any
        more."""
        try:
            raw = await self._swarm.request(
                peer, PROTOCOL, catalog_id, reply_max=RECORD_MAX, timeout=REPLY_TIME
            )
        except UnreachableError:
            return False
        now = self._clock.now()
        verdict = judge(raw, self._book, now, live=False, topic=topic)
        if not isinstance(verdict, Accepted) or not isinstance(verdict.body, Record):
            return False
        if catalog_id not in verdict.body.listings or verdict.body.time > now + EARLY_MAX:
            return False
        learn(verdict, self._book)
        await self._take(BundleVerdict(Decision.ACCEPT, Reason.OK, [verdict]))
        return self._book.records.ever_listed(verdict.item.key, catalog_id)

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        return await trio.to_thread.run_sync(self._newest, body, limiter=self._one)

    def _newest(self, catalog_id: bytes) -> bytes:
        try:
            # Whoever asks for the record asks for the catalog next, which is given from the book.
            catalog = self._store.catalog(catalog_id)
            if catalog is not None and self._book.get(catalog_id) is None:
                self._book.add(catalog, given=True)
            with self._store.reading() as con:
                rows = con.execute(
                    "SELECT r.raw FROM record r JOIN listing l ON l.record = r.n "
                    "WHERE l.catalog = ? ORDER BY r.time DESC, r.id DESC LIMIT 1",
                    [catalog_id],
                ).fetchall()
        except StoreError:
            return b""
        return bytes(rows[0][0]) if rows else b""

"""Sends catalogs to peers that ask for them by id, and asks peers (`/methrics/catalog/1`).

    request = the id of a catalog, 32 bytes
    reply   = the catalog item's bytes, or nothing if the peer does not have it

A report names its catalog by id. A node that lacks that catalog asks the peers of the topic for it.
If the catalog in a reply has another id, the node drops the reply, so any peer may be asked. The
node judges the catalog like a bundle that arrived on the topic. Anyone can send reports that name
catalogs which do not exist, so the number of wanted catalogs is bounded, and the pause before each
further attempt doubles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.limits import CATALOG_MAX

PROTOCOL = "/methrics/catalog/1"

ID_SIZE = 32
"""Bytes of a request."""

WANTED_MAX = 256
"""Most catalogs that are wanted at once. If an item names a further one, it is not looked for until
another item names it."""

PEERS_MAX = 4
"""Most peers asked in one attempt. One honest peer that has the catalog is enough."""

REPLY_TIME = 10.0
"""Seconds within which a peer must reply."""

PAUSES = Backoff(30.0, 1920.0)
"""Pauses between two attempts for one catalog: 30 seconds at first, doubled up to 32 minutes."""

ATTEMPTS_MAX = 8
"""Attempts for one catalog, over about an hour. After the last one, the catalog is looked for again
only if another item names it."""

Learn = Callable[[str, bytes], Awaitable[object]]
"""`learn(topic, bundle)` judges a fetched catalog like a bundle that arrived on `topic`."""


@dataclass(slots=True)
class _Wanted:
    topic: str
    next: float
    attempts: int = 0


class CatalogExchange:
    """Answers requests for the catalogs in `book`, and asks peers for those passed to `want`."""

    def __init__(self, swarm: Swarm, book: CatalogBook, rng: Rng, learn: Learn) -> None:
        self._swarm = swarm
        self._book = book
        self._rng = rng
        self._learn = learn
        self._wanted: dict[bytes, _Wanted] = {}
        self._wake = trio.Event()

    def serve(self) -> None:
        """Answer requests of peers from now on."""
        self._swarm.serve(PROTOCOL, self._answer, request_max=ID_SIZE)

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        catalog = self._book.get(body)
        return catalog.raw if catalog is not None else b""

    def want(self, catalog_id: bytes, topic: str) -> None:
        """Look for a catalog that an item on `topic` names. It is cheap to call for every item."""
        if catalog_id in self._wanted or len(self._wanted) >= WANTED_MAX:
            return
        self._wanted[catalog_id] = _Wanted(topic, trio.current_time())
        self._wake.set()

    async def run(self) -> None:
        """Look for the wanted catalogs until cancelled."""
        while True:
            soonest = min((wanted.next for wanted in self._wanted.values()), default=float("inf"))
            with trio.move_on_at(soonest):
                await self._wake.wait()
            self._wake = trio.Event()
            now = trio.current_time()
            for catalog_id, wanted in list(self._wanted.items()):
                if wanted.next <= now:
                    await self._attempt(catalog_id, wanted)

    async def _attempt(self, catalog_id: bytes, wanted: _Wanted) -> None:
        if self._book.get(catalog_id) is None:
            raw = await self._fetch(catalog_id, wanted.topic)
            if raw is not None:
                await self._learn(wanted.topic, pack_notice(raw))
        wanted.attempts += 1
        if self._book.get(catalog_id) is not None or wanted.attempts == ATTEMPTS_MAX:
            del self._wanted[catalog_id]
            return
        wanted.next = trio.current_time() + PAUSES.wait(wanted.attempts - 1)

    async def _fetch(self, catalog_id: bytes, topic: str) -> bytes | None:
        peers = sorted(self._swarm.peers(topic), key=lambda _: self._rng())
        for peer in peers[:PEERS_MAX]:
            try:
                raw = await self._swarm.request(
                    peer, PROTOCOL, catalog_id, reply_max=CATALOG_MAX, timeout=REPLY_TIME
                )
                item = split(raw)
            except (UnreachableError, RefusedError):
                continue
            if item.kind is Kind.CATALOG and item.id == catalog_id:
                return raw
        return None

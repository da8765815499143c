"""Catalogs by id, from peer to peer: `/methrics/catalog/1`.

    request = the id of a catalog, 32 bytes
    reply   = the catalog item's bytes, or nothing if the peer does not have it

A report names its catalog by id. A node that lacks that catalog asks the peers of the topic for it.
A reply with another id than the one asked for is thrown away, so any peer may be asked; the catalog
is then judged like a bundle that arrived on the topic. Anyone can send reports that name catalogs
which do not exist, so the number of wanted catalogs is bounded, and the pauses between attempts
double.
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
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.limits import CATALOG_MAX

PROTOCOL = "/methrics/catalog/1"

ID_SIZE = 32
"""Bytes of a request."""

WANTED_MAX = 256
"""Catalogs looked for at once. One named beyond that is looked for when it is named again."""

PEERS_MAX = 4
"""Peers asked in one attempt: one honest peer that has it is enough."""

REPLY_TIME = 10.0
"""Seconds a peer may take."""

PAUSES = Backoff(30.0, 1920.0)
"""Seconds between attempts for one catalog."""

ATTEMPTS_MAX = 8
"""Attempts for one catalog, over an hour in all; then it is looked for only if named again."""

Learn = Callable[[str, bytes], Awaitable[object]]
"""(topic, bundle): judges a fetched catalog as if it had arrived on its topic."""


@dataclass(slots=True)
class _Wanted:
    topic: str
    next: float
    attempts: int = 0


class CatalogExchange:
    """Answers requests for the catalogs in `book`, and looks for those passed to `want`."""

    def __init__(self, swarm: Swarm, book: CatalogBook, rng: Rng, learn: Learn) -> None:
        self._swarm = swarm
        self._book = book
        self._rng = rng
        self._learn = learn
        self._wanted: dict[bytes, _Wanted] = {}
        self._wake = trio.Event()

    def serve(self) -> None:
        """Answer peers from now on."""
        self._swarm.serve(PROTOCOL, self._answer, request_max=ID_SIZE)

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        catalog = self._book.get(body)
        return catalog.raw if catalog is not None else b""

    def want(self, catalog_id: bytes, topic: str) -> None:
        """Look for a catalog that an item on `topic` names. Cheap; may be called for each item."""
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
                await self._learn(wanted.topic, pack([raw]))
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

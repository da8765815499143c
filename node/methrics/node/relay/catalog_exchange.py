"""Sends catalogs to peers that ask for them by id, and asks peers (`/methrics/catalog/1`).

    request = the id of a catalog, 32 bytes
    reply   = the catalog item's bytes, or nothing if the peer does not have it

A report names its catalog by id. A node that lacks that catalog asks the peers of the topic for it,
first the peer that forwarded the bundle. If the catalog in a reply has another id, the node drops
the reply, so any peer may be asked. The node judges the catalog like a bundle that arrived on the
topic. Only a catalog that the newest record of its namespace lists is looked for, so catalogs that
somebody invents cost nothing here. The pause before each further attempt doubles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.limits import CATALOG_MAX, LISTED_MAX
from methrics.schema.wire.topic import parse_topic

PROTOCOL = "/methrics/catalog/1"

ID_SIZE = 32
"""Bytes of a request."""

WANTED_MAX = LISTED_MAX
"""Most catalogs of one topic that are wanted at once: as many as a record lists."""

PEERS_MAX = 4
"""Most peers asked in one attempt. One honest peer that has the catalog is enough."""

FORWARDERS_MAX = 4
"""Most forwarders that are remembered for each wanted catalog."""

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
    forwarders: dict[PeerId, None] = field(default_factory=dict)


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

    def want(self, catalog_id: bytes, topic: str, forwarder: PeerId | None = None) -> None:
        """Look for a listed catalog that a bundle on `topic` names; do nothing for another one.

        It is cheap to call for every bundle. `forwarder` is asked before others.
        """
        wanted = self._wanted.get(catalog_id)
        if wanted is None:
            own = sum(one.topic == topic for one in self._wanted.values())
            if own >= WANTED_MAX or not self._listed(catalog_id, topic):
                return
            wanted = self._wanted[catalog_id] = _Wanted(topic, trio.current_time())
            self._wake.set()
        if forwarder is not None and len(wanted.forwarders) < FORWARDERS_MAX:
            wanted.forwarders[forwarder] = None

    def _listed(self, catalog_id: bytes, topic: str) -> bool:
        newest = self._book.records.newest_of(parse_topic(topic)[1])
        return any(catalog_id in known.record.listings for known in newest)

    async def run(self) -> None:
        """Look for the wanted catalogs until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                soonest = min((one.next for one in self._wanted.values()), default=float("inf"))
                with trio.move_on_at(soonest):
                    await self._wake.wait()
                self._wake = trio.Event()
                now = trio.current_time()
                for catalog_id, wanted in list(self._wanted.items()):
                    if wanted.next <= now:
                        wanted.next = float("inf")
                        nursery.start_soon(self._attempt, catalog_id, wanted)

    async def _attempt(self, catalog_id: bytes, wanted: _Wanted) -> None:
        if self._book.get(catalog_id) is None:
            raw = await self._fetch(catalog_id, wanted)
            if raw is not None:
                await self._learn(wanted.topic, pack_notice(raw))
        wanted.attempts += 1
        found = self._book.get(catalog_id) is not None
        if found or wanted.attempts == ATTEMPTS_MAX or not self._listed(catalog_id, wanted.topic):
            del self._wanted[catalog_id]
            return
        wanted.next = trio.current_time() + PAUSES.wait(wanted.attempts - 1)
        self._wake.set()

    async def _fetch(self, catalog_id: bytes, wanted: _Wanted) -> bytes | None:
        """Ask a forwarder, which must have the catalog if it is honest; then several others at
        once, so that peers who delay their replies delay nothing."""
        connected = self._swarm.peers(wanted.topic)
        order = sorted(connected, key=lambda _: self._rng())
        first = [peer for peer in order if peer in wanted.forwarders][:1]
        others = [peer for peer in order if peer not in first][: PEERS_MAX - len(first)]
        found: list[bytes] = []
        for peers in (first, others):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(self._ask, peer, catalog_id, found, nursery.cancel_scope)
            if found:
                return found[0]
        return None

    async def _ask(
        self, peer: PeerId, catalog_id: bytes, found: list[bytes], scope: trio.CancelScope
    ) -> None:
        """Ask one peer; put a right reply into `found`, and cancel the questions to the others."""
        try:
            raw = await self._swarm.request(
                peer, PROTOCOL, catalog_id, reply_max=CATALOG_MAX, timeout=REPLY_TIME
            )
            item = split(raw)
        except (UnreachableError, RefusedError):
            return
        if item.kind is Kind.CATALOG and item.id == catalog_id:
            found.append(raw)
            scope.cancel()

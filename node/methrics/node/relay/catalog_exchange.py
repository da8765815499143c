"""Sends catalogs to peers that ask for them by id, and asks peers (`/methrics/catalog/1`).

    request = the id of a catalog, 32 bytes
    reply   = the catalog item's bytes, or nothing if the peer does not have it

A report names its catalog by id. A node that lacks that catalog asks the peers of the topic for it.
If the catalog in a reply has another id, the node drops the reply, so any peer may be asked. The
node judges the catalog like a bundle that arrived on the topic. Only a catalog that the newest
record of its namespace lists is looked for, so catalogs that somebody invents cost nothing here.

Each attempt asks two peers at once: a direct peer, or else one that this node has dialled, so that
strangers who connect to it in numbers cannot be asked in its place; and a peer that forwarded a
bundle of the catalog, which must have the catalog if it is honest. Networks take turns. A few
others are asked if the catalog has not come soon. The pause before each further attempt doubles,
but an attempt comes soon when a forwarder turns up that this node has chosen itself, or whose
network was not asked yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay.asking import Turns, most_crowded, network_of
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

FORWARDERS_MAX = 64
"""Most forwarders that are remembered for each wanted catalog. When there are more, one of the
network that has most makes room."""

HEAD_START = 2.0
"""Seconds that the first two peers have before others are asked, too."""

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
    turns: Turns
    next: float
    """When the next attempt begins."""
    soonest: float = 0.0
    """When it may begin at the earliest, whoever forwards a bundle."""
    asking: bool = False
    attempts: int = 0
    forwarders: dict[PeerId, bytes] = field(default_factory=dict)
    """Their networks, by peer."""


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
            if not self._listed(catalog_id, topic) or not self._has_room(topic):
                return
            turns = Turns(self._swarm, self._rng)
            wanted = self._wanted[catalog_id] = _Wanted(topic, turns, trio.current_time())
            self._wake.set()
        if forwarder is not None:
            self._note(wanted, forwarder)

    def _listed(self, catalog_id: bytes, topic: str) -> bool:
        newest = self._book.records.newest_of(parse_topic(topic)[1])
        return any(catalog_id in known.record.listings for known in newest)

    def _has_room(self, topic: str) -> bool:
        """Whether one more catalog of the topic may be wanted. Those that are listed no more make
        room."""
        own = [one for one, wanted in self._wanted.items() if wanted.topic == topic]
        if len(own) < WANTED_MAX:
            return True
        gone = [one for one in own if not self._listed(one, topic)]
        for one in gone:
            del self._wanted[one]
        return bool(gone)

    def _note(self, wanted: _Wanted, forwarder: PeerId) -> None:
        """Remember a forwarder, and have it asked soon unless others of its network were."""
        known, network = wanted.forwarders, network_of(self._swarm, forwarder)
        if forwarder not in known and len(known) >= FORWARDERS_MAX:
            connected = self._swarm.peers(wanted.topic)
            for peer in [peer for peer in known if peer not in connected]:
                del known[peer]
        if forwarder not in known and len(known) >= FORWARDERS_MAX:
            crowd = most_crowded(known, network)
            if crowd is None:
                return
            del known[crowd]
        known[forwarder] = network
        if wanted.asking or wanted.next <= wanted.soonest:
            return
        if not wanted.turns.had(forwarder) or forwarder in wanted.turns.own(wanted.topic):
            wanted.next = wanted.soonest
            self._wake.set()

    async def run(self) -> None:
        """Look for the wanted catalogs until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                soonest = min((one.next for one in self._wanted.values()), default=float("inf"))
                with trio.move_on_at(soonest):
                    await self._wake.wait()
                self._wake = trio.Event()
                now = trio.current_time()
                for catalog_id, wanted in self._wanted.items():
                    if wanted.next <= now:
                        wanted.next, wanted.asking = float("inf"), True
                        nursery.start_soon(self._attempt, catalog_id, wanted)

    async def _attempt(self, catalog_id: bytes, wanted: _Wanted) -> None:
        if self._book.get(catalog_id) is None:
            raw = await self._fetch(catalog_id, wanted)
            if raw is not None:
                await self._learn(wanted.topic, pack_notice(raw))
        if self._book.get(catalog_id) is not None:
            # It may have come on another way, when the bundle did not wait for it yet.
            self._swarm.judge_again(wanted.topic, catalog_id)
            self._forget(catalog_id, wanted)
            return
        wanted.attempts += 1
        if wanted.attempts == ATTEMPTS_MAX or not self._listed(catalog_id, wanted.topic):
            self._forget(catalog_id, wanted)
            return
        now = trio.current_time()
        connected = self._swarm.peers(wanted.topic)
        unasked = any(one in connected and not wanted.turns.had(one) for one in wanted.forwarders)
        wanted.soonest = now + PAUSES.least
        wanted.next = wanted.soonest if unasked else now + PAUSES.wait(wanted.attempts - 1)
        wanted.asking = False
        self._wake.set()

    def _forget(self, catalog_id: bytes, wanted: _Wanted) -> None:
        if self._wanted.get(catalog_id) is wanted:
            del self._wanted[catalog_id]

    async def _fetch(self, catalog_id: bytes, wanted: _Wanted) -> bytes | None:
        """Ask a peer of this node's own choice and a forwarder, and soon several others, so that
        peers who delay their replies delay little."""
        found: list[bytes] = []
        first, others = self._chosen(wanted)
        wanted.turns.note([*first, *others])
        async with trio.open_nursery() as nursery:
            for delay, peers in ((0.0, first), (HEAD_START if first else 0.0, others)):
                for peer in peers:
                    nursery.start_soon(self._ask, peer, catalog_id, delay, found, nursery)
        return found[0] if found else None

    def _chosen(self, wanted: _Wanted) -> tuple[list[PeerId], list[PeerId]]:
        order = wanted.turns.order(self._swarm.peers(wanted.topic))
        own = wanted.turns.own(wanted.topic)
        forwarders = [peer for peer in order if peer in wanted.forwarders and peer not in own[:1]]
        first = [*own[:1], *forwarders[:1]]
        ranked = dict.fromkeys([*own[1:2], *forwarders[1:2], *order])
        others = [peer for peer in ranked if peer not in first]
        return first, others[: PEERS_MAX - len(first)]

    async def _ask(
        self,
        peer: PeerId,
        catalog_id: bytes,
        delay: float,
        found: list[bytes],
        nursery: trio.Nursery,
    ) -> None:
        """Ask one peer; put a right reply into `found`, and cancel the questions to the others."""
        await trio.sleep(delay)
        try:
            raw = await self._swarm.request(
                peer, PROTOCOL, catalog_id, reply_max=CATALOG_MAX, timeout=REPLY_TIME
            )
            item = split(raw)
        except (UnreachableError, RefusedError):
            return
        if item.kind is Kind.CATALOG and item.id == catalog_id:
            found.append(raw)
            nursery.cancel_scope.cancel()

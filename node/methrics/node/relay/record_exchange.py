"""Sends namespace records to peers that ask for them, and asks peers (`/methrics/record/1`).

    request = a topic, in UTF-8
    reply   = [0*4 record], the items' bytes: the newest record of the topic's namespace, and the
              two that prove an equivocation, if it is known, with the heads of other branches

A bundle of a catalog that the newest known record does not list cannot be judged: perhaps this node
lacks a newer record, or was kept from it. So the bundle waits, whole, while the node asks two
peers. The first is a direct peer, or else one that this node has dialled, so strangers who connect
to it in numbers cannot be asked in its place. The second is one that forwarded such a bundle, which
must have the record if it is honest, or else one at random.

After that the bundles that waited are judged again. Those that are still not listed are dropped if
a direct peer has replied or their own forwarder was asked since they arrived, and go on waiting
otherwise. What is dropped is forgotten, so it is judged when it arrives again. However many
catalogs are invented, a topic costs two requests per `ASK_EVERY` seconds, and no table.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

import trio

from methrics.node.clock import Rng
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay.asking import Turns, most_crowded, network_of
from methrics.schema.errors import RefusedError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import record_wait
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.limits import RECORD_MAX
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

PROTOCOL = "/methrics/record/1"

REQUEST_MAX = 128
"""Most bytes of a request: the longest name of a topic."""

RECORDS_MAX = 4
"""Most records of a reply."""

REPLY_MAX = RECORDS_MAX * (RECORD_MAX + 5) + 1
"""Most bytes of a reply."""

ASK_EVERY = 30.0
"""Seconds between two rounds of questions about one topic, at least."""

PEERS_MAX = 2
"""Peers asked in one round."""

REPLY_TIME = 10.0
"""Seconds within which a peer must reply."""

ROUTINE_EVERY = 3600.0
"""Seconds after which peers are asked even if nothing waits, because the peers around this node
might keep a record from it."""

ROUNDS_MAX = 4
"""Rounds after which a waiting bundle is no longer remembered here: the swarm has dropped it."""

WAITING_MAX = 1024
"""Most waiting bundles of a topic that are remembered here. When there are more, one of the network
that forwarded most makes room. The swarm keeps the bundles themselves, within bounds of its own."""

WAITING_OF_NETWORK = 64
"""Most of them that one network has forwarded: as many as wait in the swarm for one peer."""

Learn = Callable[[str, bytes], Awaitable[object]]
"""`learn(topic, bundle)` judges a fetched record like a bundle that arrived on `topic`."""


def records_of(book: CatalogBook, topic: str) -> list[bytes]:
    """Return the newest record of the topic's namespace. If there is the proof of an equivocation,
    it follows, with the newest of the other heads, so that who heals it loses nothing that a branch
    has revoked: at most `RECORDS_MAX` items, each once."""
    found: dict[bytes, None] = {}
    for known in book.records.newest_of(parse_topic(topic)[1]):
        found[known.item.raw] = None
        proof = book.records.proof(known.item.key)
        if proof is not None:
            found |= dict.fromkeys(proof)
            found |= dict.fromkeys(item.raw for item in book.records.heads(known.item.key))
    return list(found)[:RECORDS_MAX]


def encode_records(records: Iterable[bytes]) -> bytes:
    """Encode the reply of `/methrics/record/1`."""
    return encode(list(records))


def decode_records(data: bytes) -> list[bytes]:
    """Decode the reply of `/methrics/record/1`; the records are not checked.

    Raises RefusedError `oversize` or `malformed`.
    """
    value = decode(data, limit=REPLY_MAX)
    if not isinstance(value, list) or len(value) > RECORDS_MAX:
        raise RefusedError(Reason.MALFORMED, f"a reply is an array of at most {RECORDS_MAX}")
    records = [one for one in value if isinstance(one, bytes)]
    if len(records) != len(value):
        raise RefusedError(Reason.MALFORMED, "a record is a byte string")
    return records


@dataclass(slots=True)
class _Waiting:
    forwarder: PeerId
    network: bytes
    rounds: int = 0
    answered: bool = False


class _Room:
    """The waiting bundles of one topic that are remembered, by name."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, _Waiting] = {}
        self._held: Counter[bytes] = Counter()

    def add(self, name: bytes, one: _Waiting) -> None:
        """Remember a bundle, unless its network has too many."""
        if self._held[one.network] >= WAITING_OF_NETWORK:
            return
        if len(self.waiting) >= WAITING_MAX:
            networks = {known: other.network for known, other in self.waiting.items()}
            crowd = most_crowded(networks, one.network)
            if crowd is None:
                return
            self.remove(crowd)
        self.waiting[name] = one
        self._held[one.network] += 1

    def remove(self, name: bytes) -> None:
        """Forget a bundle, if it is remembered."""
        one = self.waiting.pop(name, None)
        if one is not None:
            self._held[one.network] -= 1
            if not self._held[one.network]:
                del self._held[one.network]


@dataclass(slots=True)
class _Topic:
    turns: Turns
    wanted: trio.Event = field(default_factory=trio.Event)
    room: _Room = field(default_factory=_Room)


class RecordExchange:
    """Answers requests for the records in `book`, and asks peers for newer ones."""

    def __init__(
        self, swarm: Swarm, book: CatalogBook, topics: Collection[str], rng: Rng, learn: Learn
    ) -> None:
        self._swarm = swarm
        self._book = book
        self._rng = rng
        self._learn = learn
        self._topics = {topic: _Topic(Turns(swarm, rng)) for topic in topics}

    def serve(self) -> None:
        """Answer requests of peers from now on."""
        self._swarm.serve(PROTOCOL, self._answer, request_max=REQUEST_MAX)

    async def _answer(self, _peer: PeerId, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        topic = body.decode("utf-8", errors="replace")
        return encode_records(records_of(self._book, topic) if topic in self._topics else ())

    def waits(self, topic: str, message: bytes, forwarder: PeerId) -> bool:
        """Return whether a bundle that is not listed waits for a newer record: True until peers
        have been asked since it arrived. Then it is to be forgotten, not ignored: a peer may bring
        the record, and the bundle again. It is cheap to call for every bundle."""
        state = self._topics[topic]
        name = hashlib.blake2b(message, digest_size=16).digest()
        known = state.room.waiting.get(name)
        if known is not None and known.answered:
            state.room.remove(name)
            return False
        if known is None:
            network = network_of(self._swarm, forwarder)
            state.room.add(name, _Waiting(forwarder, network))
        state.wanted.set()
        return True

    async def run(self) -> None:
        """Ask for records until cancelled: at the start, whenever a bundle waits, and every
        hour."""
        async with trio.open_nursery() as nursery:
            for topic in self._topics:
                nursery.start_soon(self._look_after, topic)

    async def _look_after(self, topic: str) -> None:
        state = self._topics[topic]
        while True:
            await self._swarm.wait_for_peers(topic, 1)
            state.wanted = trio.Event()
            began = trio.current_time()
            await self._round(topic, state)
            await trio.sleep_until(began + ASK_EVERY)
            # What was not judged again by now was dropped; it is new when it arrives again.
            for name in [name for name, one in state.room.waiting.items() if one.answered]:
                state.room.remove(name)
            with trio.move_on_after(ROUTINE_EVERY * (0.75 + self._rng() / 2)):
                await state.wanted.wait()

    async def _round(self, topic: str, state: _Topic) -> None:
        """Ask two peers, then have what waited before judged again."""
        before = dict(state.room.waiting)
        peers = self._chosen(topic, state)
        replied: set[PeerId] = set()
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(self._ask, peer, topic, replied)
        trusted = not self._swarm.direct_peers(topic).isdisjoint(replied)
        for name, one in before.items():
            one.rounds += 1
            one.answered = trusted or one.forwarder in peers
            if one.rounds >= ROUNDS_MAX and not one.answered:
                state.room.remove(name)
        if before:
            self._swarm.judge_again(topic, record_wait(parse_topic(topic)[1]))

    def _chosen(self, topic: str, state: _Topic) -> list[PeerId]:
        """Return the peers to ask: a direct one, or else one that this node has dialled; then a
        forwarder of what waits, of the network that was asked longest ago; then any."""
        order = state.turns.order(self._swarm.peers(topic))
        waiting = state.room.waiting.values()
        forwarders = {one.forwarder for one in waiting if not one.answered}
        first = state.turns.own(topic)[:1]
        second = [peer for peer in order if peer in forwarders.difference(first)][:1]
        chosen = list(dict.fromkeys([*first, *second, *order]))[:PEERS_MAX]
        state.turns.note(chosen)
        return chosen

    async def _ask(self, peer: PeerId, topic: str, replied: set[PeerId]) -> None:
        try:
            reply = await self._swarm.request(
                peer, PROTOCOL, topic.encode(), reply_max=REPLY_MAX, timeout=REPLY_TIME
            )
            records = decode_records(reply)
        except (UnreachableError, RefusedError):
            return
        replied.add(peer)
        for raw in records:
            if _is_record(raw):
                await self._learn(topic, pack_notice(raw))


def _is_record(raw: bytes) -> bool:
    """Whether these bytes have the form of a record. Its reader judges it."""
    try:
        return split(raw).kind is Kind.RECORD
    except RefusedError:
        return False

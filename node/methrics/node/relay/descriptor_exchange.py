"""Descriptors between relays: publishes this relay's own, judges those of others, asks and answers.

Relays join one topic, `/methrics/1/relays/cbor`. Each publishes its descriptor of today when a peer
is there, that of tomorrow some hours ahead, and both again about every hour, for relays that have
joined since. A relay that has just connected is asked for all that it knows
(`/methrics/descriptors/1`), those first whom no stranger can have put there. Whoever asks this node
gets its own descriptor, the proofs against relays that contradicted themselves, and the others.

A node that was given one peer would be alone when that peer dies. So it connects to a few further
relays at the addresses that they name, one at a time. Such a relay stays a stranger to it; that it
has answered at its address is remembered, and keeps its place in the directory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

import trio

from methrics.node.clock import Clock
from methrics.node.network.peer_ids import key_of, peer_id_of
from methrics.node.network.swarm import UNSEEN, Outcome, PeerId, Swarm
from methrics.node.relay import doors
from methrics.node.relay.asking import Turns, network_of
from methrics.node.relay.directory import Directory
from methrics.node.relay.limiter import Limiter
from methrics.schema.errors import RefusedError, StoreError, UnreachableError
from methrics.schema.wire.bundle import pack_notice, unpack
from methrics.schema.wire.descriptor import RELAYS_TOPIC, SignedDescriptor
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Decision, Reason

_log = logging.getLogger(__name__)

_AGAIN = (Reason.QUOTA, Reason.EARLY)
"""Reasons that may be over when the descriptor arrives again."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """The limits of an exchange, in seconds if nothing else is said."""

    publish_every: float = 3600.0
    """After about so long the own descriptors are published again."""
    ahead: float = 6 * 3600.0
    """So long before a day begins, its descriptor is published."""
    look_every: float = 10.0
    """After so long, peers that have connected since are asked."""
    ask_every: float = 3600.0
    """After so long, a peer is asked again."""
    ask_at_once: int = 2
    """Most peers that are asked at once."""
    reply_time: float = 20.0
    """Within this time a peer must reply."""
    answers_per_minute: int = 60
    """Most requests per minute that are answered for one network (an IPv4 /24 or an IPv6 /48)."""
    relays: int = 4
    """So many relays this node wants to be connected to, besides those that come to it."""
    relays_least: int = 2
    """With fewer, the death of one more may leave it alone, so it hurries."""
    dial_every: float = 60.0
    """After about so long it connects to one more, if there are fewer than `relays`."""
    dial_sooner: float = 10.0
    """After about so long, if there are fewer than `relays_least`."""
    again: float = 1800.0
    """After so long a relay that did not answer is tried again."""
    again_sooner: float = 60.0
    """The same, for a node that has fewer than `relays_least`."""


class DescriptorExchange:
    """Keeps `directory` up to date over `swarm`.

    `own(day)` returns this relay's descriptor of a day, if there is one; None for a node that is no
    relay, such as an aggregator. Relays that carry one of `topics` are dialled first.
    """

    def __init__(
        self,
        swarm: Swarm,
        directory: Directory,
        *,
        clock: Clock,
        rng: Random,
        own: Callable[[int], SignedDescriptor | None] = lambda _: None,
        topics: Collection[str] = (),
        limits: ExchangeLimits | None = None,
    ) -> None:
        self.directory = directory
        self._swarm = swarm
        self._clock = clock
        self._rng = rng
        self._own = own
        self._topics = frozenset(topics)
        self._limits = limits or ExchangeLimits()
        self._turns = Turns(swarm, rng.random)
        self._asked: dict[PeerId, float] = {}
        self._tried: dict[bytes, float] = {}
        self._dialled: set[PeerId] = set()
        self._limiter = Limiter(per_minute=self._limits.answers_per_minute)

    async def join(self) -> None:
        """Join the topic and answer requests from now on. Raises ConfigError if the swarm has
        joined the topic, or serves the protocol."""
        await self._swarm.join(RELAYS_TOPIC, self.validate)
        self._swarm.serve(doors.DESCRIPTORS, self._answer, request_max=0)

    async def validate(self, peer: PeerId, message: bytes) -> Outcome:
        """Judge a message of the topic, and keep its descriptor if it is new."""
        await trio.lowlevel.checkpoint()
        try:
            about, items = unpack(message)
        except RefusedError as error:
            return Reason(error.code).decision
        if about:
            return Decision.REJECT
        reason = self._learn(items[0], peer)
        return UNSEEN if reason in _AGAIN else reason.decision

    def _learn(self, raw: bytes, peer: PeerId) -> Reason:
        reason = self.directory.add(raw, self._clock.now())
        relay = key_of(peer)
        if relay is not None:
            self.directory.met(relay)
        return reason

    def descriptors(self) -> tuple[bytes, ...]:
        """Return the descriptors to tell others, as many as fit one reply."""
        self._add_own()
        return doors.fitting(self.directory.raws(self._clock.now()))

    def addresses(self, relay: bytes) -> tuple[str, ...] | None:
        """Return the addresses of a relay (32 bytes), or None if it is not known now."""
        return self.directory.addresses(relay, self._clock.now())

    async def _answer(self, peer: PeerId, _body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        granted = self._limiter.take(network_of(self._swarm, peer), 1, now).items
        raws = self.descriptors() if granted else ()
        return doors.encode_descriptors(doors.Descriptors(self._clock.now(), raws))

    def _add_own(self) -> list[bytes]:
        """Keep what this relay says now, and return it: of today, and of tomorrow if that is
        near."""
        now = self._clock.now()
        days = dict.fromkeys((now // DAY, int(now + self._limits.ahead) // DAY))
        found: list[bytes] = []
        for day in days:
            try:
                own = self._own(day)
            except StoreError as error:  # such as a full disk: that of the other day may be there
                _log.error("cannot make the relay's descriptor: %s", error)
                continue
            if own is not None:
                found.append(own.item.raw)
        for raw in found:
            self.directory.add(raw, now)
        return found

    async def run(self) -> None:
        """Publish, ask and connect until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish)
            nursery.start_soon(self._ask)
            nursery.start_soon(self._connect)

    async def _publish(self) -> None:
        while True:
            await self._swarm.wait_for_peers(RELAYS_TOPIC, 1)
            for raw in self._add_own():
                try:
                    await self._swarm.publish(RELAYS_TOPIC, pack_notice(raw))
                except UnreachableError:
                    break
            await trio.sleep(self._limits.publish_every * (0.75 + self._rng.random() / 2))

    async def _ask(self) -> None:
        while True:
            await self._swarm.wait_for_peers(RELAYS_TOPIC, 1)
            now, peers = trio.current_time(), self._swarm.peers(RELAYS_TOPIC)
            self._asked = {
                peer: asked
                for peer, asked in self._asked.items()
                if peer in peers and now - asked < self._limits.ask_every
            }
            own = self._turns.own(RELAYS_TOPIC)
            order = dict.fromkeys([*own, *self._turns.order(peers)])
            chosen = [one for one in order if one not in self._asked][: self._limits.ask_at_once]
            self._turns.note(chosen)
            async with trio.open_nursery() as nursery:
                for peer in chosen:
                    self._asked[peer] = now
                    nursery.start_soon(self._ask_one, peer)
            await trio.sleep(self._limits.look_every)

    async def _ask_one(self, peer: PeerId) -> None:
        try:
            reply = await self._swarm.request(
                peer,
                doors.DESCRIPTORS,
                b"",
                reply_max=doors.DESCRIPTORS_SIZE,
                timeout=self._limits.reply_time,
            )
            raws = doors.decode_descriptors(reply).raws
        except (UnreachableError, RefusedError):
            return
        for raw in raws:
            self._learn(raw, peer)
            await trio.lowlevel.checkpoint()

    async def _connect(self) -> None:
        """Stay connected to a few relays, whoever was named at the start, and for ever."""
        limits = self._limits
        while True:
            few = self._chosen() < limits.relays_least
            wait = limits.dial_sooner if few else limits.dial_every
            await trio.sleep(wait * (0.5 + self._rng.random()))
            self._dialled &= self._swarm.peers(RELAYS_TOPIC)
            chosen = self._chosen()
            if chosen >= limits.relays:
                continue
            found = self._next(
                limits.again_sooner if chosen < limits.relays_least else limits.again
            )
            if found is None:
                continue
            self._tried[found.relay] = trio.current_time()
            peer = peer_id_of(found.relay)
            try:
                await self._swarm.connect(peer, found.descriptor.addresses)
            except UnreachableError:
                continue
            self._dialled.add(peer)
            self.directory.met(found.relay)

    def _chosen(self) -> int:
        """Return to how many peers of the topic this node itself has connected. Those that came to
        it do not count, however many: they may all be one stranger's."""
        topic = RELAYS_TOPIC
        own = self._swarm.direct_peers(topic) | self._swarm.dialled_peers(topic)
        return len(own | (self._dialled & self._swarm.peers(topic)))

    def _next(self, again: float) -> SignedDescriptor | None:
        """Return a relay to connect to: one at random that was not tried in the last `again`
        seconds, if there is one with a topic of this node."""
        now = trio.current_time()
        self._tried = {
            relay: tried for relay, tried in self._tried.items() if now - tried < self._limits.again
        }
        known = [
            one
            for one in self.directory.descriptors(self._clock.now())
            if now - self._tried.get(one.relay, -again) >= again
            and peer_id_of(one.relay) != self._swarm.peer_id
        ]
        peers = self._swarm.peers(RELAYS_TOPIC)
        known = [one for one in known if peer_id_of(one.relay) not in peers]
        near = [one for one in known if self._topics.intersection(one.descriptor.topics)]
        return self._rng.choice(near or known) if known else None

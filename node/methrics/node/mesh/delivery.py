"""Messages: each content is judged once, forwarded if it is accepted, and never forgotten silently.

A content is new, judging, waiting, or judged. Copies that arrive while it is judged or waits are
duplicates, but their forwarders are noted: all of them are blamed for a rejected content. If the
first copy was forged, the next one with another signature is judged. Peers that offer such a
content are remembered, and are asked for it if nothing comes of what arrived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter

from methrics.node.mesh.judging import Judging, Judgings
from methrics.node.mesh.outcome import Outcome, Unseen, Wait
from methrics.node.mesh.outputs import Judge
from methrics.node.mesh.peers import Peer, Topic
from methrics.node.mesh.promises import Arrived, Promises
from methrics.node.mesh.recent import Kept, Recent
from methrics.node.mesh.rpc import IWant, Message, Rpc
from methrics.node.mesh.seen import Seen
from methrics.node.mesh.state import State
from methrics.node.mesh.waiting import Account, Waiter, WaitingRoom
from methrics.schema.wire.verdict import Decision


def _same_copy(one: Message, other: Message) -> bool:
    """Whether two messages with the same content are the same message."""
    return one is other or (
        one.signature == other.signature
        and one.seqno == other.seqno
        and one.sender == other.sender
        and one.key == other.key
    )


def _account(peer: Peer) -> Account:
    return Account(peer.name, peer.origin, peer.direct)


class Delivery:
    """The contents of one mesh and what becomes of them."""

    def __init__(self, state: State, recent: Recent, promises: Promises) -> None:
        settings = state.settings
        self._state = state
        self._recent = recent
        self._promises = promises
        self.seen = Seen(settings.seen_ttl, settings.seen_max)
        self.room = WaitingRoom(settings)
        self.judging = Judgings(settings)
        self._unfinished: dict[bytes, None] = {}

    def knows(self, content: bytes) -> bool:
        """Whether a content is judged, being judged, or waits."""
        return content in self.judging or self.seen.get(content) is not None or content in self.room

    def offered(self, content: bytes, peer: Peer) -> bool:
        """Whether a content is known. As long as it is not judged, remember that `peer` has it: it
        will not offer it again, and what came first may be forged, or dropped."""
        entry = self.judging.get(content)
        if entry is not None:
            self._promises.remember(entry.had.offers, peer)
            return True
        if self.seen.get(content) is not None:
            return True
        waiter = self.room.get(content)
        if waiter is not None:
            self._promises.remember(waiter.offers, peer, self._state.settings.forwarders_max)
        return waiter is not None

    def arrive(self, peer: Peer, message: Message, now: float) -> None:
        """Take in one message of a frame."""
        state, settings = self._state, self._state.settings
        counts = state.counts
        size = len(message.data)
        counts.received += 1
        counts.received_bytes += size
        topic = state.topics.get(message.topic)
        if topic is None or not topic.joined:
            counts.malformed += 1
            return
        if not 0 < size <= settings.message_max:
            counts.malformed += 1
            state.invalid(peer.name)
            return
        content = message.content
        if self._is_duplicate(peer, topic, content, message, now):
            counts.duplicates += 1
            return
        account = _account(peer)
        had = self._promises.arrived(content)
        if not self.judging.fits(account):
            self._limit(peer, account, content, had, now)
            return
        entry = Judging(message, account, now, now, {peer.name: None}, had=had)
        self.judging.add(content, entry)
        state.outputs.append(Judge(content, message, peer.name))

    def verdict(self, content: bytes, outcome: Outcome, now: float) -> None:
        """Settle a content that is being judged."""
        entry = self.judging.pop(content)
        if entry is None:
            return
        state = self._state
        if isinstance(outcome, Wait):
            self._wait(content, entry, outcome.on, now)
        elif isinstance(outcome, Unseen):
            self._give_up(content, entry, now)
        elif outcome is Decision.ACCEPT:
            state.counts.accepted += 1
            self.seen.add(content, outcome, now)
            self._accept(content, entry, now)
        else:
            self.seen.add(content, outcome, now)
            if outcome is Decision.IGNORE:
                state.counts.ignored += 1
                return
            state.counts.rejected += 1
            for name in entry.forwarders:
                state.invalid(name)

    def forged(self, peer: str, content: bytes, now: float) -> None:
        """Judge another copy of a content whose first copy was forged, or ask others for it."""
        state = self._state
        entry = self.judging.get(content)
        if entry is None:
            return
        state.counts.malformed += 1
        state.invalid(peer)
        if entry.copies:
            state.counts.duplicates -= 1
            entry.forwarders.pop(peer, None)
            entry.account, entry.message = entry.copies.pop(0)
            state.outputs.append(Judge(content, entry.message, entry.account.peer))
            return
        self.judging.pop(content)
        for asked in self._promises.retry(content, entry.had, now):
            state.counts.asked += 1
            state.send(asked.name, Rpc(iwant=(IWant((content,)),)))

    def again(self, on: bytes, now: float) -> int:
        """Judge what waits for `on`."""
        waiters = self.room.take(on, self.judging.room)
        for waiter in waiters:
            entry = Judging(
                waiter.message,
                waiter.account,
                waiter.since,
                now,
                waiter.forwarders,
                others=waiter.others,
                had=Arrived(waiter.offers, 0, 0),
            )
            self.judging.add_waited(waiter.content, entry)
            self._state.outputs.append(Judge(waiter.content, waiter.message, waiter.account.peer))
        if self.room.holds(on):
            self._unfinished[on] = None
        else:
            self._unfinished.pop(on, None)
        return len(waiters)

    def publish(self, message: Message, now: float) -> int:
        """Send a message of this node to every peer of its topic that has not misbehaved."""
        state = self._state
        content = message.content
        state.counts.published += 1
        if self.judging.pop(content) or self.room.pop(content):
            state.counts.duplicates += 1
        self._promises.arrived(content)
        self.seen.add(content, Decision.ACCEPT, now)
        topic = state.topic(message.topic)
        kept = self._keep(topic, content, message, "", now)
        least = state.settings.publish_least
        sent = [name for name in topic.peers if state.peers[name].trusted(least)]
        for name in sent:
            state.send(name, kept.rpc)
        return len(sent)

    def expire(self, now: float) -> None:
        """Forget what is old, give up what was never judged, and judge the rest of what could not
        be judged again at once."""
        state = self._state
        self.seen.expire(now)
        state.counts.waiting_dropped += self.room.expire(now)
        for content in self.judging.started_before(now - state.settings.judging_time):
            entry = self.judging.pop(content)
            if entry is not None:
                self._give_up(content, entry, now)
        for on in list(self._unfinished):
            self.again(on, now)

    def _is_duplicate(
        self, peer: Peer, topic: Topic, content: bytes, message: Message, now: float
    ) -> bool:
        decision = self.seen.get(content)
        if decision is not None:
            if decision is Decision.REJECT:
                self._state.invalid(peer.name)
            elif decision is Decision.ACCEPT:
                self._deliver_near_first(peer, topic, content, now)
            return True
        settings = self._state.settings
        entry = self.judging.get(content)
        if entry is None:
            waiter = self.room.get(content)
            if waiter is not None:
                self._note_forwarder(waiter.forwarders, waiter.others, peer)
            return waiter is not None
        self._note_forwarder(entry.forwarders, entry.others, peer)
        if not _same_copy(message, entry.message):
            if len(entry.copies) < settings.copies_max:
                message = replace(message, data=entry.message.data)  # the same bytes: kept once
                entry.copies.append((_account(peer), message))
            else:
                self._promises.remember(entry.had.offers, peer)
        return True

    def _note_forwarder(
        self, forwarders: dict[str, None], others: list[Account], peer: Peer
    ) -> None:
        """Note that another peer has sent a content. If too many have, it displaces one that this
        node knows less well, or one of a network that has more of them."""
        if peer.name in forwarders:
            return
        if len(forwarders) >= self._state.settings.forwarders_max:
            at = self._displaced(others, peer)
            if at is None:
                return
            forwarders.pop(others.pop(at).peer, None)
        forwarders[peer.name] = None
        others.append(_account(peer))

    def _displaced(self, others: list[Account], newcomer: Peer) -> int | None:
        """Return which of `others` makes room, if any."""
        peers, rank = self._state.peers, newcomer.rank
        if rank < 2 and newcomer.searches >= self._state.settings.searches_max:
            return None
        newcomer.searches += 1
        for at, one in enumerate(others):
            if one.peer not in peers:
                return at
        if rank:
            ranks = [peers[one.peer].rank for one in others]
            least = min(ranks, default=rank)
            return ranks.index(least) if least < rank else None
        strangers = [one.origin for one in others if not peers[one.peer].rank]
        origins = Counter(origin for origin in strangers if origin)
        most, count = max(origins.items(), key=itemgetter(1), default=(b"", 0))
        if count <= origins[newcomer.origin] + 1:
            return None
        return next(
            at for at, one in enumerate(others) if one.origin == most and not peers[one.peer].rank
        )

    def _deliver_near_first(self, peer: Peer, topic: Topic, content: bytes, now: float) -> None:
        link = topic.mesh.get(peer.name)
        kept = self._recent.get(content) if link is not None else None
        near = self._state.settings.score.near_first
        if link is not None and kept is not None and now - kept.arrived <= near:
            link.delivered += 1

    def _wait(self, content: bytes, entry: Judging, on: bytes, now: float) -> None:
        waiter = Waiter(
            content,
            entry.message,
            on,
            entry.since,
            entry.account,
            entry.forwarders,
            entry.others,
            entry.had.offers,
        )
        dropped = self.room.put(waiter)
        self._state.counts.waiting_dropped += len(dropped)
        for one in dropped:
            self._promises.defer(one.content, Arrived(one.offers, 0, 0), now)

    def _limit(
        self, peer: Peer, account: Account, content: bytes, had: Arrived, now: float
    ) -> None:
        """Drop a message for which there is no place, and ask for it again later."""
        self._state.counts.limited += 1
        if self.judging.crowded_out(account):
            peer.excused = True
        self._ask_later(content, had, (peer.name,), now)

    def _give_up(self, content: bytes, entry: Judging, now: float) -> None:
        """Forget a message without a verdict, and ask for it again later."""
        self._state.counts.unseen += 1
        self._ask_later(content, entry.had, entry.forwarders, now)

    def _ask_later(self, content: bytes, had: Arrived, senders: Iterable[str], now: float) -> None:
        """Ask for a content again, a few times those that sent it, too, and each other peer that
        offers it once: what `senders` do to their messages does not take it away from others."""
        peers = self._state.peers
        for name in senders if had.attempts < self._state.settings.retries_max else ():
            if name in peers:
                self._promises.remember(had.offers, peers[name])
        self._promises.defer(content, had, now)

    def _accept(self, content: bytes, entry: Judging, now: float) -> None:
        state = self._state
        state.credit(entry.account.peer)
        topic = state.topics.get(entry.message.topic)
        if topic is None or state.settings.leaf:
            return
        topic.accepted += 1
        kept = self._keep(topic, content, entry.message, entry.account.peer, now)
        forwarders = entry.forwarders
        for name in forwarders:
            link = topic.mesh.get(name)
            if link is not None:
                link.delivered += 1
        send, rpc = state.send, kept.rpc
        for name in topic.mesh:
            if name not in forwarders:
                send(name, rpc)
        for name in topic.direct:
            if name not in forwarders:
                send(name, rpc)

    def _keep(
        self, topic: Topic, content: bytes, message: Message, source: str, now: float
    ) -> Kept:
        # A content that is published again may be kept, and no longer be told.
        if topic.joined and (content not in self._recent or not topic.tells(content)):
            topic.beats[0].append(content)
        return self._recent.put(content, message, source, now)

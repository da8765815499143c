"""What peers offered, and which of them were asked for it (pure, bounded).

One peer is asked for a content, and the others that offer it are remembered. If it has not come in
time, the promise is broken, and twice as many of the others are asked: those that this node chose
itself first, then those with the best score. So are they after an answer that was forged, and after
a while, if what came could not be judged; otherwise peers that answer with nothing of use could
hide those that are asked after them. Until then, it takes the place of a promise of a peer that has
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.peers import Peer


@dataclass(slots=True, eq=False)
class _Promise:
    due: float
    asked: tuple[str, ...]
    rounds: int
    offers: dict[str, None]
    attempts: int = 0
    holder: str = ""
    """The peer whose place it takes while nobody is asked."""


class Arrived(NamedTuple):
    """What was known of a content that has come."""

    offers: dict[str, None]
    """The peers that offered it and were not asked."""
    attempts: int
    """How often it had been asked for again after it could not be judged."""
    rounds: int
    """How often peers had been asked for it."""


class Promises:
    """Contents that peers were asked for and that have not come yet."""

    def __init__(self, settings: MeshSettings, peers: Mapping[str, Peer]) -> None:
        self._settings = settings
        self._peers = peers
        self._open: dict[bytes, _Promise] = {}
        self._offers = 0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, content: bytes) -> bool:
        return content in self._open

    @property
    def offers(self) -> int:
        """The number of all offers that are remembered for open promises."""
        return self._offers

    def offer(self, content: bytes, peer: Peer, now: float) -> bool:
        """Note that `peer` has a content; return True if it must be asked for it now.

        A peer that was asked and offers it again may have had no room for its answer. It is asked
        again, with the others, when its promise is broken.
        """
        promise = self._open.get(content)
        if promise is not None:
            before = len(promise.offers)
            self.remember(promise.offers, peer)
            self._offers += len(promise.offers) - before
            return False
        if len(self._open) >= self._settings.promises_max or not self._may_ask(peer):
            return False
        self._ask(content, (peer,), 0, {}, now)
        return True

    def arrived(self, content: bytes) -> Arrived:
        """Note that a content has come; return what was known of it."""
        promise = self._open.get(content)
        if promise is None:
            return Arrived({}, 0, 0)
        self._remove(content, promise)
        return Arrived(promise.offers, promise.attempts, promise.rounds + bool(promise.asked))

    def defer(self, content: bytes, had: Arrived, now: float) -> None:
        """Ask some of the offers of a content later that came and could not be judged."""
        settings = self._settings
        if not had.offers or content in self._open or len(self._open) >= settings.promises_max:
            return
        holder = next((peer for peer in self._best(had.offers) if self._may_ask(peer, 2)), None)
        if holder is not None:
            holder.promised[content] = None
            tried = had.attempts >= settings.retries_max
            wait = settings.promise_time if tried else settings.retry_time * (1 << had.attempts)
            attempts = had.attempts + 1
            promise = _Promise(now + wait, (), had.rounds, had.offers, attempts, holder.name)
            self._add(content, promise)

    def retry(self, content: bytes, had: Arrived, now: float) -> list[Peer]:
        """Ask some of the offers of a content that came, but forged; return these peers."""
        if not had.offers or len(self._open) >= self._settings.promises_max:
            return []
        return self._ask_best(content, had.offers, had.rounds, now, had.attempts)

    def cancel(self, contents: Iterable[bytes], name: str) -> None:
        """Note that a peer cannot answer, because its question was not sent or it is gone: that
        breaks no promise. The next `overdue` asks others."""
        for content in contents:
            promise = self._open.get(content)
            if promise is None or (name not in promise.asked and name != promise.holder):
                continue
            promise.asked = tuple(one for one in promise.asked if one != name)
            promise.holder = ""
            self._forget(name, content)
            if promise.asked:
                continue
            if promise.offers:
                promise.due = 0.0
            else:
                self._remove(content, promise)

    def overdue(
        self, now: float, excused: Callable[[Peer], bool]
    ) -> tuple[int, dict[str, Peer], dict[str, list[bytes]]]:
        """Ask others for what has not come in time. The promises of a peer that is `excused` are
        not broken: this node may not have read its answer yet. Neither are those of what had come
        before and could not be judged.

        Returns the number of broken promises, the peers that broke them, and the contents to ask of
        each peer now.
        """
        broken: dict[str, Peer] = {}
        count = 0
        questions: dict[str, list[bytes]] = {}
        late = [content for content, promise in self._open.items() if promise.due <= now]
        for content in late:
            promise = self._open[content]
            self._remove(content, promise)
            for name in promise.asked:
                late_one = self._peers.get(name)
                if late_one is not None and not (promise.attempts or excused(late_one)):
                    count += 1
                    broken[name] = late_one
            rounds = promise.rounds + bool(promise.asked)
            for peer in self._ask_best(content, promise.offers, rounds, now, promise.attempts):
                questions.setdefault(peer.name, []).append(content)
        return count, broken, questions

    def _ask_best(
        self,
        content: bytes,
        offers: dict[str, None],
        rounds: int,
        now: float,
        attempts: int = 0,
    ) -> list[Peer]:
        """Ask the best of `offers`, and remove them from there; return them."""
        chosen = self._best(offers)[: min(1 << rounds, self._settings.asked_max)]
        for peer in chosen:
            del offers[peer.name]
        if chosen:
            self._ask(content, chosen, rounds, offers, now, attempts)
        return chosen

    def _best(self, offers: dict[str, None]) -> list[Peer]:
        """Return the peers among `offers` that may be asked, the best first."""
        found = [self._peers[name] for name in offers if name in self._peers]
        found = [peer for peer in found if self._may_ask(peer)]
        found.sort(key=lambda peer: (peer.direct, peer.outbound, peer.score), reverse=True)
        return found

    def _ask(
        self,
        content: bytes,
        chosen: Sequence[Peer],
        rounds: int,
        offers: dict[str, None],
        now: float,
        attempts: int = 0,
    ) -> None:
        names = tuple(peer.name for peer in chosen)
        for peer in chosen:
            peer.promised[content] = None
        due = now + self._settings.promise_time
        self._add(content, _Promise(due, names, rounds, offers, attempts))

    def _add(self, content: bytes, promise: _Promise) -> None:
        self._open[content] = promise
        self._offers += len(promise.offers)

    def _remove(self, content: bytes, promise: _Promise) -> None:
        del self._open[content]
        self._offers -= len(promise.offers)
        for name in (*promise.asked, promise.holder):
            self._forget(name, content)

    def _forget(self, name: str, content: bytes) -> None:
        peer = self._peers.get(name)
        if peer is not None:
            peer.promised.pop(content, None)

    def _may_ask(self, peer: Peer, part: int = 1) -> bool:
        """Whether a peer has places left for promises, in the first half of them if `part` is 2."""
        settings = self._settings
        known = peer.direct or peer.outbound or peer.score > 0
        most = settings.promises_per_peer if known else settings.promises_unknown
        return part * len(peer.promised) < most and peer.trusted(settings.gossip_least)

    def remember(self, offers: dict[str, None], peer: Peer, most: int = 0) -> None:
        """Add a peer to those that offered a content, at most `most` of them if it is stated. If
        they are too many, those that are gone make room, or else one that this node knows less
        well."""
        if peer.name in offers:
            return
        settings = self._settings
        crowded = self._offers >= settings.offers_total
        most = most or (settings.offers_crowded if crowded else settings.offers_max)
        if len(offers) >= most and not self._make_room(offers, peer):
            return
        offers[peer.name] = None

    def _make_room(self, offers: dict[str, None], newcomer: Peer) -> bool:
        rank = newcomer.rank
        if not rank and len(offers) < self._settings.offers_max:
            return False  # too many offers in all: no search for each one of a stranger
        if rank < 2 and newcomer.searches >= self._settings.searches_max:
            return False
        newcomer.searches += 1
        gone = [name for name in offers if name not in self._peers]
        if not gone:
            least = min(offers, key=lambda name: self._peers[name].rank)
            if self._peers[least].rank >= rank:
                return False
            gone = [least]
        for name in gone:
            del offers[name]
        return True

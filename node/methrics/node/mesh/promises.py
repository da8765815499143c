"""What peers offered, and which of them were asked for it (pure, bounded).

One peer is asked for a content, and the others that offer it are remembered. If it has not come in
time, the promise is broken, and twice as many of the others are asked: those that this node chose
itself first, then those with the best score. What came and could not be judged is asked for again
after a while, a few times. Until then, it takes the place of a promise of a peer that has it.
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


class Promises:
    """Contents that peers were asked for and that have not come yet."""

    def __init__(self, settings: MeshSettings, peers: Mapping[str, Peer]) -> None:
        self._settings = settings
        self._peers = peers
        self._open: dict[bytes, _Promise] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, content: bytes) -> bool:
        return content in self._open

    def offer(self, content: bytes, peer: Peer, now: float) -> bool:
        """Note that `peer` has a content; return True if it must be asked for it now.

        A peer that was asked and offers it again may have had no room for its answer. It is asked
        again, with the others, when its promise is broken.
        """
        promise = self._open.get(content)
        if promise is not None:
            self.remember(promise.offers, peer)
            return False
        if len(self._open) >= self._settings.promises_max or not self._may_ask(peer):
            return False
        self._ask(content, (peer,), 0, {}, now)
        return True

    def arrived(self, content: bytes) -> Arrived:
        """Note that a content has come; return what was known of it."""
        promise = self._open.pop(content, None)
        if promise is None:
            return Arrived({}, 0)
        self._release(content, promise)
        return Arrived(promise.offers, promise.attempts)

    def defer(self, content: bytes, offers: dict[str, None], attempts: int, now: float) -> None:
        """Ask one of `offers` later for a content that came and could not be judged, unless that
        was tried too often."""
        settings = self._settings
        if (
            attempts >= settings.retries_max
            or content in self._open
            or len(self._open) >= settings.promises_max
        ):
            return
        holder = next((peer for peer in self._best(offers) if self._may_ask(peer, 2)), None)
        if holder is not None:
            holder.promised[content] = None
            due = now + settings.retry_time * (1 << attempts)
            self._open[content] = _Promise(due, (), 0, offers, attempts + 1, holder.name)

    def retry(
        self, content: bytes, offers: dict[str, None], attempts: int, now: float
    ) -> Peer | None:
        """Ask one of `offers` for a content that came, but forged; return that peer, if any."""
        if not offers or content in self._open or len(self._open) >= self._settings.promises_max:
            return None
        chosen = self._ask_best(content, offers, 0, now, attempts)
        return chosen[0] if chosen else None

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
            if not promise.asked:
                promise.due = 0.0

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
            promise = self._open.pop(content)
            self._release(content, promise)
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
        self._open[content] = _Promise(due, names, rounds, offers, attempts)

    def _release(self, content: bytes, promise: _Promise) -> None:
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

    def remember(self, offers: dict[str, None], peer: Peer) -> None:
        """Add a peer to those that offered a content. If they are too many, a peer that this node
        chose itself displaces another one."""
        if len(offers) >= self._settings.offers_max:
            if not (peer.direct or peer.outbound):
                return
            for name in offers:
                other = self._peers.get(name)
                if other is None or not (other.direct or other.outbound):
                    del offers[name]
                    break
            else:
                return
        offers[peer.name] = None

"""The mesh of each topic: GRAFT, PRUNE, backoff and peer exchange."""

from __future__ import annotations

import math
import random
from statistics import median

from methrics.node.mesh.outputs import Dial
from methrics.node.mesh.peers import Link, Peer, Topic
from methrics.node.mesh.rpc import Graft, Prune, Rpc
from methrics.node.mesh.standing import shortfall
from methrics.node.mesh.state import State


class Meshes:
    """Decides which peers are in the mesh of which topic."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._dials = 0
        self._dialled: dict[bytes, float] = {}

    def graft(self, peer: Peer, part: Graft, now: float) -> None:
        """Take a peer into the mesh that asks for it, or refuse with PRUNE.

        A direct peer gets every message anyway, so there is nothing to take in, and no reason to
        refuse. A topic that this node has not joined is not answered (gossipsub 1.1).
        """
        state, settings = self._state, self._state.settings
        topic = state.topics.get(part.topic)
        if topic is None or not topic.joined or peer.name not in topic.peers:
            return
        if peer.name in topic.mesh or peer.direct:
            return
        if settings.leaf:
            self._refuse(topic, peer, now, exchange=False)
        elif topic.backoff.get(peer.name, 0.0) > now:
            state.penalize(peer)
            self._refuse(topic, peer, now, exchange=False)
        elif peer.score < 0:
            self._refuse(topic, peer, now, exchange=False)
        elif len(topic.mesh) >= settings.degree_high and not peer.outbound:
            self._refuse(topic, peer, now, exchange=True)
        else:
            topic.mesh[peer.name] = Link(now, state.beat)

    def prune(self, peer: Peer, part: Prune, now: float) -> None:
        """Remove from the mesh a peer that has removed us, and dial some peers that it names."""
        state, settings = self._state, self._state.settings
        topic = state.topics.get(part.topic)
        if topic is None or not topic.joined:
            return
        self.unlink(topic, peer)
        seconds = min(float(part.backoff), settings.backoff_max) or settings.prune_backoff
        self._back_off(topic, peer.name, now + seconds, now)
        if part.peers and (peer.direct or peer.score >= settings.accept_exchange):
            for info in part.peers[: settings.exchange_max]:
                self._dial(info.peer_id, info.record, now)

    def leave(self, topic: Topic, now: float) -> None:
        """Prune the whole mesh of a topic that this node leaves."""
        seconds = self._state.settings.leave_backoff
        for name in list(topic.mesh):
            self.unlink(topic, self._state.peers[name])
            self._back_off(topic, name, now + seconds, now)
            self._state.send(name, Rpc(prune=(Prune(topic.name, int(seconds)),)))

    def unlink(self, topic: Topic, peer: Peer) -> None:
        """Remove a peer from a mesh without telling it. If its score is negative, what it failed to
        send stays with it for a while (P3b)."""
        link = topic.mesh.pop(peer.name, None)
        if link is None or not link.shortfall:
            return
        if peer.score < 0:
            missed = peer.standing.missed + link.shortfall
            peer.standing.missed = min(self._state.settings.score.missed_cap, missed)
        peer.shortfall = max(0.0, peer.shortfall - link.shortfall)
        self._state.mark(peer)

    def beat(self, now: float, rng: random.Random) -> None:
        """Repair the meshes of all topics. A leaf has none."""
        state = self._state
        self._dials = 0
        for topic in state.topics.values():
            if topic.joined and not state.settings.leaf:
                self._measure(topic, now)
                self._repair(topic, now, rng)
        if state.beat % 16 == 0:
            self._forget(now)

    def _measure(self, topic: Topic, now: float) -> None:
        """Compute P3 of the peers in a mesh."""
        score, peers = self._state.settings.score, self._state.peers
        topic.accepted *= score.decay
        for name, link in topic.mesh.items():
            link.delivered *= score.decay
            missed = 0.0
            if now - link.since >= score.missed_after:
                missed = shortfall(link.delivered, topic.accepted, score)
            if missed != link.shortfall:
                peer = peers[name]
                peer.shortfall = max(0.0, peer.shortfall + missed - link.shortfall)
                link.shortfall = missed
                self._state.mark(peer)

    def _repair(self, topic: Topic, now: float, rng: random.Random) -> None:
        state, settings = self._state, self._state.settings
        mesh, peers = topic.mesh, state.peers
        if len(mesh) >= settings.degree_high:
            self._draw_exchange(topic, rng)
        for name in [name for name in mesh if peers[name].score < 0]:
            self._prune(topic, name, now, exchange=False)
        if len(mesh) > settings.degree_high:
            self._trim(topic, now, rng)
        if len(mesh) < settings.degree_low:
            self._add(topic, self._candidates(topic, now), settings.degree - len(mesh), rng, now)
        missing = settings.degree_out - sum(peers[name].outbound for name in mesh)
        if missing > 0 and len(mesh) >= settings.degree_low:
            outbound = [name for name in self._candidates(topic, now) if peers[name].outbound]
            self._add(topic, outbound, missing, rng, now)
        if topic.checked is None:
            topic.checked = now
        elif now - topic.checked >= settings.opportunistic_interval:
            topic.checked = now
            self._graft_better(topic, now, rng)

    def _trim(self, topic: Topic, now: float, rng: random.Random) -> None:
        """Prune down to `degree`: keep the best scores, and draw the rest, but keep `degree_out`
        peers to which this node has connected itself."""
        settings, peers = self._state.settings, self._state.peers
        names = list(topic.mesh)
        rng.shuffle(names)
        names.sort(key=lambda name: peers[name].score, reverse=True)
        rest = names[settings.degree_score :]
        rng.shuffle(rest)
        names = names[: settings.degree_score] + rest
        outbound = [name for name in names if peers[name].outbound][: settings.degree_out]
        others = [name for name in names if name not in outbound]
        for name in others[settings.degree - len(outbound) :]:
            self._prune(topic, name, now, exchange=True)

    def _graft_better(self, topic: Topic, now: float, rng: random.Random) -> None:
        """Add peers that score better than the median of a poor mesh (opportunistic grafting)."""
        settings, peers = self._state.settings, self._state.peers
        if not topic.mesh:
            return
        middle = median(peers[name].score for name in topic.mesh)
        if middle < settings.opportunistic_below:
            better = [name for name in self._candidates(topic, now) if peers[name].score > middle]
            self._add(topic, better, settings.opportunistic_peers, rng, now)

    def _candidates(self, topic: Topic, now: float) -> list[str]:
        peers, mesh, backoff = self._state.peers, topic.mesh, topic.backoff
        limit = now - self._state.settings.backoff_slack
        return [
            name
            for name in topic.peers
            if name not in mesh
            and (peer := peers[name]).score >= 0
            and not peer.direct
            and (name not in backoff or backoff[name] <= limit)
        ]

    def _add(
        self, topic: Topic, names: list[str], most: int, rng: random.Random, now: float
    ) -> None:
        part = Graft(topic.name)
        for name in rng.sample(names, min(most, len(names))):
            topic.mesh[name] = Link(now, self._state.beat)
            self._state.control(name).graft.append(part)

    def _prune(self, topic: Topic, name: str, now: float, *, exchange: bool) -> None:
        peer = self._state.peers[name]
        self.unlink(topic, peer)
        part = self._prune_part(topic, peer, now, exchange=exchange)
        self._state.control(name).prune.append(part)

    def _refuse(self, topic: Topic, peer: Peer, now: float, *, exchange: bool) -> None:
        part = self._prune_part(topic, peer, now, exchange=exchange)
        self._state.send(peer.name, Rpc(prune=(part,)))

    def _prune_part(self, topic: Topic, peer: Peer, now: float, *, exchange: bool) -> Prune:
        seconds = self._state.settings.prune_backoff
        self._back_off(topic, peer.name, now + seconds, now)
        named = [info for info in topic.exchange if info is not peer.info] if exchange else []
        most = self._state.settings.exchange_max
        return Prune(topic.name, int(seconds), tuple(named[:most]))

    def _back_off(self, topic: Topic, name: str, until: float, now: float) -> None:
        backoff = topic.backoff
        if name not in backoff and len(backoff) >= self._state.settings.backoffs_max:
            self._forget_backoffs(topic, now)
            if len(backoff) >= self._state.settings.backoffs_max:
                peers = self._state.peers
                gone = (name for name in backoff if name not in peers)
                del backoff[next(gone, None) or next(iter(backoff))]
        backoff[name] = max(until, backoff.get(name, 0.0))

    def _draw_exchange(self, topic: Topic, rng: random.Random) -> None:
        peers = self._state.peers
        infos = [
            info
            for name in topic.peers
            if (info := peers[name].info) is not None and peers[name].score >= 0
        ]
        most = self._state.settings.exchange_max + 1
        topic.exchange = tuple(rng.sample(infos, min(most, len(infos))))

    def _dial(self, peer_id: bytes, record: bytes, now: float) -> None:
        state, settings = self._state, self._state.settings
        if (
            not peer_id
            or now - self._dialled.get(peer_id, -math.inf) < settings.redial_time
            or not 0 < len(record) <= settings.record_max
            or self._dials >= settings.dials_max
            or len(state.peers) + self._dials >= settings.connections_aim
        ):
            return
        self._dials += 1
        state.counts.dials += 1
        self._dialled.pop(peer_id, None)
        if len(self._dialled) >= settings.dialled_max:
            del self._dialled[next(iter(self._dialled))]
        self._dialled[peer_id] = now
        state.outputs.append(Dial(peer_id, record))

    def _forget(self, now: float) -> None:
        topics = self._state.topics
        for name, topic in list(topics.items()):
            self._forget_backoffs(topic, now)
            if not (topic.joined or topic.peers or topic.backoff):
                del topics[name]

    def _forget_backoffs(self, topic: Topic, now: float) -> None:
        limit = now - self._state.settings.backoff_slack
        old = [name for name, until in topic.backoff.items() if until <= limit]
        for name in old:
            del topic.backoff[name]

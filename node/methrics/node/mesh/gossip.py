"""Gossip about contents: IHAVE to the peers outside the mesh, and IWANT."""

from __future__ import annotations

from itertools import islice

from methrics.node.mesh.delivery import Delivery
from methrics.node.mesh.outputs import Send
from methrics.node.mesh.peers import Peer, Topic
from methrics.node.mesh.promises import Promises
from methrics.node.mesh.recent import Kept, Recent
from methrics.node.mesh.rpc import ID_SIZE, IHave, IWant, Rpc
from methrics.node.mesh.state import State


class Gossip:
    """Tells peers the ids of recent contents, and asks peers for the contents that they offer."""

    def __init__(
        self, state: State, recent: Recent, promises: Promises, delivery: Delivery
    ) -> None:
        self._state = state
        self._recent = recent
        self._promises = promises
        self._delivery = delivery

    def ihave(self, peer: Peer, part: IHave, now: float) -> None:
        """Ask a peer for what it has and this node has not, unless another one was asked."""
        state, settings = self._state, self._state.settings
        topic = state.topics.get(part.topic)
        if topic is None or not topic.joined:
            return
        ids = part.ids[: max(0, settings.ids_max - peer.told)]
        peer.told += len(ids)
        offered, offer = self._delivery.offered, self._promises.offer
        wanted = tuple(
            content
            for content in ids
            if len(content) == ID_SIZE and not offered(content, peer) and offer(content, peer, now)
        )
        if wanted:
            state.counts.asked += len(wanted)
            state.send(peer.name, Rpc(iwant=(IWant(wanted),)))

    def iwant(self, peer: Peer, part: IWant) -> None:
        """Send a peer the messages that it asks for, each a limited number of times."""
        state, settings = self._state, self._state.settings
        ids = part.ids[: max(0, settings.ids_max - peer.wanted)]
        peer.wanted += len(ids)
        for content in ids:
            kept = self._recent.get(content)
            if kept is None:
                continue
            resent = kept.resent.get(peer.name, 0)
            if resent < settings.resend_max:
                if not resent and len(kept.resent) >= settings.resent_peers_max:
                    self._forget_resent(kept)
                kept.resent[peer.name] = resent + 1
                state.counts.resent += 1
                state.send(peer.name, kept.rpc)

    def unsent(self, send: Send) -> None:
        """Make up for a frame that was not sent."""
        state = self._state
        state.counts.unsent += 1
        peer = state.peers.get(send.peer)
        if peer is None:
            return
        rpc = send.rpc
        for message in rpc.messages:
            kept = self._recent.get(message.content)
            resent = kept.resent.pop(peer.name, 0) if kept is not None else 0
            if kept is not None and resent > 1:
                kept.resent[peer.name] = resent - 1
            self._owe(peer, message.content)
        for ihave in rpc.ihave:
            for content in ihave.ids:
                self._owe(peer, content)
        for iwant in rpc.iwant:
            self._promises.cancel(iwant.ids, peer.name)
        if rpc.subscriptions:
            peer.greet = True

    def ask_others(self, now: float) -> None:
        """Ask others for what did not come in time, and punish those who had offered it."""
        state = self._state
        judging = self._delivery.judging
        broken, culprits, questions = self._promises.overdue(
            now, lambda peer: peer.excused or judging.holds(peer.name)
        )
        state.counts.promises_broken += broken
        for peer in culprits.values():
            state.penalize(peer)
        for name, contents in questions.items():
            state.counts.asked += len(contents)
            state.control(name).iwant.extend(contents)

    def beat(self) -> None:
        """Tell ids to this beat's share of the peers."""
        state = self._state
        for topic in state.topics.values():
            if topic.joined:
                self._tell(topic)
            topic.fresh.clear()
        for peer in state.peers.values():
            peer.told = peer.wanted = peer.searches = 0
            peer.excused = False
            if peer.owed:
                self._tell_owed(peer)
            if peer.greet:
                peer.greet = False
                state.greet(peer)

    def shift(self) -> None:
        """Note that a beat has passed."""
        self._recent.shift()
        history = self._state.settings.history
        for topic in self._state.topics.values():
            if topic.joined:
                topic.beats.appendleft([])
                if len(topic.beats) > history:
                    topic.beats.pop()

    def _tell(self, topic: Topic) -> None:
        """Tell a third of the peers outside the mesh the ids of the last three beats, and the new
        peers all ids that are kept. (A peer that came into the mesh since its last turn missed some
        messages before, so it is told once more.)"""
        state, settings = self._state, self._state.settings
        peers = state.peers
        ihave = self._ihave(topic, settings.window)
        if ihave is not None:
            turn = state.beat % settings.window
            least, recent_beat = settings.gossip_least, state.beat - settings.window
            mesh, fresh = topic.mesh, topic.fresh
            for name, its_turn in topic.peers.items():
                if its_turn != turn or name in fresh:
                    continue
                link = mesh.get(name)
                if link is not None and link.beat < recent_beat:
                    continue
                peer = peers[name]
                if peer.score >= least and not peer.direct:
                    state.control(name).ihave.append(ihave)
        if topic.fresh:
            everything = self._ihave(topic, settings.history)
            for name in topic.fresh:
                if everything is not None and peers[name].trusted(settings.gossip_least):
                    state.control(name).ihave.append(everything)

    def _ihave(self, topic: Topic, beats: int) -> IHave | None:
        """Return the ids of the last `beats` beats, newest first, or None if there are none."""
        newest = (content for beat in islice(topic.beats, beats) for content in reversed(beat))
        ids = self._recent.shared(newest, self._state.settings.ids_max)
        return IHave(topic.name, tuple(ids)) if ids else None

    def _forget_resent(self, kept: Kept) -> None:
        """Forget how often a message was sent to peers that are gone, or else to the first one."""
        gone = [name for name in kept.resent if name not in self._state.peers]
        for name in gone or [next(iter(kept.resent))]:
            del kept.resent[name]

    def _owe(self, peer: Peer, content: bytes) -> None:
        if content in self._recent and len(peer.owed) < self._state.settings.ids_max:
            peer.owed[content] = None

    def _tell_owed(self, peer: Peer) -> None:
        by_topic: dict[str, list[bytes]] = {}
        trusted = peer.trusted(self._state.settings.gossip_least)
        for content in peer.owed if trusted else ():
            kept = self._recent.get(content)
            if kept is not None and kept.topic in peer.topics:
                by_topic.setdefault(kept.topic, []).append(content)
        peer.owed.clear()
        for name, ids in by_topic.items():
            self._state.control(peer.name).ihave.append(IHave(name, tuple(ids)))

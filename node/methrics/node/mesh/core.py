"""The mesh of one node: gossipsub 1.1 as a state machine without I/O, clock or randomness.

A *shell* owns a `Mesh`. It calls an input method for each thing that happens, with the time `now`
(seconds on a clock that never goes back), and then carries out what `take()` returns. Peers are
named by their ids in text form. No input of a stranger raises an error, and the state that
strangers cause is bounded by `MeshSettings`.

    mesh.frame(peer, rpc, now)
    for output in mesh.take():
        match output:
            case Send(peer, rpc): ...  # queue it, or call mesh.unsent(output, now)
            case Judge(content, message, forwarder): ...  # later mesh.verdict(...)
            case Dial(peer_id, record): ...
            case Drop(peer, reason): ...
"""

from __future__ import annotations

import random
from dataclasses import replace

from methrics.node.mesh.delivery import Delivery
from methrics.node.mesh.gossip import Gossip
from methrics.node.mesh.grafting import Meshes
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import Outcome
from methrics.node.mesh.outputs import Output, Send
from methrics.node.mesh.peers import Peer
from methrics.node.mesh.promises import Promises
from methrics.node.mesh.recent import Recent
from methrics.node.mesh.rpc import Message, PeerInfo, Rpc, Subscription
from methrics.node.mesh.standing import Standing
from methrics.node.mesh.state import State
from methrics.node.mesh.statistics import MeshStatistics


class Mesh:
    """The gossip state of one node. Not thread safe."""

    def __init__(self, settings: MeshSettings | None = None) -> None:
        self.settings = settings or MeshSettings()
        state = self._state = State(self.settings)
        recent = Recent(self.settings.history, self.settings.history_bytes)
        self._promises = Promises(self.settings, state.peers)
        self._delivery = Delivery(state, recent, self._promises)
        self._gossip = Gossip(state, recent, self._promises, self._delivery)
        self._meshes = Meshes(state)

    def connected(
        self, peer: str, now: float, *, outbound: bool, direct: bool, origin: bytes
    ) -> None:
        """Note that frames can be sent to `peer` and arrive from it.

        `outbound`: this node has dialled it, and not because another peer named it (`Dial`), so
        that strangers cannot have chosen it. `direct`: this node's operator has named it: it gets
        every message, and is neither grafted, pruned nor ignored. `origin`: an opaque token of its
        network, b"" if there is none or it tells nothing, such as on loopback. The answer to a
        peer that connects is a frame with the joined topics.
        """
        state = self._state
        known = state.peers.get(peer)
        if known is not None:
            known.outbound = outbound
            self._set_direct(known, direct)
            state.mark(known)
            return
        added = Peer(peer, outbound, direct, origin, Standing())
        state.add_peer(added, now)
        state.greet(added)

    def note_record(self, peer: str, peer_id: bytes, record: bytes) -> None:
        """Note the signed record of a connected peer, which a PRUNE may pass on to others."""
        known = self._state.peers.get(peer)
        if known is not None and 0 < len(record) <= self.settings.record_max:
            known.info = PeerInfo(peer_id, record)

    def disconnected(self, peer: str, now: float) -> None:
        """Note that `peer` is gone. Its score is retained for a while."""
        state = self._state
        known = state.peers.get(peer)
        if known is None:
            return
        for name in list(known.topics):
            self._unsubscribe(known, name)
        self._promises.cancel(list(known.promised), peer)
        state.remove_peer(known, now)

    def renewed(self, peer: str) -> None:
        """Note that nothing has reached a connected peer so far, and that frames reach it from now
        on. It leaves the meshes, as it knows of none, and is told the joined topics and the ids of
        all kept contents. What it has told itself still holds."""
        state = self._state
        known = state.peers.get(peer)
        if known is None:
            return
        for name in known.topics:
            topic = state.topics[name]
            self._meshes.unlink(topic, known)
            topic.fresh[peer] = None
        self._promises.cancel(list(known.promised), peer)
        state.greet(known)

    def frame(self, peer: str, rpc: Rpc, now: float) -> None:
        """Take in a frame of `peer`; without effect if the peer is not connected."""
        state, settings = self._state, self.settings
        known = state.peers.get(peer)
        if known is None:
            return
        for option in rpc.subscriptions:
            if option.subscribe:
                self._subscribe(known, option.topic)
            else:
                self._unsubscribe(known, option.topic)
        if not known.trusted(settings.graylist_below):
            self._ignore(known, rpc)
            return
        for message in rpc.messages:
            self._delivery.arrive(known, message, now)
        if known.trusted(settings.gossip_least):
            for ihave in rpc.ihave:
                self._gossip.ihave(known, ihave, now)
            for iwant in rpc.iwant:
                self._gossip.iwant(known, iwant)
        for graft in rpc.graft:
            self._meshes.graft(known, graft, now)
        for prune in rpc.prune:
            self._meshes.prune(known, prune, now)

    def blame(self, peer: str, now: float) -> None:
        """Lower the score of `peer` for a frame that no honest node sends, such as one that does
        not decode."""
        known = self._state.peers.get(peer)
        if known is not None:
            self._state.penalize(known, self.settings.score.malformed_penalty)

    def join(self, topic: str, now: float) -> None:
        """Join `topic`, and tell all peers. The next heartbeat forms the mesh."""
        joined = self._state.topic(topic)
        if not joined.joined:
            joined.joined = True
            for peer in joined.peers:
                self._state.crowd(self._state.peers[peer])
            self._announce(Subscription(topic, True))

    def leave(self, topic: str, now: float) -> None:
        """Leave `topic`, prune its mesh, and tell all peers."""
        left = self._state.topics.get(topic)
        if left is not None and left.joined:
            self._meshes.leave(left, now)
            left.joined = False
            for peer in left.peers:
                self._state.crowd(self._state.peers[peer])
            left.beats.clear()
            left.beats.append([])
            left.accepted, left.checked = 0.0, None
            self._announce(Subscription(topic, False))

    def publish(self, message: Message, now: float) -> int:
        """Send a message of this node to every peer of its topic that has not misbehaved (flood
        publishing); return their number. Works without `join`."""
        return self._delivery.publish(message, now)

    def verdict(self, content: bytes, outcome: Outcome, now: float) -> None:
        """Answer a `Judge`. After ACCEPT the message is forwarded; after REJECT the score of every
        peer that sent it is lowered. `Wait(on)` keeps the message until `again(on)`; `UNSEEN`
        forgets it. Without effect if `content` is not being judged."""
        self._delivery.verdict(content, outcome, now)

    def forged(self, peer: str, content: bytes, now: float) -> None:
        """Answer a `Judge` whose message has no valid signature of its sender, and lower the score
        of `peer`, which forwarded it. Another copy is judged instead; without one, the content is
        forgotten."""
        self._delivery.forged(peer, content, now)

    def again(self, on: bytes, now: float) -> int:
        """Judge what waits for `on`; return the number of messages."""
        return self._delivery.again(on, now)

    def waits(self) -> list[bytes]:
        """Return what messages wait for."""
        return self._delivery.room.waits()

    def unsent(self, send: Send, now: float) -> None:
        """Note that a frame was dropped, because the queue of its peer is full. At the next
        heartbeat the peer is told the ids of its contents, and may ask for them."""
        self._gossip.unsent(send)
        peer = self._state.peers.get(send.peer)
        for graft in send.rpc.graft if peer is not None else ():
            topic = self._state.topics.get(graft.topic)
            if topic is not None and peer is not None:
                self._meshes.unlink(topic, peer)

    def heartbeat(self, now: float, rng: random.Random) -> None:
        """Repair the meshes, tell ids, ask again for what was not sent, and forget old state. Call
        it every `settings.heartbeat` seconds."""
        state = self._state
        state.beat += 1
        self._delivery.expire(now)
        state.decay(now)
        self._gossip.ask_others(now)
        self._meshes.beat(now, rng)
        self._gossip.beat()
        state.send_controls()
        self._gossip.shift()

    def rate(self, peer: str, points: float) -> None:
        """Set the application's own part of the score of a connected peer (P5)."""
        known = self._state.peers.get(peer)
        if known is not None:
            most = self.settings.score.app_most
            known.app = max(-most, min(most, points))
            self._state.mark(known)

    def score(self, peer: str) -> float:
        """Return the score of `peer`: 0 if it has none."""
        return self._state.score_of(peer)

    def mesh_peers(self, topic: str) -> frozenset[str]:
        """Return the peers in the mesh of `topic`."""
        found = self._state.topics.get(topic)
        return frozenset() if found is None else frozenset(found.mesh)

    def topic_peers(self, topic: str) -> frozenset[str]:
        """Return the connected peers that have joined `topic`."""
        found = self._state.topics.get(topic)
        return frozenset() if found is None else frozenset(found.peers)

    def statistics(self) -> MeshStatistics:
        """Return a copy of the counts."""
        counts = replace(self._state.counts)
        counts.waiting = len(self._delivery.room)
        return counts

    def take(self) -> list[Output]:
        """Return the outputs since the last call, in order."""
        outputs = self._state.outputs
        self._state.outputs = []
        return outputs

    def _subscribe(self, peer: Peer, name: str) -> None:
        settings = self.settings
        if (
            name not in peer.topics
            and 0 < len(name) <= settings.topic_size_max
            and len(peer.topics) < settings.topics_max
        ):
            peer.topics[name] = None
            self._state.topic(name).add(peer)
            self._state.crowd(peer)

    def _unsubscribe(self, peer: Peer, name: str) -> None:
        if name not in peer.topics:
            return
        topic = self._state.topics[name]
        self._meshes.unlink(topic, peer)
        topic.remove(peer)
        del peer.topics[name]
        self._state.crowd(peer)
        if not (topic.joined or topic.peers or topic.backoff):
            del self._state.topics[name]

    def _set_direct(self, peer: Peer, direct: bool) -> None:
        if peer.direct == direct:
            return
        peer.direct = direct
        for name in peer.topics:
            topic = self._state.topics[name]
            if direct:
                self._meshes.unlink(topic, peer)
                topic.direct[peer.name] = None
                topic.fresh[peer.name] = None  # what it was to be told in its turn, it is told now
            else:
                topic.direct.pop(peer.name, None)

    def _announce(self, option: Subscription) -> None:
        rpc = Rpc((option,))
        for name in self._state.peers:
            self._state.send(name, rpc)

    def _ignore(self, peer: Peer, rpc: Rpc) -> None:
        counts = self._state.counts
        counts.received += len(rpc.messages)
        counts.received_bytes += sum(len(message.data) for message in rpc.messages)
        self._state.limited(peer, len(rpc.messages))

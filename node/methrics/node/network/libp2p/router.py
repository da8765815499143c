"""Maintains the mesh of peers that get messages, and handles the control messages of peers.

It replaces the heartbeat, the control handlers and the sending part of libp2p's `GossipSub`. In
stock libp2p 0.8.1:
- an error in the heartbeat ends the host;
- after a PRUNE, the host dials addresses that a stranger names;
- the state grows with every topic name that a stranger invents, and with every delivery;
- a GRAFT for one peer is also sent to the next peer;
- each message is parsed and measured again for each peer;
- every frame contains our signed addresses.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import trio

from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics.node.network.libp2p.compat import override
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.recent import Recent
from methrics.node.network.libp2p.scores import IGNORED_BELOW, MESH_LEAST, score_params
from methrics.node.network.libp2p.settings import GossipSettings

_IDS_MAX = 64
"""Most message ids that are read from one peer per heartbeat, over its IHAVE and IWANT messages."""

_RESEND_MAX = 3
"""Most times that one message is sent to one peer that asks for it (gossipsub 1.1). Without a
limit, a peer could get 128 KiB again and again for 20 bytes."""

_BACKOFF_MAX = 600
"""Most seconds for which a PRUNE can keep us out of a peer's mesh."""

_PART_MAX = 16
"""Most control parts of one kind that are read in one frame; further ones are ignored."""


class Router(GossipSub):
    """The gossipsub router of one swarm. Other parts of the swarm share its `counters`."""

    def __init__(self, settings: GossipSettings, counters: Counters, rng: random.Random) -> None:
        super().__init__(
            protocols=[PROTOCOL_ID_V11],
            degree=settings.degree,
            degree_low=settings.degree_low,
            degree_high=settings.degree_high,
            score_params=score_params(),
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,  # C5: 10 messages a second, our own included
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=1,
        )
        self.recent = Recent()
        self._heartbeat = settings.heartbeat
        self._counters = counters
        self._rng = rng
        self._asked: dict[bytes, int] = {}
        self._beat = 0
        self._resent: Counter[tuple[ID, bytes]] = Counter()
        self._ids: defaultdict[ID, int] = defaultdict(int)
        self._speaking: set[ID] = set()
        self._away: dict[tuple[ID, str], float] = {}

    def score(self, peer: ID, topic: str) -> float:
        """Return the peer score on `topic`. It is 0 for a peer that has no gossip stream to us, as
        no state is kept for such a peer."""
        if self.scorer is None or peer not in self._speaking:
            return 0.0
        return self.scorer.score(peer, [topic])

    def hear(self, peer: ID) -> None:
        """Note that `peer` has opened a gossip stream to us: from now on it has a peer score.
        (Stock waits for the stream that we open, but a peer that only sends need not accept it.)"""
        self._speaking.add(peer)

    def unhear(self, peer: ID) -> None:
        """Note that the gossip stream of `peer` has ended: forget its peer score."""
        self._speaking.discard(peer)
        if self.scorer is not None:
            self.scorer.remove_peer(peer)

    def trusted(self, peer: ID, topic: str) -> bool:
        """Whether the peer score of `peer` is high enough that its messages are judged."""
        return self.score(peer, topic) >= IGNORED_BELOW

    def credit(self, peer: ID, topic: str) -> None:
        """Raise the peer score of `peer`, which was the first to send an accepted message."""
        if self.scorer is not None and peer in self._speaking:
            self.scorer.on_first_delivery(peer, topic)

    def blame(self, peer: ID, topic: str) -> None:
        """Lower the peer score of `peer`, which sent a message that no honest node sends."""
        if self.scorer is not None and peer in self._speaking:
            self.scorer.on_invalid_message(peer, topic)

    def blame_frame(self, peer: ID) -> None:
        """Lower the peer score of `peer` on all topics, for a frame that no honest node sends."""
        if self.scorer is not None and peer in self._speaking:
            self.scorer.penalize_behavior(peer, 1.0)

    def topic_peers(self, topic: str) -> set[ID]:
        """Return the connected peers that have joined `topic`."""
        if self.pubsub is None:
            return set()
        return {p for p in self.pubsub.peer_topics.get(topic, ()) if p in self.pubsub.peers}

    def targets(self, topic: str) -> list[ID]:
        """Return the peers that get a message of this node: those in the mesh and, if there are
        fewer than `degree`, others drawn at random."""
        peers = [p for p in self.topic_peers(topic) if self.score(p, topic) >= MESH_LEAST]
        mesh = self.mesh.get(topic, set())
        chosen = [p for p in peers if p in mesh]
        others = [p for p in peers if p not in mesh]
        missing = max(0, self.degree - len(chosen))
        return chosen + self._rng.sample(others, min(missing, len(others)))

    def push(self, peer: ID, frame: bytes) -> bool:
        """Queue a frame for one peer. If its queue is full, count the frame as `unsent` and return
        False."""
        queue = None if self.pubsub is None else self.pubsub.peer_queues.get(peer)
        if queue is not None and queue.push(frame):  # type: ignore[arg-type]
            return True
        self._counters.unsent += 1
        return False

    @override
    async def heartbeat(self) -> None:
        while True:
            await trio.sleep(self._heartbeat)
            try:
                await self.beat()
            except Exception:  # noqa: BLE001 - C2: a raising heartbeat would end the host
                self._counters.contained += 1

    async def beat(self) -> None:
        """Do the work of one heartbeat: repair the mesh, send IHAVE to peers outside it, and forget
        old state."""
        control: defaultdict[ID, rpc_pb2.ControlMessage] = defaultdict(rpc_pb2.ControlMessage)
        for topic in list(self.mesh):
            self._repair(topic, control)
            self._gossip(topic, control)
        for peer, message in control.items():
            await self.emit_control_message(message, peer)
        self.recent.shift()
        if self.scorer is not None:
            self.scorer.on_heartbeat()
        self._forget()

    def _repair(self, topic: str, control: defaultdict[ID, rpc_pb2.ControlMessage]) -> None:
        mesh = self.mesh[topic]
        present = self.topic_peers(topic)
        mesh &= present
        poor = {peer for peer in mesh if self.score(peer, topic) < MESH_LEAST}
        by_score = sorted(mesh - poor, key=lambda peer: self.score(peer, topic), reverse=True)
        surplus = by_score[self.degree :] if len(by_score) > self.degree_high else []
        for peer in [*poor, *surplus]:
            mesh.discard(peer)
            self._add_back_off(peer, topic, False)
            control[peer].prune.add(topicID=topic, backoff=self.prune_back_off)
        if len(mesh) < self.degree_low:
            candidates = [
                peer
                for peer in present - mesh
                if self.score(peer, topic) >= MESH_LEAST and not self._check_back_off(peer, topic)
            ]
            for peer in self._rng.sample(candidates, min(self.degree - len(mesh), len(candidates))):
                mesh.add(peer)
                control[peer].graft.add(topicID=topic)

    def _gossip(self, topic: str, control: defaultdict[ID, rpc_pb2.ControlMessage]) -> None:
        ids = self.recent.window(topic)[:_IDS_MAX]
        others = [
            peer
            for peer in self.topic_peers(topic) - self.mesh[topic]
            if self.score(peer, topic) >= MESH_LEAST
        ]
        if ids:
            for peer in self._rng.sample(others, min(self.degree, len(others))):
                control[peer].ihave.add(topicID=topic, messageIDs=ids)

    def _forget(self) -> None:
        """Drop state about peers and messages that is no longer used."""
        self._beat += 1
        self._ids.clear()
        for pair in [pair for pair in self._resent if self.recent.get(pair[1]) is None]:
            del self._resent[pair]
        self._asked = {c: beat for c, beat in self._asked.items() if self._beat - beat < 3}
        now = trio.current_time()
        self._away = {pair: until for pair, until in self._away.items() if until > now}
        self.recent_message_deliveries.clear()
        self.equivocation_detection.clear()
        self._pending_messages.clear()

    @override
    async def handle_rpc(self, rpc: rpc_pb2.RPC, sender_peer_id: ID) -> None:
        control = rpc.control
        for ihave in control.ihave[:_PART_MAX]:
            await self.handle_ihave(ihave, sender_peer_id)
        for iwant in control.iwant[:_PART_MAX]:
            await self.handle_iwant(iwant, sender_peer_id)
        for graft in control.graft[:_PART_MAX]:
            await self.handle_graft(graft, sender_peer_id)
        for prune in control.prune[:_PART_MAX]:
            await self.handle_prune(prune, sender_peer_id)

    @override
    async def handle_ihave(self, ihave_msg: rpc_pb2.ControlIHave, sender_peer_id: ID) -> None:
        topic = ihave_msg.topicID
        if topic not in self.mesh or self.score(sender_peer_id, topic) < MESH_LEAST:
            return
        wanted = []
        for content in self._first_ids(ihave_msg.messageIDs, sender_peer_id):
            if content not in self._asked and not self.knows(content):
                self._asked[content] = self._beat
                wanted.append(content)
        if wanted:
            await self.emit_iwant(wanted, sender_peer_id)

    @override
    async def handle_iwant(self, iwant_msg: rpc_pb2.ControlIWant, sender_peer_id: ID) -> None:
        for content in self._first_ids(iwant_msg.messageIDs, sender_peer_id):
            kept = self.recent.get(content)
            if kept is None or self.score(sender_peer_id, kept.topic) < MESH_LEAST:
                continue
            self._resent[sender_peer_id, content] += 1
            if self._resent[sender_peer_id, content] <= _RESEND_MAX:
                self.push(sender_peer_id, kept.frame)

    @override
    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        topic = graft_msg.topicID
        mesh = self.mesh.get(topic)
        if mesh is None or sender_peer_id in mesh:
            return
        refused = (
            self._check_back_off(sender_peer_id, topic)
            or self.score(sender_peer_id, topic) < MESH_LEAST
            or len(mesh) >= self.degree_high
        )
        if refused:
            self._add_back_off(sender_peer_id, topic, False)
            await self.emit_prune(topic, sender_peer_id, False, False)
        else:
            mesh.add(sender_peer_id)

    @override
    async def handle_prune(self, prune_msg: rpc_pb2.ControlPrune, sender_peer_id: ID) -> None:
        topic = prune_msg.topicID
        if topic in self.mesh:
            self.mesh[topic].discard(sender_peer_id)
            seconds = min(prune_msg.backoff or self.prune_back_off, _BACKOFF_MAX)
            self._add_back_off(sender_peer_id, topic, False, seconds)

    @override
    def _add_back_off(
        self, peer: ID, topic: str, is_unsubscribe: bool, backoff_duration: int = 0
    ) -> None:
        """Keep `peer` out of the topic's mesh for `backoff_duration` seconds, or else for the
        default time. (Stock measures it by the wall clock.)"""
        seconds = backoff_duration or self.prune_back_off
        until = trio.current_time() + seconds
        self._away[peer, topic] = max(until, self._away.get((peer, topic), 0.0))

    @override
    def _check_back_off(self, peer: ID, topic: str) -> bool:
        return self._away.get((peer, topic), 0.0) > trio.current_time()

    def knows(self, content: bytes) -> bool:
        """Whether a message is known. The pubsub of this router replaces this method."""
        return False

    def _first_ids(self, ids: Sequence[bytes], peer: ID) -> list[bytes]:
        allowed = max(0, _IDS_MAX - self._ids[peer])
        taken = list(ids[:allowed])
        self._ids[peer] += len(taken)
        return taken

    @override
    async def emit_control_message(self, control_msg: rpc_pb2.ControlMessage, to_peer: ID) -> None:
        rpc = rpc_pb2.RPC()
        rpc.control.CopyFrom(control_msg)
        self.send_rpc(to_peer, rpc, priority=True)

    @override
    def _track_peer_ip(self, peer_id: ID) -> None:
        """Does nothing. Stock keeps the addresses of peers here (MARS-2)."""

    @override
    async def flush_pending_messages(self, peer_id: ID) -> None:
        """Does nothing, because no message is queued for a peer whose topics are not known yet."""

    @override
    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Send IHAVE with the ids of recent messages to a peer that has just joined. (Stock writes
        the messages themselves to the stream without the queue, so they can be written into the
        middle of another frame.)"""
        ids = self.recent.window(topic)[:_IDS_MAX]
        if ids:
            await self.emit_ihave(topic, ids, peer_id)

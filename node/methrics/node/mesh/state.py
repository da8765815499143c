"""What the parts of one mesh share: peers, topics, contents, counts and outputs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outputs import Drop, Output, Send
from methrics.node.mesh.peers import Peer, Topic
from methrics.node.mesh.rpc import Graft, IHave, IWant, Prune, Rpc, Subscription
from methrics.node.mesh.standing import Standing, colocation
from methrics.node.mesh.statistics import MeshStatistics


@dataclass(slots=True, eq=False)
class Control:
    """The control parts for one peer that are collected during a beat and sent as one frame."""

    ihave: list[IHave] = field(default_factory=list)
    iwant: list[bytes] = field(default_factory=list)
    graft: list[Graft] = field(default_factory=list)
    prune: list[Prune] = field(default_factory=list)

    def rpc(self) -> Rpc:
        """Return the frame."""
        iwant = (IWant(tuple(self.iwant)),) if self.iwant else ()
        return Rpc(
            ihave=tuple(self.ihave),
            iwant=iwant,
            graft=tuple(self.graft),
            prune=tuple(self.prune),
        )

    def only_ihave(self) -> IHave | None:
        """Return the IHAVE if there is exactly one and nothing else: many peers get the same."""
        if len(self.ihave) == 1 and not (self.iwant or self.graft or self.prune):
            return self.ihave[0]
        return None


class State:
    """The state of one mesh that more than one of its parts uses."""

    def __init__(self, settings: MeshSettings) -> None:
        self.settings = settings
        self.peers: dict[str, Peer] = {}
        self.topics: dict[str, Topic] = {}
        self.counts = MeshStatistics()
        self.outputs: list[Output] = []
        self.beat = 0
        self._marked: dict[str, Peer] = {}
        self._origins: dict[bytes, dict[str, Peer]] = {}
        self._retained: OrderedDict[str, tuple[Standing, float]] = OrderedDict()
        self._controls: dict[str, Control] = {}

    def send(self, peer: str, rpc: Rpc) -> None:
        """Let the shell send a frame."""
        self.outputs.append(Send(peer, rpc))

    def control(self, peer: str) -> Control:
        """Return the control parts that `peer` gets at the end of this beat."""
        found = self._controls.get(peer)
        if found is None:
            found = self._controls[peer] = Control()
        return found

    def send_controls(self) -> None:
        """Send what was collected with `control`: one frame per peer."""
        shared: dict[int, Rpc] = {}
        for name, control in self._controls.items():
            only = control.only_ihave()
            if only is None:
                self.send(name, control.rpc())
                continue
            rpc = shared.get(id(only))
            if rpc is None:
                rpc = shared[id(only)] = Rpc(ihave=(only,))
            self.send(name, rpc)
        self._controls = {}

    def topic(self, name: str) -> Topic:
        """Return a topic, which is made if it is new."""
        found = self.topics.get(name)
        if found is None:
            found = self.topics[name] = Topic(name, self.settings.window)
        return found

    def add_peer(self, peer: Peer, now: float) -> None:
        """Add a connected peer, with the score that was retained for it."""
        retained = self._retained.pop(peer.name, None)
        if retained is not None:
            standing, since = retained
            beats = max(0.0, now - since) / self.settings.heartbeat
            if now - since < self.settings.retain_time:
                standing.decay(self.settings.score, beats)
                peer.standing = standing
        self.peers[peer.name] = peer
        self.mark(peer)

    def remove_peer(self, peer: Peer, now: float) -> None:
        """Remove a peer, and retain its score."""
        del self.peers[peer.name]
        self._marked.pop(peer.name, None)
        self._controls.pop(peer.name, None)
        self._uncrowd(peer)
        if peer.standing.decay(self.settings.score, 0):
            self._retained[peer.name] = (peer.standing, now)
            if len(self._retained) > self.settings.retained_max:
                # Anyone can have a bad score: so it goes before what a peer has earned.
                bad = (name for name, kept in self._retained.items() if not kept[0].first)
                del self._retained[next(bad, None) or next(iter(self._retained))]

    def mark(self, peer: Peer) -> None:
        """Compute the score of a peer whose counters have changed."""
        self._marked[peer.name] = peer
        score = self.settings.score
        points = peer.standing.points(score, peer.shortfall) + peer.app
        if peer.colocation and not (
            peer.outbound or peer.direct or peer.standing.first >= score.colocated_credit
        ):
            points -= peer.colocation
        peer.score = points

    def credit(self, name: str) -> None:
        """Note that a peer was the first to send an accepted message (P2)."""
        peer = self.peers.get(name)
        if peer is not None:
            score = self.settings.score
            peer.standing.first = min(score.first_cap, peer.standing.first + 1)
            self.mark(peer)

    def invalid(self, name: str) -> None:
        """Note that a peer sent an invalid message (P4), also if it has disconnected since."""
        peer = self.peers.get(name)
        standing = self._standing(name) if peer is None else peer.standing
        if standing is not None:
            standing.invalid = min(self.settings.score.invalid_cap, standing.invalid + 1)
        if peer is not None:
            self.mark(peer)

    def penalize(self, peer: Peer, amount: float = 1.0) -> None:
        """Note that a peer did what no honest peer does, or does seldom (P7)."""
        standing = peer.standing
        standing.penalty = min(self.settings.score.penalty_cap, standing.penalty + amount)
        self.mark(peer)

    def limited(self, peer: Peer, messages: int) -> None:
        """Count messages of a graylisted peer, and drop the peer after too many."""
        self.counts.limited += messages
        before = peer.ignored
        peer.ignored += messages
        if before < self.settings.graylisted_max <= peer.ignored:
            self.outputs.append(Drop(peer.name, "graylisted"))

    def greet(self, peer: Peer) -> None:
        """Send a peer the joined topics."""
        joined = [name for name, topic in self.topics.items() if topic.joined]
        if joined:
            self.send(peer.name, Rpc(tuple(Subscription(name, True) for name in joined)))

    def decay(self, now: float) -> None:
        """Let the counters of all peers decay by one beat, and forget old scores."""
        score = self.settings.score
        for peer in list(self._marked.values()):
            left = peer.standing.decay(score, 1)
            self.mark(peer)
            if not left:
                del self._marked[peer.name]
        while self._retained:
            name = next(iter(self._retained))
            if now - self._retained[name][1] < self.settings.retain_time:
                break
            del self._retained[name]

    def score_of(self, name: str) -> float:
        """Return the score of a connected peer, or the one that is retained for it."""
        peer = self.peers.get(name)
        if peer is not None:
            return peer.score
        standing = self._standing(name)
        return 0.0 if standing is None else standing.points(self.settings.score, 0.0)

    def retained(self) -> int:
        """Return the number of peers whose scores are retained."""
        return len(self._retained)

    def _standing(self, name: str) -> Standing | None:
        retained = self._retained.get(name)
        return None if retained is None else retained[0]

    def crowd(self, peer: Peer) -> None:
        """Count a peer among those of its network if it has joined a topic of this node, and only
        then (P6)."""
        topics = self.topics
        if not peer.origin:
            return
        if not any(topics[name].joined for name in peer.topics):
            self._uncrowd(peer)
        elif peer.name not in (crowd := self._origins.setdefault(peer.origin, {})):
            crowd[peer.name] = peer
            self._colocate(crowd)

    def _uncrowd(self, peer: Peer) -> None:
        crowd = self._origins.get(peer.origin)
        if crowd is None or crowd.pop(peer.name, None) is None:
            return
        peer.colocation = 0.0
        if peer.name in self.peers:
            self.mark(peer)
        if crowd:
            self._colocate(crowd)
        else:
            del self._origins[peer.origin]

    def _colocate(self, crowd: dict[str, Peer]) -> None:
        """Let the peers of one network lose points, but not the first ones."""
        score = self.settings.score
        points = colocation(len(crowd), score)
        for at, peer in enumerate(crowd.values()):
            its_points = points if at >= score.colocated_max else 0.0
            if peer.colocation != its_points:
                peer.colocation = its_points
                self.mark(peer)

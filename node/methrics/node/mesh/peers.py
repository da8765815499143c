"""The state of one connected peer, and of one topic."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

from methrics.node.mesh.rpc import PeerInfo
from methrics.node.mesh.standing import Standing


@dataclass(slots=True, eq=False)
class Peer:
    """A connected peer. `score` is computed whenever what it depends on changes."""

    name: str
    outbound: bool
    direct: bool
    origin: bytes
    standing: Standing
    score: float = 0.0
    shortfall: float = 0.0
    """P3, the sum over its meshes."""
    colocation: float = 0.0
    """P6, which does not count for some peers."""
    app: float = 0.0
    topics: dict[str, None] = field(default_factory=dict)
    """The topics that it has joined."""
    info: PeerInfo | None = None
    promised: dict[bytes, None] = field(default_factory=dict)
    """Contents that it was asked for."""
    excused: bool = False
    """Others left no place for a message that it sent in this beat."""
    owed: dict[bytes, None] = field(default_factory=dict)
    """Contents whose frame was dropped; it is told their ids at the next beat."""
    greet: bool = False
    """A frame with our topics was dropped; they are sent again at the next beat."""
    told: int = 0
    wanted: int = 0
    """Ids read from it in this beat, of IHAVE and of IWANT."""
    searches: int = 0
    """How often in this beat room was searched for it among the peers of a content."""
    ignored: int = 0
    """Messages ignored because it is graylisted."""

    @property
    def rank(self) -> int:
        """How well this node knows it: 3 if it is direct, 2 if this node has dialled it, 1 if it
        has earned a good score, otherwise 0. A crowd of strangers has rank 0."""
        if self.direct:
            return 3
        return 2 if self.outbound else int(self.score > 0)

    def trusted(self, least: float) -> bool:
        """Whether its score is at least `least`; a direct peer is always trusted."""
        return self.direct or self.score >= least


@dataclass(slots=True, eq=False)
class Link:
    """A peer in the mesh of a topic."""

    since: float
    beat: int
    """When it was grafted, in seconds and as the number of the beat."""
    delivered: float = 0.0
    """Accepted messages that it sent as the first or nearly so; decays."""
    shortfall: float = 0.0
    """P3 of this topic."""


@dataclass(slots=True, eq=False)
class Topic:
    """A topic that this node or any peer has joined. All orders are those of insertion, so that the
    same inputs cause the same outputs."""

    name: str
    window: int
    joined: bool = False
    peers: dict[str, int] = field(default_factory=dict)
    """The peers that have joined it, each with its turn, from 0 to `window` - 1, to be told ids."""
    mesh: dict[str, Link] = field(default_factory=dict)
    direct: dict[str, None] = field(default_factory=dict)
    """Those among the peers that are direct."""
    fresh: dict[str, None] = field(default_factory=dict)
    """Peers that have joined since the last beat."""
    backoff: dict[str, float] = field(default_factory=dict)
    """Until when a peer is not grafted again."""
    beats: deque[list[bytes]] = field(default_factory=lambda: deque([[]]))
    """The ids of accepted contents by beat, newest beat first."""
    accepted: float = 0.0
    """Accepted messages of others; decays."""
    exchange: tuple[PeerInfo, ...] = ()
    """Peers that a PRUNE names, drawn at the last beat."""
    checked: float | None = None
    """When the scores of its mesh were last checked for opportunistic grafting."""
    turns: int = 0

    def add(self, peer: Peer) -> None:
        """Note that a peer has joined."""
        self.peers[peer.name] = self.turns % self.window
        self.turns += 1
        self.fresh[peer.name] = None
        if peer.direct:
            self.direct[peer.name] = None

    def tells(self, content: bytes) -> bool:
        """Whether a content is still told to the peers in their turns."""
        return any(content in beat for beat in islice(self.beats, self.window))

    def remove(self, peer: Peer) -> None:
        """Note that a peer has left. It must not be in the mesh any more."""
        del self.peers[peer.name]
        self.fresh.pop(peer.name, None)
        self.direct.pop(peer.name, None)

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

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import Outcome
from methrics.node.mesh.outputs import Output, Send
from methrics.node.mesh.rpc import Message, Rpc
from methrics.node.mesh.statistics import MeshStatistics


class Mesh:
    """The gossip state of one node. Not thread safe."""

    def __init__(self, settings: MeshSettings | None = None) -> None:
        raise NotImplementedError

    def connected(
        self, peer: str, now: float, *, outbound: bool, direct: bool, origin: bytes
    ) -> None:
        """Note that frames can be sent to `peer` and arrive from it.

        `outbound`: this node has dialled it. `direct`: this node's operator has named it: it gets
        every message, and is neither grafted, pruned nor ignored. `origin`: an opaque token of its
        network, b"" if there is none or it tells nothing, such as on loopback. The answer to a
        peer that connects is a frame with the joined topics.
        """
        raise NotImplementedError

    def note_record(self, peer: str, peer_id: bytes, record: bytes) -> None:
        """Note the signed record of a connected peer, which a PRUNE may pass on to others."""
        raise NotImplementedError

    def disconnected(self, peer: str, now: float) -> None:
        """Note that `peer` is gone. Its score is retained for a while."""
        raise NotImplementedError

    def frame(self, peer: str, rpc: Rpc, now: float) -> None:
        """Take in a frame of `peer`; without effect if the peer is not connected."""
        raise NotImplementedError

    def blame(self, peer: str, now: float) -> None:
        """Lower the score of `peer` for a frame that no honest node sends, such as one that does
        not decode."""
        raise NotImplementedError

    def join(self, topic: str, now: float) -> None:
        """Join `topic`, and tell all peers. The next heartbeat forms the mesh."""
        raise NotImplementedError

    def leave(self, topic: str, now: float) -> None:
        """Leave `topic`, prune its mesh, and tell all peers."""
        raise NotImplementedError

    def publish(self, message: Message, now: float) -> int:
        """Send a message of this node to every peer of its topic that has not misbehaved (flood
        publishing); return their number. Works without `join`."""
        raise NotImplementedError

    def verdict(self, content: bytes, outcome: Outcome, now: float) -> None:
        """Answer a `Judge`. After ACCEPT the message is forwarded; after REJECT the score of every
        peer that sent it is lowered. `Wait(on)` keeps the message until `again(on)`; `UNSEEN`
        forgets it. Without effect if `content` is not being judged."""
        raise NotImplementedError

    def forged(self, peer: str, content: bytes, now: float) -> None:
        """Answer a `Judge` whose message has no valid signature of its sender, and lower the score
        of `peer`, which forwarded it. Another copy is judged instead; without one, the content is
        forgotten."""
        raise NotImplementedError

    def again(self, on: bytes, now: float) -> int:
        """Judge what waits for `on`; return the number of messages."""
        raise NotImplementedError

    def waits(self) -> list[bytes]:
        """Return what messages wait for."""
        raise NotImplementedError

    def unsent(self, send: Send, now: float) -> None:
        """Note that a frame was dropped, because the queue of its peer is full. At the next
        heartbeat the peer is told the ids of its contents, and may ask for them."""
        raise NotImplementedError

    def heartbeat(self, now: float, rng: random.Random) -> None:
        """Repair the meshes, tell ids, ask again for what was not sent, and forget old state. Call
        it every `settings.heartbeat` seconds."""
        raise NotImplementedError

    def rate(self, peer: str, points: float) -> None:
        """Set the application's own part of the score of a connected peer (P5)."""
        raise NotImplementedError

    def score(self, peer: str) -> float:
        """Return the score of `peer`: 0 if it has none."""
        raise NotImplementedError

    def mesh_peers(self, topic: str) -> frozenset[str]:
        """Return the peers in the mesh of `topic`."""
        raise NotImplementedError

    def topic_peers(self, topic: str) -> frozenset[str]:
        """Return the connected peers that have joined `topic`."""
        raise NotImplementedError

    def statistics(self) -> MeshStatistics:
        """Return a copy of the counts."""
        raise NotImplementedError

    def take(self) -> list[Output]:
        """Return the outputs since the last call, in order."""
        raise NotImplementedError

"""What the gossip service keeps about one connected peer, for as long as the connection lasts."""

from __future__ import annotations

import trio

from methrics._vendor.libp2p.peer.id import ID
from methrics.node.mesh.rpc import Rpc
from methrics.node.network.libp2p.muxer import Muxer
from methrics.node.network.libp2p.sendqueue import Held, SendQueue
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.token_bucket import TokenBucket


class Peer:
    """One peer on one connection. `queue` waits for the writer of our gossip stream; `readers`
    counts the gossip streams that the peer has opened to us on any of its connections."""

    def __init__(self, muxer: Muxer, settings: GossipSettings, held: Held) -> None:
        now = trio.current_time()
        self.muxer = muxer
        self.peer_id: ID = muxer.peer_id
        self.text = str(muxer.peer_id)
        self.queue = SendQueue(
            settings.queue_frames, settings.queue_bytes, settings.mesh.ids_max, held
        )
        self.readers = 0
        self.heard = trio.Event()
        """Set once the peer has opened a gossip stream to us."""
        self.ready = trio.Event()
        """Set once our gossip stream is open, or was refused."""
        self.met = False
        """Whether the mesh knows that the peer is connected."""
        self.writable = False
        """Whether our gossip stream is open."""
        self.writing = False
        """Whether a frame is being written."""
        self.scope = trio.CancelScope()
        self.slots = trio.Semaphore(settings.validators_per_peer)
        self.messages = _one_second(settings.message_rate, now)
        self.bytes = _one_second(settings.byte_rate, now)
        self._waiting = trio.Event()

    def put(self, rpc: Rpc) -> Rpc | None:
        """Queue a frame; return the part for which there is no room."""
        left = self.queue.put(rpc)
        self._waiting.set()
        return left

    async def next(self) -> Rpc:
        """Wait for a frame to write."""
        while (rpc := self.queue.pop()) is None:
            self._waiting = trio.Event()
            await self._waiting.wait()
        return rpc

    @property
    def busy(self) -> bool:
        """Whether frames are left to write."""
        return self.writable and (self.writing or len(self.queue) > 0)


def _one_second(rate: float, now: float) -> TokenBucket:
    """Return a token bucket that allows a burst of as many tokens as it gains in one second."""
    return TokenBucket(rate=rate, size=rate, now=now)

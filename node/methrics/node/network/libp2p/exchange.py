"""Peer exchange: learns the signed addresses of peers, and dials peers that other peers name.

Only a swarm that listens takes part. It asks each peer that shares a topic with it for its signed
record (by libp2p's identify protocol), once per connection. The mesh keeps the records in memory
while the peers are connected, and passes some of them on when it refuses or prunes a peer.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from methrics._vendor.libp2p.custom_types import TProtocol
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.identity.identify.pb.identify_pb2 import Identify
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import PeerInfo
from methrics.node.network.libp2p.contain import contained
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.dialing import Dialer
from methrics.node.network.libp2p.framing import FrameReader
from methrics.node.network.libp2p.muxer import Muxer
from methrics.node.network.libp2p.network import GuardedSwarm, QuietHost
from methrics.node.network.libp2p.reach import Reach, dialable
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.stream import Stream
from methrics.schema.errors import UnreachableError

_IDENTIFY = TProtocol("/ipfs/id/1.0.0")

_IDENTIFY_MAX = 16_384
"""Most bytes of an answer to identify. go- and js-libp2p send one or two thousand."""

_ASKED_AT_ONCE = 4
"""Most peers that are asked for their record at once; the others wait."""

_ASK_TIME = 10.0
"""Most seconds for one peer to answer."""


class Exchange:
    """The peer exchange of one host. `reach` is None if the host does not listen: then nothing is
    asked, and nobody is dialled. `note_record` gets each verified record."""

    note_record: Callable[[str, bytes, bytes], None]

    def __init__(
        self,
        host: QuietHost,
        network: GuardedSwarm,
        dialer: Dialer,
        settings: GossipSettings,
        counters: Counters,
        nursery: trio.Nursery,
        reach: Reach | None,
    ) -> None:
        self._host = host
        self._network = network
        self._dialer = dialer
        self._settings = settings
        self._counters = counters
        self._nursery = nursery
        self._reach = reach
        self._asking = trio.CapacityLimiter(_ASKED_AT_ONCE)
        self._dialling: set[bytes] = set()

    def consider(self, muxer: Muxer) -> None:
        """Ask the peer of a connection for its record, unless it was asked before."""
        if self._reach is not None and not muxer.identified:
            muxer.identified = True
            self._nursery.start_soon(contained, self._counters, self._ask, muxer, self._reach)

    async def _ask(self, muxer: Muxer, reach: Reach) -> None:
        async with self._asking:
            if muxer.is_ending:
                return
            with trio.move_on_after(_ASK_TIME):
                try:
                    answer = await self._identify(muxer.peer_id)
                except BaseLibp2pError:
                    return
                message = Identify.FromString(answer)  # a DecodeError is contained
                record, peer_id = message.signedPeerRecord, muxer.peer_id.to_bytes()
                small = len(record) <= self._settings.mesh.record_max
                if small and dialable(record, peer_id, reach) and not muxer.is_ending:
                    self.note_record(str(muxer.peer_id), peer_id, record)

    async def _identify(self, peer_id: ID) -> bytes:
        stream = await self._host.new_stream(peer_id, [_IDENTIFY])
        muxed = getattr(stream, "muxed_stream", None)
        if not isinstance(muxed, Stream):
            return b""
        try:
            return await FrameReader(muxed.read, _IDENTIFY_MAX).next()
        finally:
            muxed.break_off()

    async def dial(self, peer_id: bytes, record: bytes) -> None:
        """Connect to a peer that another peer has named, if that is safe and needed."""
        if self._reach is None or len(self._dialling) >= self._settings.exchange_dials:
            return
        addrs = dialable(record, peer_id, self._reach)
        enough = len(self._network.places) >= self._settings.mesh.connections_aim
        if not addrs or enough or peer_id in self._dialling:
            return
        info = PeerInfo(ID(peer_id), addrs)
        if info.peer_id == self._host.get_id() or self._network.get_connections(info.peer_id):
            return
        self._dialling.add(peer_id)
        self._counters.px_dials += 1
        try:
            await self._dialer.dial(info)
        except UnreachableError:
            pass  # the dialer has counted it
        finally:
            self._dialling.discard(peer_id)

"""A peer that follows TCP, Noise and Yamux and sends any gossip frames."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import trio
from multiaddr import Multiaddr

from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import info_from_p2p_addr
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics._vendor.libp2p.stream_muxer.exceptions import MuxedConnError
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.network import build_host, close_host
from methrics.node.network.libp2p.rpc import rpc_frame, sign
from methrics.node.network.libp2p.settings import GossipSettings

MESHSUB = "/meshsub/1.1.0"


class Attacker:
    """Connected to one victim. Frames given to `send` go out as they are."""

    def __init__(self, host: Any, victim: ID) -> None:
        self.host = host
        self.victim = victim

    @property
    def peer_id(self) -> str:
        return str(self.host.get_id())

    @property
    def muxer(self) -> Any:
        return self.host.get_network().get_connections(self.victim)[0].muxed_conn

    @property
    def connected(self) -> bool:
        return bool(self.host.get_network().get_connections(self.victim))

    async def stream(self, protocol: str = MESHSUB) -> Any:
        return await self.host.new_stream(self.victim, [protocol])

    async def send(self, *frames: bytes) -> None:
        stream = await self.stream()
        for frame in frames:
            await stream.write(frame)

    def message(self, topic: str, data: bytes, seqno: int = 1) -> rpc_pb2.Message:
        """A validly signed message of the attacker's."""
        key = self.host.get_private_key()
        raw = sign(topic, data, self.host.get_id().to_bytes(), seqno, key)
        return rpc_pb2.Message.FromString(raw)


@contextlib.asynccontextmanager
async def attack(addr: str, *, hold_streams: bool = False) -> AsyncIterator[Attacker]:
    """An attacker connected to `addr`; with `hold_streams` it takes gossip and never reads it."""
    settings = GossipSettings(write_time_max=5)
    host = build_host(None, settings, Counters())

    async def hold(_: Any) -> None:
        await trio.sleep_forever()

    if hold_streams:
        host.set_stream_handler(MESHSUB, hold)  # type: ignore[arg-type]
    info = info_from_p2p_addr(Multiaddr(addr))
    async with host.run(listen_addrs=[]):
        try:
            await host.connect(info)
            yield Attacker(host, info.peer_id)
        finally:
            await close_host(host)


def rpc(**fields: Any) -> bytes:
    """A frame of an RPC with these fields."""
    return rpc_frame(rpc_pb2.RPC(**fields))


ENDED = (MuxedConnError,)
"""Errors that an attacker gets after it was dropped, besides those of libp2p."""

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
from methrics._vendor.libp2p.utils.varint import decode_varint_with_size, encode_uvarint
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.network import build_host, close_host
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.signing import sign

MESHSUB = "/meshsub/1.1.0"


class Attacker:
    """Connected to one victim. Frames given to `send` go out as they are."""

    def __init__(self, host: Any, victim: ID) -> None:
        self.host = host
        self.victim = victim
        self.held: list[Any] = []
        """The gossip streams that the victim has opened to the attacker."""
        self._received = b""

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

    async def join(self, topic: str) -> None:
        """Subscribe to a topic, and wait until the victim may have noticed."""
        await self.send(rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic)]))

    async def frames(self) -> list[rpc_pb2.RPC]:
        """All frames that the victim has sent so far."""
        for stream in self.held:
            while stream.muxed_stream._buffer:
                self._received += await stream.read(65_536)
        found, at = [], 0
        while at < len(self._received):
            length, size = decode_varint_with_size(self._received[at:])
            if at + size + length > len(self._received):
                break
            found.append(rpc_pb2.RPC.FromString(self._received[at + size : at + size + length]))
            at += size + length
        return found

    async def messages(self) -> list[rpc_pb2.Message]:
        """All messages that the victim has sent so far."""
        return [message for frame in await self.frames() for message in frame.publish]

    def message(self, topic: str, data: bytes, seqno: int = 1) -> rpc_pb2.Message:
        """A validly signed message of the attacker's."""
        key = self.host.get_private_key()
        one = sign(topic, data, self.host.get_id().to_bytes(), seqno, key)
        return rpc_pb2.Message(
            from_id=one.sender,
            data=one.data,
            seqno=one.seqno,
            topicIDs=[one.topic],
            signature=one.signature,
        )


@contextlib.asynccontextmanager
async def attack(addr: str, *, hold_streams: bool = False) -> AsyncIterator[Attacker]:
    """An attacker connected to `addr`; with `hold_streams` it takes gossip and never reads it."""
    settings = GossipSettings(write_time_max=5)
    host = build_host(None, settings, Counters())

    info = info_from_p2p_addr(Multiaddr(addr))
    peer = Attacker(host, info.peer_id)

    async def hold(stream: Any) -> None:
        peer.held.append(stream)
        await trio.sleep_forever()

    if hold_streams:
        host.set_stream_handler(MESHSUB, hold)  # type: ignore[arg-type]
    async with host.run(listen_addrs=[]):
        try:
            await host.connect(info)
            yield peer
        finally:
            await close_host(host)


def uvarint(value: int) -> bytes:
    """An unsigned LEB128 integer."""
    return bytes(encode_uvarint(value))


def framed(body: bytes) -> bytes:
    """Any bytes as a frame."""
    return uvarint(len(body)) + body


def rpc(**fields: Any) -> bytes:
    """A frame of an RPC with these fields."""
    return framed(rpc_pb2.RPC(**fields).SerializeToString())


ENDED = (MuxedConnError,)
"""Errors that an attacker gets after it was dropped, besides those of libp2p."""

"""A stranger on the network: connected to one victim, it sends whatever an attack needs."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import trio
from tests.attacks.mux import GONE, Mux, Stream
from tests.attacks.secure import Identity, Wire, field_of, secured, varint

from methrics._vendor.libp2p.pubsub.pb import rpc_pb2

MESHSUB = "/meshsub/1.1.0"
_seqno = itertools.count(1)


def content_id(topic: str, data: bytes) -> bytes:
    """The id of a message: SPEC.md, section 6."""
    return hashlib.sha256(topic.encode() + b"\0" + data).digest()[:20]


def message(topic: str, data: bytes, identity: Identity, seqno: int | None = None) -> bytes:
    """A validly signed message, as the protobuf that stands in an RPC."""
    number = next(_seqno) if seqno is None else seqno
    body = field_of(1, identity.raw_id) + field_of(2, data)
    body += field_of(3, number.to_bytes(8, "big")) + field_of(4, topic.encode())
    return body + field_of(5, identity.sign(b"libp2p-pubsub:" + body))


def rpc(*messages: bytes, **fields: Any) -> bytes:
    """An RPC behind its length: whole messages, and the fields of `rpc_pb2.RPC`."""
    body = b"".join(field_of(2, one) for one in messages)
    body += rpc_pb2.RPC(**fields).SerializeToString()
    return varint(len(body)) + body


def subscribing(*topics: str, subscribe: bool = True) -> bytes:
    """An RPC that joins (or leaves) topics."""
    return rpc(
        subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=subscribe, topicid=one) for one in topics]
    )


def control(**fields: Any) -> bytes:
    """An RPC of control messages only."""
    return rpc(control=rpc_pb2.ControlMessage(**fields))


class Peer:
    """One connection to a victim. `behave` decides what it does with gossip that it gets."""

    def __init__(self, mux: Mux, identity: Identity) -> None:
        self.mux = mux
        self.identity = identity
        self.rpcs: list[rpc_pb2.RPC] = []
        self.reads = True
        self.grafts = True
        self._topics: tuple[str, ...] = ()
        self._out: Stream | None = None
        mux.handlers[MESHSUB.encode()] = self._gossip
        mux.handlers[b"/ipfs/id/1.0.0"] = self._identify
        mux.handlers[b"/ipfs/ping/1.0.0"] = self._ping

    @property
    def connected(self) -> bool:
        return not self.mux.ended.is_set()

    async def send(self, *frames: bytes) -> None:
        """Send frames on the gossip stream, which is opened when it is first needed."""
        if self._out is None:
            self._out = await self.mux.open(MESHSUB)
        for frame in frames:
            await self._out.send(frame)

    async def publish(self, topic: str, *contents: bytes) -> None:
        """Publish contents under this peer's own signature."""
        for data in contents:
            await self.send(rpc(message(topic, data, self.identity)))

    async def join(self, *topics: str) -> None:
        """Subscribe, and graft into the victim's meshes."""
        self._topics = topics
        await self.send(subscribing(*topics))
        if self.grafts:
            grafts = [rpc_pb2.ControlGraft(topicID=topic) for topic in topics]
            await self.send(control(graft=grafts))

    async def request(self, protocol: str, body: bytes, reply_max: int = 1 << 20) -> bytes:
        """One request and its reply: 4 bytes of length, then the body. EOFError if refused."""
        stream = await self.mux.open(protocol)
        await stream.send(len(body).to_bytes(4, "big") + body)
        await stream.finish()
        size = int.from_bytes(await stream.reader.exactly(4), "big")
        if size > reply_max:
            raise EOFError
        return await stream.reader.exactly(size)

    @property
    def contents(self) -> list[bytes]:
        """The data of all messages that the victim sent."""
        return [one.data for got in self.rpcs for one in got.publish]

    @property
    def offered(self) -> set[bytes]:
        """The ids that the victim's IHAVEs named."""
        named = (have for got in self.rpcs for have in got.control.ihave)
        return {one for have in named for one in have.messageIDs}

    @property
    def grafted(self) -> set[str]:
        """The topics for which the victim grafted this peer."""
        return {one.topicID for got in self.rpcs for one in got.control.graft}

    @property
    def pruned(self) -> list[Any]:
        """The PRUNEs that the victim sent."""
        return [one for got in self.rpcs for one in got.control.prune]

    async def _gossip(self, stream: Stream) -> None:
        while self.reads:
            self.rpcs.append(rpc_pb2.RPC.FromString(await stream.reader.prefixed()))
        await trio.sleep_forever()

    async def _identify(self, stream: Stream) -> None:
        protocols = b"".join(field_of(3, name) for name in self.mux.handlers)
        body = field_of(1, self.identity.public) + protocols + field_of(5, b"ipfs/0.1.0")
        await stream.send(varint(len(body)) + body)
        await stream.finish()

    async def _ping(self, stream: Stream) -> None:
        while True:
            await stream.send(await stream.reader.exactly(32))


HONEST = "127.0.7.1"
HOSTILE = "127.66.6.1"
"""Loopback addresses that connections come from: honest people and strangers have each a network of
their own, as far as a victim can see."""


async def tcp(addr: str, source: str = HOSTILE) -> Wire:
    """A TCP connection to a multiaddress, from one of this machine's loopback addresses."""
    _, _, host, _, port, *_ = addr.split("/")
    return Wire(await trio.open_tcp_stream(host, int(port), local_address=source))


@contextlib.asynccontextmanager
async def stranger(
    addr: str,
    *,
    identity: Identity | None = None,
    reads: bool = True,
    source: str = HOSTILE,
    patience: float = 60,
) -> AsyncIterator[Peer]:
    """A peer connected to `addr`; without `reads` it takes gossip streams and reads nothing. Raises
    TooSlowError if it is not connected after `patience` seconds."""
    identity = identity or Identity()
    wire = await tcp(addr, source)
    async with wire.stream:
        with trio.fail_after(patience):
            mux = Mux(await secured(wire, identity))
            reader = await mux.start()
        peer = Peer(mux, identity)
        peer.reads = reads
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mux.run, reader, nursery)
            try:
                yield peer
            finally:
                nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def strangers(
    addr: str, count: int, *, reads: bool = True, source: str = HOSTILE
) -> AsyncIterator[list[Peer]]:
    """Many peers with keys of their own; fewer than `count`, if the victim refuses some."""
    async with contextlib.AsyncExitStack() as stack:
        peers: list[Peer] = []
        for _ in range(count):
            with contextlib.suppress(*GONE, trio.TooSlowError):
                connecting = stranger(addr, reads=reads, source=source, patience=10)
                peers.append(await stack.enter_async_context(connecting))
        yield peers


async def until_dropped(peer: Peer, seconds: float = 60) -> None:
    """Wait until the victim closes the connection."""
    with trio.fail_after(seconds):
        await peer.mux.ended.wait()

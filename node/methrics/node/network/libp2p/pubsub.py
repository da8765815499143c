"""Receives and sends gossip messages: one verdict per content, one send queue per peer.

It replaces the receiving part of libp2p's `Pubsub`. In stock libp2p 0.8.1:
- a stranger's bytes that do not decode end the host (C1), and so do errors in our code (C2);
- a validator can only accept or reject a message, and each rejection lowers a peer score;
- a message that arrives from three peers is validated three times, in any number of tasks;
- if a gossip stream ends but its connection stays open, the two peers no longer exchange messages
  (C4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
from google.protobuf.message import DecodeError

from methrics._vendor.libp2p.abc import INetStream
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.host.basic_host import BasicHost
from methrics._vendor.libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics._vendor.libp2p.pubsub.pubsub import Pubsub
from methrics._vendor.libp2p.pubsub.rpc_queue import RpcQueue
from methrics._vendor.libp2p.stream_muxer.exceptions import MuxedStreamError, MuxedStreamReset
from methrics.node.network.contents import Contents, content_id
from methrics.node.network.guards import run_validator
from methrics.node.network.libp2p.compat import override
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.router import Router
from methrics.node.network.libp2p.rpc import (
    FrameReader,
    count_parts,
    publish_frame,
    rpc_frame,
    sign,
    validly_signed,
)
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.stream import Stream
from methrics.node.network.swarm import Validator
from methrics.node.token_bucket import TokenBucket
from methrics.schema.wire.verdict import Decision

_WINDOW = 1024 * 1024
"""Most bytes that may arrive on a peer's gossip stream before we read them: one frame of the
largest size."""

_MESSAGES_MAX = 256
"""Most messages in one frame. Fewer fit if each one has a useful size."""

_PARTS_MAX = 10_000
"""Most fields in one frame: twice as many as the ids in the longest IHAVE of go- and js-libp2p."""

_PARTS_PER_MESSAGE = 50
"""This many fields count as one message of a peer's rate, because they need as much time."""

_TOPICS_MAX = 64
_TOPIC_SIZE_MAX = 200
"""Most joined topics that are noted per peer, and most characters of one topic name."""


@dataclass(slots=True)
class Flow:
    """How recently frames were written to one peer."""

    progress: float
    """When a frame was last written, or else when the stream was opened (trio time)."""
    moved: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True)
class _Peer:
    """The state of a peer that sends messages to us, for as long as its gossip stream is open."""

    peer_id: ID
    text: str
    messages: TokenBucket
    bytes: TokenBucket
    slots: trio.Semaphore


class Gossip(Pubsub):
    """The pubsub service of one host. Validators run in `nursery`, which must end after the
    service."""

    def __init__(
        self,
        host: BasicHost,
        router: Router,
        settings: GossipSettings,
        counters: Counters,
        nursery: trio.Nursery,
    ) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,  # C7: the alternative still sends sender and number
            max_subscriptions_per_peer=_TOPICS_MAX,
            max_inbound_rpc_size=settings.frame_max,
        )
        self.seen_messages.stop()  # each instance starts a thread, which otherwise never ends
        self.contents = Contents(ttl=settings.seen_ttl, capacity=settings.seen_max)
        self.validators: dict[str, Validator] = {}
        self.flows: dict[ID, Flow] = {}
        self.changed = trio.Event()
        self._mesh = router
        self._settings = settings
        self._counters = counters
        self._nursery = nursery
        self._slots = trio.Semaphore(settings.validators_max)
        self._readers: dict[ID, int] = {}
        router.knows = self._knows  # type: ignore[method-assign]

    def wake(self) -> None:
        """Wake the tasks that wait for peers."""
        self.changed.set()
        self.changed = trio.Event()

    @override
    def get_hello_packet(self) -> rpc_pb2.RPC:
        """Return the joined topics, without the signed addresses that stock adds."""
        subscriptions = [
            rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic) for topic in self.topic_ids
        ]
        return rpc_pb2.RPC(subscriptions=subscriptions)

    @override
    def _build_announce_rpc(
        self, topic_id: str, subscribe: bool
    ) -> tuple[rpc_pb2.RPC, rpc_pb2.RPC.SubOpts]:
        option = rpc_pb2.RPC.SubOpts(subscribe=subscribe, topicid=topic_id)
        return rpc_pb2.RPC(subscriptions=[option]), option

    @override
    async def stream_handler(self, stream: INetStream) -> None:
        """Read a peer's gossip stream to its end, and then drop the peer's connection (C4).

        If only the stream were opened again, one side might still remember the old one, and would
        not send its joined topics. On a new connection both sides send them.
        """
        peer_id = stream.muxed_conn.peer_id
        if self._readers.get(peer_id, 0) >= 2:
            await stream.reset()
            return
        self._readers[peer_id] = self._readers.get(peer_id, 0) + 1
        self._mesh.hear(peer_id)
        try:
            await self._read(stream, peer_id)
        except (MuxedStreamError, IncompleteReadError):
            pass  # the ordinary end of a stream or connection
        except (DecodeError, MessageTooLarge, UnicodeDecodeError):
            self._counters.malformed += 1
            self._mesh.blame_frame(peer_id)
        finally:
            self._readers[peer_id] -= 1
            if not self._readers[peer_id]:
                del self._readers[peer_id]
                self._mesh.unhear(peer_id)
                self._handle_dead_peer(peer_id)

    async def _read(self, stream: INetStream, peer_id: ID) -> None:
        muxed = getattr(stream, "muxed_stream", None)
        if not isinstance(muxed, Stream):
            raise MuxedStreamReset("not a stream of our muxer")
        muxed.widen(_WINDOW)
        now = trio.current_time()
        peer = _Peer(
            peer_id,
            str(peer_id),
            _one_second(self._settings.message_rate, now),
            _one_second(self._settings.byte_rate, now),
            trio.Semaphore(self._settings.validators_per_peer),
        )
        count_unread = muxed.muxed_conn.count_unread
        reader = FrameReader(muxed.read, self._settings.frame_max, count_unread)
        try:
            while True:
                frame = await reader.next()
                parts = count_parts(frame, _PARTS_MAX)
                if parts > _PARTS_MAX:
                    raise MessageTooLarge("too many parts in one frame")
                rpc = rpc_pb2.RPC()
                rpc.ParseFromString(frame)
                # No signature covers unknown fields, and go-libp2p refuses a message that has them.
                rpc.DiscardUnknownFields()
                await self._take_frame(peer, rpc, len(frame), parts)
        finally:
            reader.close()

    async def _take_frame(self, peer: _Peer, rpc: rpc_pb2.RPC, size: int, parts: int) -> None:
        if len(rpc.publish) > _MESSAGES_MAX or len(rpc.subscriptions) > 2 * _TOPICS_MAX:
            raise MessageTooLarge("too many parts in one frame")
        for option in rpc.subscriptions:
            self.handle_subscription(peer.peer_id, option)
        for message in rpc.publish:
            await self._take_message(peer, message)
        if rpc.HasField("control"):
            await self._mesh.handle_rpc(rpc, peer.peer_id)
        now = trio.current_time()
        units = max(1, len(rpc.publish) + len(rpc.subscriptions), parts // _PARTS_PER_MESSAGE)
        wait = max(peer.messages.spend(units, now), peer.bytes.spend(size, now))
        if wait > 0:
            self._counters.slowed += 1
            await trio.sleep(wait)

    async def _take_message(self, peer: _Peer, message: rpc_pb2.Message) -> None:
        counters, data = self._counters, message.data
        counters.received += 1
        counters.received_bytes += len(data)
        topic = message.topicIDs[0] if len(message.topicIDs) == 1 else ""
        validator = self.validators.get(topic)
        if validator is None or not 0 < len(data) <= self._settings.message_max:
            counters.malformed += 1
            if validator is not None:
                self._mesh.blame(peer.peer_id, topic)
            return
        if not self._mesh.trusted(peer.peer_id, topic):
            counters.limited += 1
            return
        content = content_id(topic, data)
        if not self.contents.arrive(content, peer.text, trio.current_time()):
            counters.duplicates += 1
            if self.contents.decision(content) is Decision.REJECT:
                self._mesh.blame(peer.peer_id, topic)
            return
        if not validly_signed(message):
            self.contents.forget(content)
            counters.malformed += 1
            self._mesh.blame(peer.peer_id, topic)
            return
        # While this waits, no bytes are read from the peer, so its window fills and it must wait.
        try:
            await peer.slots.acquire()
            await self._slots.acquire()
        except trio.Cancelled:
            self.contents.forget(content)  # otherwise `contents` would wait for a verdict for ever
            raise
        self._nursery.start_soon(self._judge, peer, topic, content, message, validator)

    async def _judge(
        self,
        peer: _Peer,
        topic: str,
        content: bytes,
        message: rpc_pb2.Message,
        validator: Validator,
    ) -> None:
        limit = self._settings.validator_time_max
        try:
            decision = await run_validator(validator, peer.text, message.data, limit)
        finally:
            peer.slots.release()
            self._slots.release()
        if decision is None:
            self._counters.validator_errors += 1
            decision = Decision.IGNORE
        forwarders = self.contents.settle(content, decision)
        if decision is Decision.ACCEPT:
            self._counters.accepted += 1
            self._mesh.credit(peer.peer_id, topic)
            self._forward(topic, content, message, {peer.text, *forwarders})
        elif decision is Decision.IGNORE:
            self._counters.ignored += 1
        else:
            self._counters.rejected += 1
            for text in {peer.text, *forwarders}:
                self._mesh.blame(ID.from_string(text), topic)

    def _forward(
        self, topic: str, content: bytes, message: rpc_pb2.Message, known_to: set[str]
    ) -> None:
        frame = publish_frame(message.SerializeToString())
        self._mesh.recent.put(content, topic, frame)
        origin: bytes = message.from_id
        for peer_id in self._mesh.mesh.get(topic, ()):
            if peer_id.to_bytes() != origin and str(peer_id) not in known_to:
                self._mesh.push(peer_id, frame)

    def own_frame(self, topic: str, data: bytes) -> bytes:
        """Sign `data` as a message of this node, note it as known, and return its frame."""
        key = self.sign_key
        if key is None:
            raise RuntimeError("a strictly signing pubsub has a key")
        self.counter += 1
        message = sign(topic, data, self.my_id.to_bytes(), self.counter, key)
        frame = publish_frame(message)
        content = content_id(topic, data)
        self.contents.own(content, trio.current_time())
        self._mesh.recent.put(content, topic, frame)
        return frame

    @override
    async def handle_sending_messages(
        self, peer_id: ID, stream: INetStream, queue: RpcQueue
    ) -> None:
        """Write a peer's queue to its stream. After any error, drop the peer's connection (C4)."""
        flow = self.flows[peer_id] = Flow(trio.current_time())
        muxed = getattr(stream, "muxed_stream", stream)
        try:
            while (item := await queue.pop()) is not None:
                frame = item if isinstance(item, bytes) else rpc_frame(item)
                await muxed.write(frame)
                flow.progress = trio.current_time()
                flow.moved.set()
                flow.moved = trio.Event()
        except BaseLibp2pError:
            self._handle_dead_peer(peer_id)
        except Exception:  # noqa: BLE001 - C2: it would end the host
            self._counters.contained += 1
            self._handle_dead_peer(peer_id)
        finally:
            if self.flows.get(peer_id) is flow:
                del self.flows[peer_id]
                flow.moved.set()

    async def wait_for_room(self, peer_id: ID) -> None:
        """Wait while the peer's queue is long (C6), but at most until no frame was written to the
        peer for `stall_max` seconds."""
        while True:
            queue, flow = self.peer_queues.get(peer_id), self.flows.get(peer_id)
            if queue is None or flow is None or len(queue) < self._settings.queue_wait:
                return
            patience = flow.progress + self._settings.stall_max - trio.current_time()
            if patience <= 0:
                return
            with trio.move_on_after(patience):
                await flow.moved.wait()

    @override
    def handle_subscription(self, origin_id: ID, sub_message: rpc_pb2.RPC.SubOpts) -> None:
        topic: object = sub_message.topicid  # protobuf returns bytes if they are not UTF-8
        if isinstance(topic, str) and 0 < len(topic) <= _TOPIC_SIZE_MAX:
            super().handle_subscription(origin_id, sub_message)
            self.wake()

    @override
    async def _handle_new_peer(self, peer_id: ID) -> None:
        await super()._handle_new_peer(peer_id)
        self.wake()

    @override
    def _handle_dead_peer(self, peer_id: ID) -> None:
        super()._handle_dead_peer(peer_id)
        self.wake()
        if self.manager.is_running and self._peer_is_connected(peer_id):
            self.manager.run_task(self._drop, peer_id)

    @override
    def _schedule_peer_stream_retry(self, peer_id: ID) -> None:
        """Does nothing. Stock opens a new stream here, but the connection is being dropped."""

    async def _drop(self, peer_id: ID) -> None:
        with trio.move_on_after(5) as scope:
            scope.shield = True  # if cancelled, it would not wake tasks that await the disconnect
            await self.host.disconnect(peer_id)

    def _knows(self, content: bytes) -> bool:
        return self.contents.knows(content, trio.current_time())


def _one_second(rate: float, now: float) -> TokenBucket:
    """Return a token bucket that allows a burst of as many tokens as it gains in one second."""
    return TokenBucket(rate=rate, size=rate, now=now)

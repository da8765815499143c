"""The gossip service of one host: it carries frames between the pure mesh and the peers.

Theory of operation. `methrics.node.mesh` decides everything; this service does input and output:
- For each connected peer runs one task, which opens our gossip stream to the peer and writes what
  waits in the peer's bounded queue. So a slow peer delays nobody else.
- For each gossip stream that a peer opens to us runs the host's task for that stream. It reads
  frames at a bounded rate, and gives them to the mesh.
- `dispatch` carries out what the mesh asks for after each input. It never waits.
- Validators run in tasks of their own (`validation.py`), and so do dials of peers that other peers
  have named (`exchange.py`).
- One task calls the heartbeat.

When a gossip stream ends, its connection is closed (C4 in tests/wire/gossip). If only the stream
were opened again, one side might still remember the old one, and would not send its joined topics.
On a new connection both sides send them.
"""

from __future__ import annotations

import random

import trio

from methrics._vendor.libp2p.abc import INetConn, INetStream
from methrics._vendor.libp2p.custom_types import TProtocol
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from methrics._vendor.libp2p.stream_muxer.exceptions import MuxedStreamError
from methrics.node.mesh.core import Mesh
from methrics.node.mesh.outputs import Dial, Drop, Judge, Send
from methrics.node.mesh.rpc import Rpc
from methrics.node.mesh.wire import WireError, cost, decode, encode
from methrics.node.network.guards import on_topic
from methrics.node.network.libp2p.contain import contained
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.exchange import Exchange
from methrics.node.network.libp2p.frames import GoAway
from methrics.node.network.libp2p.framing import FrameReader, SlowFrameError
from methrics.node.network.libp2p.muxer import Muxer
from methrics.node.network.libp2p.network import GuardedSwarm, QuietHost
from methrics.node.network.libp2p.notifee import Notifee
from methrics.node.network.libp2p.peer import Peer
from methrics.node.network.libp2p.sendqueue import Held
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.signing import sign
from methrics.node.network.libp2p.stream import Stream
from methrics.node.network.libp2p.validation import Validation
from methrics.node.network.swarm import PeerId, Validator

PROTOCOLS = (TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0"))
"""The protocols of our gossip streams, the preferred one first, and of those that we accept.
(Version 1.2 would make peers send an IDONTWANT for each message, which costs more than it saves at
our sizes.)"""

_WINDOW = 1024 * 1024
"""Most bytes that may arrive on a peer's gossip stream before we read them: one frame of the
largest size."""

_READERS_MAX = 2
"""Most gossip streams that one peer may have open to us: one, and a newer one that replaces it."""

_OPEN_TRIES = 3
"""Times that we try to open a gossip stream to a peer that has opened one to us."""

_MESH_PROGRESS = 1024
"""Bytes per heartbeat that a mesh peer counts as having moved, at least, so that it is not idle
while nobody publishes."""


class Gossip:
    """The gossip service. Its tasks run in `nursery`, which must end after the host."""

    def __init__(
        self,
        host: QuietHost,
        network: GuardedSwarm,
        exchange: Exchange,
        settings: GossipSettings,
        counters: Counters,
        nursery: trio.Nursery,
        rng: random.Random,
    ) -> None:
        self.mesh = Mesh(settings.mesh)
        self.validation = Validation(self.mesh, settings, counters, nursery, self._dispatch_soon)
        self.direct: set[PeerId] = set()
        self.changed = trio.Event()
        self._host = host
        self._network = network
        self._exchange = exchange
        self._settings = settings
        self._counters = counters
        self._nursery = nursery
        self._rng = rng
        self._peers: dict[PeerId, Peer] = {}
        self._held = Held()
        self._moved = trio.Event()
        self._seqno = int.from_bytes(rng.randbytes(6), "big")
        exchange.note_record = self.mesh.note_record
        for protocol in PROTOCOLS:
            host.set_stream_handler(protocol, self._serve_stream)
        network.register_notifee(Notifee(self._connected, self._disconnected))

    async def run(self) -> None:
        """Call the heartbeat until cancelled."""
        while True:
            await trio.sleep(self._settings.mesh.heartbeat)
            await contained(self._counters, self._beat)

    async def _beat(self) -> None:
        now = trio.current_time()
        for topic in self.validation.validators:
            for text in self.mesh.mesh_peers(topic):
                if text in self._peers:
                    self._network.places.progress(self._peers[text].muxer, _MESH_PROGRESS)
        self.mesh.heartbeat(now, self._rng)
        self._dispatch_soon()

    def join(self, topic: str, validator: Validator) -> None:
        """Subscribe to a topic."""
        self.validation.validators[topic] = validator
        self.mesh.join(topic, trio.current_time())
        self._dispatch_soon()

    def publish(self, topic: str, data: bytes) -> int:
        """Sign a message and queue it for the peers of its topic. Return the number of peers for
        which it was queued."""
        self._seqno += 1
        key, sender = self._host.get_private_key(), self._host.get_id().to_bytes()
        self.mesh.publish(sign(topic, data, sender, self._seqno, key), trio.current_time())
        judges, queued = self._dispatch()
        self._judge_soon(judges)
        return queued

    def judge_again(self, topic: str, on: bytes) -> int:
        """Judge again what waits for `on` on a topic; return the number of messages."""
        found = self.mesh.again(on_topic(topic, on), trio.current_time())
        self._dispatch_soon()
        return found

    def make_direct(self, peer: PeerId) -> None:
        """Treat a peer as direct from now on."""
        self.direct.add(peer)
        known = self._peers.get(peer)
        if known is not None and known.met:
            self._introduce(known)

    def topic_peers(self, topic: str) -> frozenset[PeerId]:
        """Return the peers that have joined a topic, and to which we can send."""
        return frozenset(
            text
            for text in self.mesh.topic_peers(topic)
            if (peer := self._peers.get(text)) is not None and peer.writable
        )

    def dialled_peers(self) -> frozenset[PeerId]:
        """Return the connected peers that this node has dialled, because `dial` or `keep` named
        them."""
        return frozenset(text for text, peer in self._peers.items() if self._chosen(peer))

    def _chosen(self, peer: Peer) -> bool:
        return peer.muxer.is_initiator and peer.peer_id in self._network.listed

    async def wait_for_room(self, topic: str) -> None:
        """Return once `room_peers` of the topic's peers have room, or all of them if they are
        fewer, or after `room_time`."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._settings.room_time):
            while True:
                peers = self.topic_peers(topic)
                free = sum(self._peers[text].queue.has_room for text in peers)
                if free >= min(self._settings.room_peers, len(peers)):
                    return
                await self._moved.wait()

    async def flush(self) -> None:
        """Return once everything queued was written, or after `linger`, even if cancelled."""
        with trio.move_on_after(self._settings.linger) as scope:
            scope.shield = True
            while any(peer.busy for peer in self._peers.values()):
                await self._moved.wait()

    def _connected(self, conn: INetConn) -> None:
        if isinstance(conn.muxed_conn, Muxer):
            self._know(conn.muxed_conn)

    def _disconnected(self, conn: INetConn) -> None:
        """Forget a peer whose connection has ended. Frames that it sent before may still be read,
        so its readers end first."""
        muxer = conn.muxed_conn
        peer = self._peers.get(str(muxer.peer_id))
        if peer is None or peer.muxer is not muxer:
            return
        peer.scope.cancel()
        if not peer.readers:
            self._forget(peer)
        for other in self._network.get_connections(muxer.peer_id):
            self._connected(other)

    def _know(self, muxer: Muxer) -> Peer | None:
        """Return the state of the peer on a connection; make it if there is none, or if the peer
        had it on a connection that has ended. None if the connection is ending."""
        peer = self._peers.get(str(muxer.peer_id))
        if peer is not None and (peer.muxer is muxer or not peer.muxer.is_ending):
            return peer
        if muxer.is_ending:
            return None
        if peer is not None:
            self._forget(peer)
        peer = self._peers[str(muxer.peer_id)] = Peer(muxer, self._settings, self._held)
        self._nursery.start_soon(contained, self._counters, self._run_peer, peer)
        return peer

    def _forget(self, peer: Peer) -> None:
        if self._peers.get(peer.text) is peer:
            del self._peers[peer.text]
        peer.scope.cancel()
        peer.ready.set()
        peer.queue.clear()
        if peer.met:
            peer.met = False
            self.mesh.disconnected(peer.text, trio.current_time())
            self._dispatch_soon()
        self._wake()

    def _meet(self, peer: Peer) -> None:
        """Tell the mesh that a peer is connected. If it knows that already, the peer has got none
        of what was sent to it."""
        if peer.met:
            self.mesh.renewed(peer.text)
            self._dispatch_soon()
            return
        peer.met = True
        self._introduce(peer)

    def _introduce(self, peer: Peer) -> None:
        self.mesh.connected(
            peer.text,
            trio.current_time(),
            outbound=self._chosen(peer),
            direct=peer.text in self.direct,
            origin=peer.muxer.origin,
        )
        self._dispatch_soon()

    async def _run_peer(self, peer: Peer) -> None:
        """Open our gossip stream to a peer and write to it, until the connection ends."""
        with peer.scope:
            for n in range(_OPEN_TRIES):
                stream = await self._open(peer)
                if stream is not None:
                    peer.writable = True
                    self._meet(peer)
                    peer.ready.set()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(contained, self._counters, self._write, peer, stream)
                        await stream.wait_closed()
                        nursery.cancel_scope.cancel()
                    self._drop(peer.muxer)
                    break
                peer.ready.set()  # it may still send to us
                await peer.heard.wait()
                await trio.sleep(n)
        peer.writable = False
        self._wake()

    async def _open(self, peer: Peer) -> Stream | None:
        """Open a gossip stream. Return None if the peer does not take it."""
        with trio.move_on_after(self._settings.negotiate_time_max):
            try:
                stream = await self._host.new_stream(peer.peer_id, PROTOCOLS)
            except BaseLibp2pError:
                return None
            muxed = getattr(stream, "muxed_stream", None)
            return muxed if isinstance(muxed, Stream) else None
        return None

    async def _write(self, peer: Peer, stream: Stream) -> None:
        """Write a peer's queue to its stream until that fails, and then close the stream."""
        try:
            while True:
                rpc = await peer.next()
                peer.writing = True
                await stream.write(encode(rpc))
                peer.writing = False
                self._wake_moved()
        except BaseLibp2pError:
            pass  # the ordinary end of a stream or connection
        finally:
            peer.writing = False
            stream.break_off()

    async def _serve_stream(self, stream: INetStream) -> None:
        """Read a peer's gossip stream to its end, and then close the peer's connection (C4)."""
        muxer, muxed = stream.muxed_conn, getattr(stream, "muxed_stream", None)
        if not (isinstance(muxer, Muxer) and isinstance(muxed, Stream)):
            raise TypeError("a connection of our host has our muxer")
        peer = self._know(muxer)
        if peer is None or peer.readers >= _READERS_MAX:
            await stream.reset()
            return
        peer.readers += 1
        peer.heard.set()
        try:
            await peer.ready.wait()
            if not peer.met:
                self._meet(peer)
            await self._read(peer, muxed)
        except (MuxedStreamError, IncompleteReadError):
            pass  # the ordinary end of a stream or connection
        except (WireError, MessageTooLarge, SlowFrameError):
            self._counters.malformed += 1
            self.mesh.blame(peer.text, trio.current_time())
        finally:
            peer.readers -= 1
            if not peer.readers:
                self._drop(muxer)
                self._forget(peer)

    async def _read(self, peer: Peer, muxed: Stream) -> None:
        muxed.widen(_WINDOW)
        settings = self._settings
        reader = FrameReader(
            muxed.read,
            settings.frame_max,
            muxed.muxed_conn.count_unread,
            grace=settings.read_grace,
            rate=settings.rate_least,
        )
        try:
            while True:
                frame = await reader.next()
                rpc = decode(frame)
                await self._take_frame(peer, rpc, len(frame))
        finally:
            reader.close()

    async def _take_frame(self, peer: Peer, rpc: Rpc, size: int) -> None:
        self.mesh.frame(peer.text, rpc, trio.current_time())
        judges, _ = self._dispatch()
        if rpc.subscriptions:
            self._wake()
            if self._shares_topic(peer):
                self._exchange.consider(peer.muxer)
        judges = [judge for judge in judges if self.validation.is_genuine(judge)]
        for n, judge in enumerate(judges):
            try:
                await self.validation.start(judge, peer)
            except trio.Cancelled:
                for left in judges[n + 1 :]:
                    self.validation.give_up(left)
                raise
        now = trio.current_time()
        wait = max(peer.messages.spend(cost(rpc), now), peer.bytes.spend(size, now))
        if wait > 0:
            self._counters.slowed += 1
            await trio.sleep(wait)

    def _shares_topic(self, peer: Peer) -> bool:
        return any(
            peer.text in self.mesh.topic_peers(topic) for topic in self.validation.validators
        )

    def _dispatch_soon(self) -> None:
        """Carry out what the mesh asks for, in a place that may not wait."""
        judges, _ = self._dispatch()
        self._judge_soon(judges)

    def _judge_soon(self, judges: list[Judge]) -> None:
        for judge in judges:
            self.validation.start_soon(judge)

    def _dispatch(self) -> tuple[list[Judge], int]:
        """Carry out what the mesh asks for. Return the messages to judge, and the number of frames
        with messages that were queued."""
        judges: list[Judge] = []
        queued = 0
        for output in self.mesh.take():
            match output:
                case Send():
                    queued += self._send(output)
                case Judge():
                    judges.append(output)
                case Dial(peer_id, record):
                    self._nursery.start_soon(
                        contained, self._counters, self._exchange.dial, peer_id, record
                    )
                case Drop(text):
                    peer = self._peers.get(text)
                    if peer is not None:
                        self._drop(peer.muxer)
        return judges, queued

    def _send(self, send: Send) -> bool:
        """Queue a frame; return whether messages were queued."""
        peer = self._peers.get(send.peer)
        if peer is None or not peer.writable:
            return False  # it has left, or takes nothing
        left = peer.put(send.rpc)
        if left is not None:
            self._unsent(peer, left)
            return False
        while self._held.bytes > self._settings.queues_bytes:
            longest = max(self._peers.values(), key=lambda one: one.queue.bytes)
            for rpc in longest.queue.clear():
                self._unsent(longest, rpc)
        return bool(send.rpc.messages)

    def _unsent(self, peer: Peer, rpc: Rpc) -> None:
        self._counters.unsent += len(rpc.messages)
        self.mesh.unsent(Send(peer.text, rpc), trio.current_time())

    def _drop(self, muxer: Muxer) -> None:
        """Close a connection; both sides may connect again."""
        muxer.end(GoAway.NORMAL)

    def _wake(self) -> None:
        """Wake the tasks that wait for peers."""
        self.changed.set()
        self.changed = trio.Event()
        self._wake_moved()

    def _wake_moved(self) -> None:
        """Wake the tasks that wait for room in queues."""
        self._moved.set()
        self._moved = trio.Event()

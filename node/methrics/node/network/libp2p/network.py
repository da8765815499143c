"""A libp2p host that is safe on an open network, with TCP, Noise and Yamux only.

Each override states what libp2p 0.8.1 ("stock") does instead, and why that is changed. Numbers such
as C1 refer to the regression tests in tests/wire/gossip/test_gossip_stock.py.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from collections.abc import Callable
from typing import Any

import trio
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from multiaddr.utils import get_network_addrs  # type: ignore[import-untyped]

from methrics._vendor.libp2p.abc import (
    IMuxedConn,
    INetConn,
    INetStream,
    IRawConnection,
    ISecureConn,
)
from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from methrics._vendor.libp2p.custom_types import StreamHandlerFn, TProtocol
from methrics._vendor.libp2p.host.basic_host import BasicHost
from methrics._vendor.libp2p.identity.identify_push.identify_push import ID_PUSH
from methrics._vendor.libp2p.io.abc import ReadWriteCloser
from methrics._vendor.libp2p.metrics.swarm import SwarmEvent
from methrics._vendor.libp2p.network.config import ConnectionConfig
from methrics._vendor.libp2p.network.connection.raw_connection import RawConnection
from methrics._vendor.libp2p.network.connection.swarm_connection import SwarmConn
from methrics._vendor.libp2p.network.exceptions import SwarmException
from methrics._vendor.libp2p.network.swarm import Swarm
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerstore import PeerStore
from methrics._vendor.libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from methrics._vendor.libp2p.security.noise.transport import Transport as Noise
from methrics._vendor.libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from methrics._vendor.libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from methrics._vendor.libp2p.stream_muxer.yamux.yamux import Yamux
from methrics._vendor.libp2p.transport.tcp.tcp import TCP
from methrics._vendor.libp2p.transport.upgrader import TransportUpgrader
from methrics.node.network.libp2p.compat import override
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.frames import GoAway
from methrics.node.network.libp2p.muxer import Muxer, Unread, stream_shares
from methrics.node.network.libp2p.places import Place, Places
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.stream import Stream
from methrics.node.network.origins import Origins
from methrics.node.shares import Shares

_CHUNK = 65_536

_LOOPBACK = {"ip4": "127.0.0.1", "ip6": "::1"}

_LOCAL_HOSTS_MAX = 4
"""Most addresses of this machine that are noted."""


class BufferedStream(ReadWriteCloser):
    """Reads ahead, so that the 2-byte length of each Noise message needs no system call.

    It also never asks the socket for more bytes than its buffer holds. The stock reader asks for
    any length that a stranger announces, even before the handshake.
    """

    def __init__(self, stream: ReadWriteCloser) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0

    @override
    async def read(self, n: int | None = None) -> bytes:
        if self._at == len(self._buffer):
            self._buffer = await self._stream.read(_CHUNK)
            self._at = 0
        if n is None:
            n = _CHUNK
        data = self._buffer[self._at : self._at + n]
        self._at += len(data)
        return data

    @override
    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    @override
    async def close(self) -> None:
        await self._stream.close()

    @override
    def get_remote_address(self) -> tuple[str, int] | None:
        return self._stream.get_remote_address()


class _Muxers(MuxerMultistream):
    """Makes a `Muxer` for every connection; stock makes its own muxer."""

    settings: GossipSettings
    all_unread: Unread
    all_streams: Shares[Muxer]
    origins: Origins
    listed: set[ID]

    @override
    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        origin = self.origins.token(_host_of(conn))
        muxer = Muxer(
            conn,
            peer_id,
            self.settings,
            self.all_unread,
            self.all_streams,
            origin,
            self.listed,
        )
        return self._annotate_connection(muxer, conn, protocol)


def _host_of(conn: ISecureConn | IRawConnection | ReadWriteCloser) -> str | None:
    """Return the IP address of the other side, if the transport knows it."""
    address = conn.get_remote_address()
    return None if address is None else address[0]


class _ConnectionEndedError(Exception):
    """Ends the task of an inbound connection; caught by the swarm, which frees its slot."""


class GuardedSwarm(Swarm):
    """Mends C1, C2 and C3 (see its methods), shares the places for connections fairly, and forgets
    the addresses of peers that disconnect."""

    counters: Counters
    places: Places
    origins: Origins
    listed: set[ID]
    """Peers that the operator or the app has named."""
    dialling: set[ID]
    """Peers that are being dialled."""
    local_hosts: set[str]
    """The addresses of this machine to which peers have connected."""
    _admitted: dict[ReadWriteCloser, Place]

    @override
    def set_stream_handler(self, stream_handler: StreamHandlerFn) -> None:
        """C1, C2: in stock, an exception in a stream handler ends the host. Here it resets the
        stream."""

        async def guarded(stream: INetStream) -> None:
            try:
                await stream_handler(stream)
            except Exception:  # noqa: BLE001 - the edge towards strangers
                self.counters.contained += 1
                await stream.reset()
            finally:  # stock leaves the stream open, and it counts as one of the peer's streams
                muxed = getattr(stream, "muxed_stream", None)
                if isinstance(muxed, Stream):
                    muxed.release()

        super().set_stream_handler(guarded)

    @override
    async def _handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr
    ) -> None:
        """Accept a connection if there is a place for it. C3: stock counts the connections of the
        swarm's whole life, and refuses a newcomer while idle connections hold all places."""
        place = self.places.take(self.origins.token(_host_of(read_write_closer)), listed=False)
        if place is not None:
            self._admitted[read_write_closer] = place
            self._note_local(read_write_closer)
            try:
                with place.scope:
                    await self._do_handle_inbound_connection(read_write_closer, maddr, SwarmEvent())
            finally:
                del self._admitted[read_write_closer]
                self.places.give(place)
        with trio.move_on_after(1) as scope, contextlib.suppress(Exception):
            scope.shield = True
            await read_write_closer.close()

    def _note_local(self, read_write_closer: ReadWriteCloser) -> None:
        stream = getattr(read_write_closer, "stream", None)
        if isinstance(stream, trio.SocketStream):
            with contextlib.suppress(OSError):
                host = str(stream.socket.getsockname()[0])
                if len(self.local_hosts) < _LOCAL_HOSTS_MAX:
                    self.local_hosts.add(host)

    @override
    async def upgrade_inbound_raw_conn(
        self, raw_conn: IRawConnection, maddr: Multiaddr
    ) -> IMuxedConn:
        """C3: stock keeps the task of an inbound connection until the swarm ends. Here it ends with
        the connection."""
        place: Place | None = None
        if isinstance(raw_conn, RawConnection):
            place = self._admitted.get(raw_conn.stream)
            raw_conn.stream = BufferedStream(raw_conn.stream)
        muxed = await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        if isinstance(muxed, Muxer):
            if place is None or not self._settle(place, muxed):
                muxed.end(GoAway.NORMAL)
            await muxed.event_closed.wait()
        raise _ConnectionEndedError

    @override
    async def upgrade_outbound_raw_conn(
        self, raw_conn: IRawConnection, peer_id: ID, pre_scope: Any = None
    ) -> SwarmConn:
        origin = self.origins.token(_host_of(raw_conn))
        if isinstance(raw_conn, RawConnection):
            raw_conn.stream = BufferedStream(raw_conn.stream)
        place = self.places.take(origin, listed=peer_id in self.listed)
        if place is None:
            await raw_conn.close()
            raise SwarmException("all places for connections are taken")
        settled = False
        try:
            conn = await super().upgrade_outbound_raw_conn(raw_conn, peer_id, pre_scope)
            if isinstance(conn.muxed_conn, Muxer):
                settled = self._settle(place, conn.muxed_conn)
                if not settled:
                    conn.muxed_conn.end(GoAway.NORMAL)
            return conn
        finally:
            if not settled:
                self.places.give(place)

    def _settle(self, place: Place, muxer: Muxer) -> bool:
        return self.places.settle(place, muxer, listed=muxer.peer_id in self.listed)

    @override
    async def notify_disconnected(self, conn: INetConn) -> None:
        """Forget a peer's addresses (MARS-2, DEB-9) and failed dials when its last connection ends.
        Stock refuses to dial a peer for 60 s after a failed dial. A dial that runs needs the
        address, and forgets it itself if it fails."""
        await super().notify_disconnected(conn)
        peer_id = conn.muxed_conn.peer_id
        if not self.get_connections(peer_id) and peer_id not in self.dialling:
            self.forget(peer_id)

    def forget(self, peer_id: ID) -> None:
        """Remove a peer from the peerstore and from libp2p's records of failed dials."""
        self.unblock_peer(peer_id)
        self.auto_connector._recent_disconnects.pop(peer_id, None)
        if peer_id != self.self_id and peer_id in self.peerstore.peer_ids():
            self.peerstore.clear_peerdata(peer_id)

    @override
    def _schedule_auto_connect(self) -> None:
        """Does nothing. Stock dials peers of its peerstore here when it has few connections."""


def interface_hosts(name: str) -> list[str]:
    """Return the addresses of this machine's interfaces of the protocol "ip4" or "ip6", loopback
    last. Link-local ones are left out: to dial one takes the name of an interface, too."""
    with contextlib.suppress(OSError):  # the system may not let the process ask
        found = get_network_addrs(4 if name == "ip4" else 6)
        outer = [one for one in found if not ipaddress.ip_address(one).is_loopback]
        return [*dict.fromkeys(outer), _LOOPBACK[name]]
    return [_LOOPBACK[name]]


class QuietHost(BasicHost):
    """Answers identify and ping requests, sends none by itself, and ignores addresses that peers
    push."""

    def __init__(self, network: GuardedSwarm) -> None:
        self._guarded = network  # before the rest is made, which asks for the addresses
        super().__init__(network, disable_identify_address_discovery=True)
        self.multiselect.remove_handler(ID_PUSH)

    @override
    def get_addrs(self) -> list[Multiaddr]:
        """Return the addresses to dial, for the signed record. If the host listens on all
        interfaces, these are the ones that peers have used. (Stock names 0.0.0.0.)"""
        used = sorted(self._guarded.local_hosts)
        return self._with_hosts(
            lambda name: [one for one in used if (":" in one) == (name == "ip6")]
        )

    def interface_addrs(self) -> list[Multiaddr]:
        """Return the addresses to dial, for people. If the host listens on all interfaces, these
        are those of this machine's interfaces, loopback last."""
        return self._with_hosts(interface_hosts)

    def listen_addrs(self) -> list[Multiaddr]:
        """Return the addresses on which the host listens."""
        return super().get_addrs()

    def _with_hosts(self, hosts: Callable[[str], list[str]]) -> list[Multiaddr]:
        """Return the addresses on which the host listens, each that means all interfaces replaced
        by those with `hosts` of its protocol, "ip4" or "ip6"."""
        found: list[Multiaddr] = []
        for addr in self.listen_addrs():
            name, host = addr.protocols()[0].name, addr.value_for_protocol(addr.protocols()[0].code)
            if not ipaddress.ip_address(host).is_unspecified:
                found.append(addr)
                continue
            rest = str(addr).removeprefix(f"/{name}/{host}")
            found.extend(Multiaddr(f"/{name}/{one}{rest}") for one in hosts(name))
        return found

    @override
    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        """Does nothing. Stock asks the peer for its addresses and keeps them; they are not
        needed."""


def build_host(seed: bytes | None, settings: GossipSettings, counters: Counters) -> QuietHost:
    """Return a host whose key is made from `seed` (32 bytes), or, if it is None, a new key that is
    not stored."""
    origins = Origins(secrets.token_bytes(32))
    key_pair = create_new_key_pair(seed if seed is not None else secrets.token_bytes(32))
    peer_id = ID.from_pubkey(key_pair.public_key)
    # C9: libp2p's own `new_host` also accepts plaintext and offers secio.
    noise = Noise(key_pair, noise_privkey=create_new_x25519_key_pair().private_key)
    security = {TProtocol(NOISE): noise}
    muxers = {TProtocol(YAMUX): Yamux}
    upgrader = TransportUpgrader(security, muxers)
    own_muxers = _Muxers(muxers)
    own_muxers.settings = settings
    own_muxers.all_unread = Unread(settings.unread_max)
    own_muxers.all_streams = stream_shares(settings)
    own_muxers.origins = origins
    own_muxers.listed = set()
    upgrader.muxer_multistream = own_muxers
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    most = 2 * settings.connections_max  # `Places` is stricter, and counts those that still close
    negotiate = settings.negotiate_time_max
    swarm = GuardedSwarm(
        peer_id,
        peerstore,
        upgrader,
        [TCP()],
        connection_config=ConnectionConfig(
            min_connections=0,
            low_watermark=0,
            high_watermark=most,
            max_connections=most,
            inbound_upgrade_timeout=settings.dial_time_max,
            outbound_upgrade_timeout=settings.dial_time_max,
            inbound_stream_protocol_negotiation_timeout=negotiate,
            outbound_stream_protocol_negotiation_timeout=negotiate,
        ),
    )
    swarm.counters = counters
    swarm.places = Places(settings, counters)
    swarm.origins = origins
    swarm.listed = own_muxers.listed
    swarm.dialling = set()
    swarm.local_hosts = set()
    swarm._admitted = {}
    return QuietHost(swarm)


async def close_host(host: BasicHost) -> None:
    """Close the sockets that `host.run` leaves open. Takes at most 3 s, even if cancelled."""
    with trio.move_on_after(3) as scope:
        scope.shield = True
        await host.close()

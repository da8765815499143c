"""Parses addresses, checks those to listen on, dials them, and redials kept peers."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import AsyncIterator

import trio
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from methrics.node.backoff import Backoff
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.network import GuardedSwarm, QuietHost
from methrics.node.network.libp2p.notifee import Notifee
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.schema.errors import ConfigError, UnreachableError

_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_LISTEN_FORM = "use the form /ip4/0.0.0.0/tcp/4001"
_FAMILIES = {
    "dns": socket.AF_UNSPEC,
    "dns4": socket.AF_INET,
    "dns6": socket.AF_INET6,
}
"""Which addresses of a host name each protocol allows."""

_PEER_FORM = "use the form /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW..."


def parse_listen(addr: str) -> Multiaddr:
    """Parse a TCP address to listen on, like /ip4/0.0.0.0/tcp/4001. Raises `ConfigError`."""
    parsed = _parse(addr, _LISTEN_FORM)
    names = [protocol.name for protocol in parsed.protocols()]
    if names[:1] and names[0] in _FAMILIES:
        raise ConfigError(
            "bad-address",
            f"cannot listen on the host name in {addr!r}",
            "give an IP address, such as /ip4/127.0.0.1/tcp/4001",
        )
    if len(names) != 2 or names[0] not in ("ip4", "ip6") or names[1] != "tcp":
        raise ConfigError("bad-address", f"cannot listen on {addr!r}", _LISTEN_FORM)
    return parsed


def parse_peer_addr(addr: str) -> PeerInfo:
    """Parse a peer's TCP address with its peer id. Raises `ConfigError`."""
    parsed = _parse(addr, _PEER_FORM)
    names = [protocol.name for protocol in parsed.protocols()]
    if len(names) != 3 or names[0] not in _HOSTS or names[1:] != ["tcp", "p2p"]:
        raise ConfigError("bad-address", f"{addr!r} is not the address of a peer", _PEER_FORM)
    try:
        return info_from_p2p_addr(parsed)
    except (BaseLibp2pError, ValueError):
        raise ConfigError("bad-address", f"{addr!r} holds no valid peer id", _PEER_FORM) from None


def _parse(addr: str, form: str) -> Multiaddr:
    try:
        parsed = Multiaddr(addr)
        list(parsed.protocols())
    except Exception:  # noqa: BLE001 - multiaddr passes on the errors of many parsers
        raise ConfigError("bad-address", f"{addr!r} is not a multiaddr", form) from None
    return parsed


def check_free(addr: Multiaddr) -> None:
    """Raise `ConfigError` if the port is in use or the address is not one of this machine.

    libp2p listens with SO_REUSEPORT. So a second process of the same user could listen on the same
    port, and would get half of the first one's connections without an error in either.
    """
    family = socket.AF_INET6 if addr.protocols()[0].name == "ip6" else socket.AF_INET
    host = addr.value_for_protocol("ip6" if family is socket.AF_INET6 else "ip4")
    port = int(addr.value_for_protocol("tcp") or 0)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            reason = "the port is in use" if in_use else str(error.strerror)
            raise ConfigError(
                "cannot-listen", f"cannot listen on {addr}: {reason}", "choose another port"
            ) from None


async def addresses(addr: Multiaddr) -> list[Multiaddr]:
    """Return the TCP addresses to dial for `addr`. A host name is looked up as other programs of
    this machine do, in /etc/hosts too. (Stock libp2p asks a name server only, and does not find
    localhost.) Raises OSError if the name has no address."""
    protocol = addr.protocols()[0].name
    family = _FAMILIES.get(protocol)
    if family is None:
        return [addr]
    host, port = addr.value_for_protocol(protocol), addr.value_for_protocol("tcp")
    try:
        found = await trio.socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long, for example
        raise OSError(f"{host!r} is not a host name") from error
    ips = dict.fromkeys((kind, str(place[0])) for kind, _, _, _, place in found)
    return [
        Multiaddr(f"/{'ip6' if kind == socket.AF_INET6 else 'ip4'}/{ip}/tcp/{port}")
        for kind, ip in ips
        if "%" not in ip  # a link-local address, valid on one interface only
    ]


class Dialer:
    """Connects a host to addresses. (Stock libp2p stops to dial a bootstrap peer after three
    failures.)"""

    def __init__(
        self,
        host: QuietHost,
        network: GuardedSwarm,
        settings: GossipSettings,
        counters: Counters,
        rng: random.Random,
    ) -> None:
        self._host = host
        self._network = network
        self._settings = settings
        self._counters = counters
        self._rng = rng
        self._kept: dict[ID, trio.Event] = {}
        self._dials: dict[ID, trio.Lock] = {}
        network.register_notifee(Notifee(ended=lambda conn: self.left(conn.muxed_conn.peer_id)))

    def left(self, peer_id: ID) -> None:
        """Note that a connection of `peer_id` has ended."""
        ended = self._kept.get(peer_id)
        if ended is not None:
            self._kept[peer_id] = trio.Event()
            ended.set()

    async def dial(self, info: PeerInfo, *, listed: bool = False) -> None:
        """Make one attempt to connect, after any other dial of this peer has ended. Returns at once
        if the peer is connected by then. Raises `UnreachableError` if the attempt fails, also if
        there is no place for a peer that is not listed."""
        if info.peer_id == self._host.get_id():
            raise UnreachableError("dial-failed", "the address is our own")
        if listed:
            self._network.listed.add(info.peer_id)
        async with self._alone(info.peer_id):
            try:
                with trio.move_on_after(self._settings.dial_time_max):
                    await self._try_each(info)
            finally:  # also when cancelled
                connected = self._connected(info.peer_id)
                if not connected:
                    self._network.forget(info.peer_id)
        if not connected:
            self._counters.dials_failed += 1
            raise UnreachableError(
                "dial-failed", "the peer does not answer at that address", "it may be down"
            )

    @contextlib.asynccontextmanager
    async def _alone(self, peer_id: ID) -> AsyncIterator[None]:
        """Wait until no other dial of the peer runs. libp2p makes one dial per peer, so a second
        address would share the failure of the first."""
        lock = self._dials.setdefault(peer_id, trio.Lock())
        async with lock:
            self._network.dialling.add(peer_id)
            try:
                yield
            finally:
                self._network.dialling.discard(peer_id)
                if not lock.statistics().tasks_waiting:
                    del self._dials[peer_id]

    async def _try_each(self, info: PeerInfo) -> None:
        """Dial the addresses of a peer in turn until one connects. Each gets an equal part of the
        time that is left. (Stock libp2p dials only one TCP address of a peer.)"""
        found: list[Multiaddr] = []
        for addr in [] if self._connected(info.peer_id) else info.addrs:
            with contextlib.suppress(OSError):
                found += await addresses(addr)
        for tried, addr in enumerate(found):
            left = trio.current_effective_deadline() - trio.current_time()
            with trio.move_on_after(max(0.0, left / (len(found) - tried))):
                await self._connect(PeerInfo(info.peer_id, [addr]))
            if self._connected(info.peer_id):
                return
            self._network.forget(info.peer_id)

    async def _connect(self, info: PeerInfo) -> None:
        """Let libp2p connect, if it can. Whoever answers at the address is a stranger, so an error
        that its bytes should not cause is only counted."""
        try:
            await self._host.connect(info)
        except (BaseLibp2pError, OSError):
            pass  # `dial` looks whether there is a connection
        except Exception:  # noqa: BLE001 - the edge towards strangers
            self._counters.contained += 1

    def _connected(self, peer_id: ID) -> bool:
        return bool(self._network.get_connections(peer_id))

    async def keep(self, info: PeerInfo) -> None:
        """Stay connected until cancelled: redial whenever the connection ends."""
        backoff = Backoff(self._settings.redial_least, self._settings.redial_most)
        failures = 0
        while True:
            lasted = await self._connection(info)
            if lasted > backoff.most:
                failures = 0
            await trio.sleep(backoff.drawn(failures, self._rng.random))
            failures += 1

    async def _connection(self, info: PeerInfo) -> float:
        """Dial, wait until the connection ends, and return the seconds that it lasted; 0 if the
        dial failed."""
        ended = self._kept.setdefault(info.peer_id, trio.Event())
        try:
            await self.dial(info, listed=True)
        except UnreachableError:
            return 0.0
        began = trio.current_time()
        while self._network.get_connections(info.peer_id):
            with trio.move_on_after(self._settings.redial_most):  # in case the event was missed
                await ended.wait()
            ended = self._kept[info.peer_id]
        return trio.current_time() - began

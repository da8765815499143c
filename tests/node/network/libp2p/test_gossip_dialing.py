"""Staying connected: when a kept address is redialled, and that failed dials leave no address."""

from __future__ import annotations

import itertools
import random
import socket
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import PeerInfo
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.dialing import Dialer, addresses, parse_listen
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.schema.errors import ConfigError, UnreachableError

PEER = ID.from_pubkey(create_new_key_pair(bytes(32)).public_key)
DEAD, LIVE = Multiaddr("/ip4/192.0.2.7/tcp/1"), Multiaddr("/ip4/192.0.2.7/tcp/2")
INFO = PeerInfo(PEER, [LIVE])


class Network:
    """A host and its network in one; `answers` sets whether a dial succeeds, fails or hangs."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.dialled: list[float] = []
        self.connected = False
        self.known: set[ID] = set()
        self.listed: set[ID] = set()
        self.dialling: set[ID] = set()
        self.tried: list[Multiaddr] = []

    def get_id(self) -> ID:
        return ID(b"\x00\x01x")

    async def connect(self, info: PeerInfo) -> None:
        self.dialled.append(trio.current_time())
        self.known.add(info.peer_id)
        self.tried += info.addrs
        answer = self.answers.pop(0) if self.answers else "hangs"
        if answer == "hangs":
            await trio.sleep_forever()
        if answer == "fails":
            raise OSError("refused")
        if answer == "surprises":
            raise UnicodeError("not what a peer says")
        self.connected = True

    def get_connections(self, _: ID) -> list[str]:
        return ["one"] if self.connected else []

    def forget(self, peer_id: ID) -> None:
        self.known.discard(peer_id)

    def register_notifee(self, _: object) -> None: ...


def dialer(network: Any) -> Dialer:
    settings = GossipSettings(dial_time_max=15, redial_least=1, redial_most=60)
    return Dialer(network, network, settings, Counters(), random.Random(1))


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def test_waits_longer_after_each_failure(autojump_clock: object) -> None:
    network = Network(["fails"] * 12)
    with trio.move_on_after(500):
        await dialer(network).keep(INFO)
    waits = gaps(network.dialled[:9])
    assert all(2**n * 0.5 <= wait <= 2**n * 1.5 for n, wait in enumerate(waits[:6]))
    assert all(30 <= wait <= 90 for wait in waits[6:])


async def test_peer_that_drops_us_at_once_is_not_hammered(autojump_clock: object) -> None:
    network = Network(["succeeds"] * 100)
    keeper = dialer(network)

    async def drop() -> None:
        while True:
            await trio.sleep(0.01)
            if network.connected:
                network.connected = False
                keeper.left(PEER)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.keep, INFO)
        nursery.start_soon(drop)
        await trio.sleep(300)
        nursery.cancel_scope.cancel()
    assert 8 <= len(network.dialled) <= 16


async def test_a_connection_that_ended_without_an_event_is_noticed(autojump_clock: object) -> None:
    network = Network(["succeeds", "succeeds"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer(network).keep, INFO)
        await trio.sleep(5)
        network.connected = False
        await trio.sleep(100)
        assert len(network.dialled) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", ["fails", "hangs", "surprises"])
async def test_failed_dial_leaves_no_address(autojump_clock: object, answer: str) -> None:
    network = Network([answer])
    with pytest.raises(UnreachableError):
        await dialer(network).dial(INFO)
    assert network.known == set()


class Hosts(trio.abc.HostnameResolver):
    """Knows localhost alone, by both of its addresses, and asks no name server."""

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        if host != b"localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        places = {socket.AF_INET: ("127.0.0.1", port), socket.AF_INET6: ("::1", port, 0, 0)}
        return [
            (kind, type, proto, "", place)
            for kind, place in places.items()
            if family in (kind, socket.AF_UNSPEC)
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any: ...


@pytest.mark.parametrize(
    ("addr", "found"),
    [
        ("/ip4/192.0.2.7/tcp/1", ["/ip4/192.0.2.7/tcp/1"]),
        ("/dns4/localhost/tcp/4001", ["/ip4/127.0.0.1/tcp/4001"]),
        ("/dns/localhost/tcp/4001", ["/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4001"]),
        ("/dns6/localhost/tcp/4001", ["/ip6/::1/tcp/4001"]),
    ],
)
async def test_a_host_name_is_looked_up_by_the_system(addr: str, found: list[str]) -> None:
    trio.socket.set_custom_hostname_resolver(Hosts())
    assert [str(one) for one in await addresses(Multiaddr(addr))] == found


async def test_a_host_name_without_an_address_is_a_failed_dial() -> None:
    trio.socket.set_custom_hostname_resolver(Hosts())
    network = Network([])
    info = PeerInfo(PEER, [Multiaddr("/dns4/no-such-host.invalid/tcp/1")])
    with pytest.raises(UnreachableError):
        await dialer(network).dial(info)
    assert network.dialled == []


@pytest.mark.parametrize("name", ["dns", "dns4", "dns6"])
def test_nobody_listens_on_a_host_name(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on the host name") as raised:
        parse_listen(f"/{name}/localhost/tcp/4001")
    assert "127.0.0.1" in raised.value.hint


async def test_cancelled_dial_leaves_no_address(autojump_clock: object) -> None:
    network = Network(["hangs"])
    with trio.move_on_after(1) as scope:
        await dialer(network).dial(INFO)
    assert scope.cancelled_caught
    assert network.known == set()


@pytest.mark.parametrize("answer", ["fails", "hangs", "surprises"])
async def test_next_address_is_tried_within_the_same_time(
    autojump_clock: object, answer: str
) -> None:
    network = Network([answer, "succeeds"])
    with trio.fail_after(15):
        await dialer(network).dial(PeerInfo(PEER, [DEAD, LIVE]))
    assert network.tried == [DEAD, LIVE]


async def test_two_dials_of_one_peer_do_not_run_at_once(autojump_clock: object) -> None:
    network = Network(["hangs", "succeeds"])
    shared = dialer(network)
    failed: list[Multiaddr] = []

    async def dial(addr: Multiaddr) -> None:
        try:
            await shared.dial(PeerInfo(PEER, [addr]))
        except UnreachableError:
            failed.append(addr)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, DEAD)
        await trio.sleep(1)
        nursery.start_soon(dial, LIVE)
        await trio.sleep(1)
        assert network.tried == [DEAD]
        assert network.dialling == {PEER}
    assert network.tried == [DEAD, LIVE]
    assert failed == [DEAD]
    assert network.known == {PEER}
    assert network.dialling == set()
    assert shared._dials == {}


async def test_a_connected_peer_is_not_dialled_again(autojump_clock: object) -> None:
    network = Network(["succeeds"])
    shared = dialer(network)
    async with trio.open_nursery() as nursery:
        for addr in (LIVE, DEAD):
            nursery.start_soon(shared.dial, PeerInfo(PEER, [addr]))
    assert len(network.tried) == 1

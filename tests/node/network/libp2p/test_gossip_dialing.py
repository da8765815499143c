"""Staying connected: when a kept address is redialled, and that failed dials leave no address."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import trio

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import PeerInfo
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.dialing import Dialer
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.schema.errors import UnreachableError

PEER = ID.from_pubkey(create_new_key_pair(bytes(32)).public_key)
INFO = PeerInfo(PEER, [])


class Network:
    """A host and its network in one; `answers` sets whether a dial succeeds, fails or hangs."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.dialled: list[float] = []
        self.connected = False
        self.known: set[ID] = set()

    def get_id(self) -> ID:
        return ID(b"\x00\x01x")

    async def connect(self, info: PeerInfo) -> None:
        self.dialled.append(trio.current_time())
        self.known.add(info.peer_id)
        answer = self.answers.pop(0) if self.answers else "hangs"
        if answer == "hangs":
            await trio.sleep_forever()
        if answer == "fails":
            raise OSError("refused")
        self.connected = True

    def get_connections(self, _: ID) -> list[str]:
        return ["one"] if self.connected else []

    def forget(self, peer_id: ID) -> None:
        self.known.discard(peer_id)

    def protect(self, *_: object) -> None: ...
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


@pytest.mark.parametrize("answer", ["fails", "hangs"])
async def test_failed_dial_leaves_no_address(autojump_clock: object, answer: str) -> None:
    network = Network([answer])
    with pytest.raises(UnreachableError):
        await dialer(network).dial(INFO)
    assert network.known == set()


async def test_cancelled_dial_leaves_no_address(autojump_clock: object) -> None:
    network = Network(["hangs"])
    with trio.move_on_after(1) as scope:
        await dialer(network).dial(INFO)
    assert scope.cancelled_caught
    assert network.known == set()

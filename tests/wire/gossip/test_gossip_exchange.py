"""Peer exchange over real connections: who is named, who is dialled, and who is not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import trio
from attacker import attack, rpc
from multiaddr import Multiaddr

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.peer.envelope import seal_record
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peer_record import PeerRecord
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics.node.mesh.limits import MeshSettings
from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/exchange-aaaaaaaaaaaaaaaa/cbor"
LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
PATIENCE = 60
NARROW = MeshSettings(degree=1, degree_low=1, degree_high=1, degree_score=1, degree_out=0)
TRUSTING = GossipSettings(mesh=MeshSettings(accept_exchange=0.0))


async def accept(_: str, __: bytes) -> Decision:
    return Decision.ACCEPT


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.05)


async def test_peers_that_a_full_hub_refuses_find_each_other() -> None:
    """The hub's mesh has room for one; the others are told whom else to connect to."""
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(
            open_swarm(listen=LOOPBACK, settings=GossipSettings(mesh=NARROW))
        )
        await hub.join(TOPIC, accept)
        others: list[Any] = []
        for _ in range(3):
            other = await stack.enter_async_context(open_swarm(listen=LOOPBACK, settings=TRUSTING))
            await other.join(TOPIC, accept)
            await other.dial(hub.addrs[0])
            others.append(other)
            await until(lambda: hub._gossip.mesh.mesh_peers(TOPIC) == {others[0].peer_id})
            await trio.sleep(2 * NARROW.heartbeat)  # the hub draws at each beat whom it will name
        await until(lambda: any(one.statistics().px_dials for one in others))
        await until(lambda: any(len(one.peers(TOPIC)) > 1 for one in others))
        for one in others:
            assert one.dialled_peers(TOPIC) <= {hub.peer_id}
            outbound = [
                peer.name for peer in one._gossip.mesh._state.peers.values() if peer.outbound
            ]
            assert outbound == [hub.peer_id], "who was named by others was not chosen by this node"


async def test_swarm_that_does_not_listen_is_not_named_and_dials_nobody() -> None:
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(
            open_swarm(listen=LOOPBACK, settings=GossipSettings(mesh=NARROW))
        )
        await hub.join(TOPIC, accept)
        leaves: list[Any] = []
        for _ in range(3):
            leaf = await stack.enter_async_context(open_swarm(settings=TRUSTING))
            await leaf.join(TOPIC, accept)
            await leaf.dial(hub.addrs[0])
            leaves.append(leaf)
        with trio.fail_after(PATIENCE):
            await hub.wait_for_peers(TOPIC, 3)
        await trio.sleep(3)
        assert all(leaf.statistics().connections == 1 for leaf in leaves)
        assert all(leaf.statistics().px_dials == 0 for leaf in leaves)


async def dialled(
    reach: list[str], settings: GossipSettings, addr: str, *, forged: bool, patience: float = 3
) -> bool:
    """Whether a swarm connects to a bait within `patience` seconds when an attacker's PRUNE names
    its address."""
    keys = create_new_key_pair()
    other = create_new_key_pair() if forged else keys
    peer_id = ID.from_pubkey(keys.public_key)
    record = seal_record(PeerRecord(peer_id, [Multiaddr(addr)], 1), other.private_key)
    info = rpc_pb2.PeerInfo(peerID=peer_id.to_bytes(), signedPeerRecord=record.marshal_envelope())
    prune = rpc_pb2.ControlPrune(topicID=TOPIC, peers=[info], backoff=60)
    async with (
        open_swarm(listen=reach, settings=settings) as victim,
        attack(victim.addrs[-1]) as peer,  # the one of the loopback interface
    ):
        await victim.join(TOPIC, accept)
        await peer.join(TOPIC)
        await peer.send(rpc(control=rpc_pb2.ControlMessage(prune=[prune])))
        with trio.move_on_after(patience):
            while not victim.statistics().px_dials:
                await trio.sleep(0.05)
        return victim.statistics().px_dials > 0


@contextlib.contextmanager
def bait() -> Any:
    """An address that notices a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield f"/ip4/127.0.0.1/tcp/{listener.getsockname()[1]}"


async def test_address_that_a_trusted_peer_names_is_dialled() -> None:
    with bait() as addr:
        assert await dialled(LOOPBACK, TRUSTING, addr, forged=False, patience=PATIENCE)


async def test_attack_address_named_by_a_peer_without_merit() -> None:
    with bait() as addr:
        assert not await dialled(LOOPBACK, GossipSettings(), addr, forged=False)


async def test_attack_record_signed_by_another() -> None:
    with bait() as addr:
        assert not await dialled(LOOPBACK, TRUSTING, addr, forged=True)


async def test_attack_address_inside_the_victims_machine() -> None:
    """A public node that listens on all interfaces does not connect to its own loopback."""
    with bait() as addr:
        assert not await dialled(["/ip4/0.0.0.0/tcp/0"], TRUSTING, addr, forged=False)


async def test_enough_connections_are_enough() -> None:
    mesh = MeshSettings(accept_exchange=0.0, connections_aim=1)
    with bait() as addr:
        assert not await dialled(LOOPBACK, GossipSettings(mesh=mesh), addr, forged=False)

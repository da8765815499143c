"""Whom to ask: networks take turns, and the crowd makes room."""

from __future__ import annotations

import random

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.network.memory import MemoryNetwork
from methrics.node.relay.asking import TURNS_MAX, Turns, most_crowded


@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=20), st.sampled_from([b"a", b"d"]))
def test_only_a_network_with_more_makes_room(networks: list[bytes], newcomer: bytes) -> None:
    held = dict(enumerate(networks))
    entry = most_crowded(held, newcomer)
    most = max(map(networks.count, networks), default=0)
    if entry is None:
        assert most <= networks.count(newcomer)
    else:
        assert networks.count(held[entry]) == most > networks.count(newcomer)
        assert networks.index(held[entry]) == entry


async def test_attack_a_network_of_many_peers_has_one_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with network.open_swarm() as swarm, trio.open_nursery() as nursery:
        origins = [b"crowd"] * 30 + [b"one", b"two"]

        async def run(origin: bytes, task_status: trio.TaskStatus[str]) -> None:
            async with network.open_swarm(origin=origin) as peer:
                task_status.started(await swarm.dial(peer.addrs[0]))
                await trio.sleep_forever()

        peers = [await nursery.start(run, origin) for origin in origins]
        turns = Turns(swarm, random.Random(1).random)
        asked = []
        for _ in range(6):
            asked.append(turns.order(peers)[0])
            turns.note(asked[-1:])
        assert {swarm.origin(peer) for peer in asked[:3]} == {b"crowd", b"one", b"two"}
        assert {swarm.origin(peer) for peer in asked[3:]} == {b"crowd", b"one", b"two"}
        assert len(set(asked) & set(peers[:30])) == 2
        assert turns.had(peers[0])
        turns.note([f"peer {number}" for number in range(3 * TURNS_MAX)])
        assert not turns.had(peers[0])
        nursery.cancel_scope.cancel()

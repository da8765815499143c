"""Whoever dials on for ever says whether anybody is there."""

from __future__ import annotations

import pytest
import trio

from methrics.node.network.connected import LOOK_EVERY, company_words, tell_company
from methrics.node.network.memory import MemoryNetwork


@pytest.fixture
def clock(autojump_clock: object) -> object:
    return autojump_clock


async def test_it_is_told_once_for_each_change(clock: object) -> None:
    network = MemoryNetwork()
    told: list[int] = []
    async with network.open_swarm() as one, trio.open_nursery() as nursery:
        nursery.start_soon(tell_company, one, told.append)
        await trio.sleep(3 * LOOK_EVERY)
        assert told == [0]
        async with network.open_swarm() as other:
            await other.dial(one.addrs[0])
            await trio.sleep(3 * LOOK_EVERY)
            assert told == [0, 1]
        await trio.sleep(3 * LOOK_EVERY)
        assert told == [0, 1, 0]
        nursery.cancel_scope.cancel()


def test_the_words_are_those_of_the_number() -> None:
    assert company_words(0).startswith("no peer is connected (is the address right")
    assert company_words(1) == "connected to 1 peer"
    assert company_words(2) == "connected to 2 peers"

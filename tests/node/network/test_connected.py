"""The number of connected peers is reported when it becomes zero or is no longer zero."""

from __future__ import annotations

import pytest
import trio

from methrics.node.network.connected import LOOK_EVERY, connectivity_line, report_connectivity
from methrics.node.network.memory import MemoryNetwork


@pytest.fixture
def clock(autojump_clock: object) -> object:
    return autojump_clock


async def test_each_change_is_reported_once(clock: object) -> None:
    network = MemoryNetwork()
    reported: list[int] = []
    async with network.open_swarm() as one, trio.open_nursery() as nursery:
        nursery.start_soon(report_connectivity, one, reported.append)
        await trio.sleep(3 * LOOK_EVERY)
        assert reported == [0]
        async with network.open_swarm() as other:
            await other.dial(one.addrs[0])
            await trio.sleep(3 * LOOK_EVERY)
            assert reported == [0, 1]
        await trio.sleep(3 * LOOK_EVERY)
        assert reported == [0, 1, 0]
        nursery.cancel_scope.cancel()


def test_the_line_of_text_has_the_number() -> None:
    assert connectivity_line(0).startswith("no peer is connected (is the address right")
    assert connectivity_line(1) == "connected to 1 peer"
    assert connectivity_line(2) == "connected to 2 peers"

"""Runs each contract test twice: in memory with virtual time, and with libp2p over loopback."""

from __future__ import annotations

import random
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest
import trio
import trio.testing

from methrics.node.network.memory import MemoryNetwork
from methrics.node.network.swarm import Swarm


class Network(Protocol):
    nowhere: str

    def open(self, *, listen: bool = True) -> AbstractAsyncContextManager[Swarm]: ...


class InMemory:
    nowhere = "/memory/memory9999/p2p/memory9999"

    def __init__(self) -> None:
        self._network = MemoryNetwork(rng=random.Random(1))

    def open(self, *, listen: bool = True) -> AbstractAsyncContextManager[Any]:
        return self._network.open_swarm(listen=listen)


class OnLibp2p:
    nowhere = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWBTMi6ovWm2eXh4zUwY2QkrtcFPEZncmZD621TneDFd3K"

    def open(self, *, listen: bool = True) -> AbstractAsyncContextManager[Any]:
        from methrics.node.network.libp2p import open_swarm

        return open_swarm(listen=["/ip4/127.0.0.1/tcp/0"] if listen else [])


def in_virtual_time(*given: Any, **named: Any) -> Any:
    """`trio.run` with a clock that jumps to the next deadline."""
    return trio.run(*given, **{**named, "clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture(
    params=[
        pytest.param(InMemory, id="memory", marks=pytest.mark.trio(run=in_virtual_time)),
        pytest.param(OnLibp2p, id="libp2p", marks=pytest.mark.wire),
    ]
)
def network(request: pytest.FixtureRequest) -> Network:
    made: Network = request.param()
    return made

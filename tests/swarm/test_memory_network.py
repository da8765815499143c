"""The network in memory: the same seed gives the same run, and faults occur as configured."""

from __future__ import annotations

import contextlib
import random

import pytest
import trio

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.schema.errors import UnreachableError
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/memory-aaaaaaaaaaaaaaaa/cbor"


@pytest.fixture
def clock(autojump_clock: object) -> object:
    return autojump_clock


class Log:
    """When each message arrived."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, bytes]] = []
        self._began = trio.current_time()

    async def __call__(self, _: str, data: bytes) -> Decision:
        self.entries.append((round(trio.current_time() - self._began, 9), data))
        return Decision.ACCEPT


async def run(seed: int, *, loss: float = 0.0, duplication: float = 0.0) -> tuple[Log, MemorySwarm]:
    network = MemoryNetwork(
        rng=random.Random(seed), latency=(0.01, 0.5), loss=loss, duplication=duplication
    )
    async with network.open_swarm() as a, network.open_swarm(listen=False) as b:
        log = Log()
        await a.join(TOPIC, log)
        await b.dial(a.addrs[0])
        for n in range(200):
            await b.publish(TOPIC, b"%d" % n)
        await trio.sleep(5)
        return log, a


async def test_same_seed_same_fate(clock: object) -> None:
    one, _ = await run(7, loss=0.3, duplication=0.2)
    two, _ = await run(7, loss=0.3, duplication=0.2)
    other, _ = await run(8, loss=0.3, duplication=0.2)
    assert sorted(one.entries) == sorted(two.entries)
    assert sorted(one.entries) != sorted(other.entries)


async def test_loss_and_duplication_are_as_asked_for(clock: object) -> None:
    log, _ = await run(1)
    assert len(log.entries) == 200
    log, _ = await run(1, loss=0.3)
    assert 110 < len(log.entries) < 170
    log, swarm = await run(1, duplication=0.3)
    assert len(log.entries) == 200
    assert 30 < swarm.statistics().duplicates < 90
    log, _ = await run(1, loss=1.0)
    assert log.entries == []


async def test_latency_is_as_asked_for(clock: object) -> None:
    network = MemoryNetwork(latency=(2.0, 2.0))
    async with network.open_swarm() as a, network.open_swarm(listen=False) as b:
        log = Log()
        await a.join(TOPIC, log)
        await b.dial(a.addrs[0])
        began = trio.current_time()
        await b.publish(TOPIC, b"x")
        await trio.sleep(3)
        assert log.entries[0][0] == pytest.approx(began - log._began + 2.0)


async def test_lost_request_is_too_slow(clock: object) -> None:
    network = MemoryNetwork(loss=1.0)
    async with network.open_swarm() as a, network.open_swarm(listen=False) as b:
        peer = await b.dial(a.addrs[0])
        with pytest.raises(UnreachableError) as caught:
            await b.request(peer, "/test/1", b"", reply_max=1, timeout=5)
        assert caught.value.code == "too-slow"


async def test_partition_and_heal(clock: object) -> None:
    network = MemoryNetwork(rng=random.Random(3))
    async with (
        network.open_swarm() as a,
        network.open_swarm() as b,
        network.open_swarm(listen=False) as dialled,
    ):
        log = Log()
        await a.join(TOPIC, log)
        await b.join(TOPIC, Log())
        b.keep(a.addrs[0])
        await dialled.dial(a.addrs[0])
        with trio.fail_after(60):
            await b.wait_for_peers(TOPIC, 1)
        network.partition([a], [b, dialled])
        assert b.peers(TOPIC) == frozenset()
        with pytest.raises(UnreachableError):
            await b.publish(TOPIC, b"lost")
        with pytest.raises(UnreachableError):
            await dialled.dial(a.addrs[0])
        await trio.sleep(300)
        network.heal()
        with trio.fail_after(60):
            await b.wait_for_peers(TOPIC, 1)
        assert dialled.peers(TOPIC) == frozenset(), "only kept addresses come back"
        await b.publish(TOPIC, b"found")
        await trio.sleep(1)
        assert [data for _, data in log.entries] == [b"found"]


async def test_message_under_way_is_lost_when_its_link_is_cut(clock: object) -> None:
    network = MemoryNetwork(latency=(1.0, 1.0))
    async with network.open_swarm() as a, network.open_swarm(listen=False) as b:
        log = Log()
        await a.join(TOPIC, log)
        await b.dial(a.addrs[0])
        await b.publish(TOPIC, b"x")
        network.cut(a, b)
        await trio.sleep(5)
        assert log.entries == []


async def test_lost_messages_come_by_another_way(clock: object) -> None:
    """In a mesh, most messages that one link loses arrive over another, or are asked for."""
    network = MemoryNetwork(rng=random.Random(5), loss=0.3)
    async with contextlib.AsyncExitStack() as stack:
        swarms = [await stack.enter_async_context(network.open_swarm()) for _ in range(12)]
        logs = [Log() for _ in swarms]
        for n, swarm in enumerate(swarms):
            await swarm.join(TOPIC, logs[n])
            for other in swarms[:n]:
                await swarm.dial(other.addrs[0])
        await trio.sleep(5)
        for n in range(20):
            await swarms[0].publish(TOPIC, b"%d" % n)
            await trio.sleep(1)
        await trio.sleep(10)
        assert all(len(log.entries) == 20 for log in logs[1:])


async def test_fifty_swarms_form_a_mesh(clock: object) -> None:
    async with contextlib.AsyncExitStack() as stack:
        network = MemoryNetwork(rng=random.Random(6))
        hub = await stack.enter_async_context(network.open_swarm())
        await hub.join(TOPIC, Log())
        logs = []
        for _ in range(50):
            swarm = await stack.enter_async_context(network.open_swarm())
            log = Log()
            await swarm.join(TOPIC, log)
            await swarm.dial(hub.addrs[0])
            logs.append(log)
        await trio.sleep(5)
        assert await swarm.publish(TOPIC, b"x") == 1
        await trio.sleep(10)
        assert all([data for _, data in log.entries] == [b"x"] for log in logs[:-1])
        assert hub.statistics().received < 50, "most of them only got it"


async def test_swarms_of_one_origin(clock: object) -> None:
    network = MemoryNetwork()
    async with (
        network.open_swarm(origin=b"net") as a,
        network.open_swarm(origin=b"net") as b,
        network.open_swarm() as c,
    ):
        for peer in (a, b):
            await c.dial(peer.addrs[0])
        assert c.origin(a.peer_id) == c.origin(b.peer_id) == b"net"
        assert a.origin(c.peer_id) not in (b"", b"net")


async def test_a_quiet_year_is_short(clock: object) -> None:
    """Swarms beat only while something happens, so virtual time costs nothing."""
    network = MemoryNetwork()
    async with network.open_swarm() as a, network.open_swarm() as b:
        log = Log()
        await a.join(TOPIC, log)
        await b.dial(a.addrs[0])
        await trio.sleep(366 * 86_400)
        await b.publish(TOPIC, b"x")
        await trio.sleep(1)
        assert len(log.entries) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.5}, {"duplication": -0.1}, {"latency": (2.0, 1.0)}, {"latency": (-1.0, 1.0)}],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        MemoryNetwork(**wrong)  # type: ignore[arg-type]

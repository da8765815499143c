"""Strangers that take places: connections, slots, the pool of resting reports."""

from __future__ import annotations

import contextlib
from pathlib import Path

import trio
from tests.attacks import world
from tests.attacks.mux import GONE
from tests.attacks.peer import HONEST, Peer, stranger, strangers, tcp
from tests.attacks.processes import relay
from tests.attacks.scene import scene, started

from methrics.node.relay import submit


async def test_attack_three_hundred_idle_connections(tmp_path: Path) -> None:
    """Half of them never say a word, the others finish the handshake: people still get in."""
    async with scene(tmp_path) as s, contextlib.AsyncExitStack() as stack:
        for _ in range(150):
            with contextlib.suppress(*GONE):
                wire = await tcp(s.relay_addr)
                await stack.enter_async_context(wire.stream)
        silent = await stack.enter_async_context(strangers(s.relay_addr, 150))
        await s.submit(30)
        await s.until_stored()
        assert sum(peer.connected for peer in silent) < 300
    assert s.swarm("connections") >= 0


async def test_attack_forty_peers_at_a_byte_a_second(tmp_path: Path) -> None:
    """Each opens four requests and sends them a byte at a time; people are served at once."""
    async with scene(tmp_path) as s, strangers(s.relay_addr, 40) as peers:
        streams = []
        for peer in peers:
            for _ in range(4):
                with contextlib.suppress(*GONE), trio.move_on_after(2):
                    stream = await peer.mux.open(submit.SUBMIT)
                    await stream.send((60_000).to_bytes(4, "big"))
                    streams.append(stream)
        for _ in range(4):
            for stream in streams:
                with contextlib.suppress(*GONE):
                    await stream.send(b"\x81")
            await s.submit(10)
        await s.until_stored()
    assert s.swarm("requests_refused") > 0


async def fill(peer: Peer, key: bytes, said: list[str]) -> None:
    """Hand in reports until the relay takes no more."""
    for _ in range(8):
        items = world.reports(45)
        with contextlib.suppress(*GONE):
            said += await world.hand_in(peer, items)
        if "quota" in said[-45:]:
            return


async def test_attack_filling_ones_own_share(tmp_path: Path) -> None:
    """Strangers of one network fill what a relay gives one network. People elsewhere are taken, and
    no report leaves before its time because of the crowd."""
    options = world.given(tmp_path)
    victim = relay(tmp_path, *options, name="resting", rest="1h")
    async with started(victim):
        addr = await victim.address()
        before = victim.memory
        async with stranger(addr, source=HONEST) as person:
            key = (await world.describe(person)).box
            mine = world.reports(10)
            assert set(await world.hand_in(person, mine)) == {"ok"}
            said: list[str] = []
            async with strangers(addr, 30) as crowd, trio.open_nursery() as nursery:
                for peer in crowd:
                    nursery.start_soon(fill, peer, key, said)
            assert said.count("ok") > 100
            assert set(await world.hand_in(person, world.reports(10))) == {"ok"}
        assert victim.memory - before < 96
        end = await victim.stop()
        assert end["published"] == end["answers"]["ok"], "all left at the stop, none before"

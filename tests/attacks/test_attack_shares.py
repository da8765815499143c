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

from methrics.node.ohttp import inner
from methrics.node.relay import doors


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
        assert silent
        assert s.relay.descriptors < 400


async def test_attack_forty_peers_at_a_byte_a_second(tmp_path: Path) -> None:
    """Each opens four requests and sends them a byte at a time; people are served at once."""
    async with scene(tmp_path) as s, strangers(s.relay_addr, 40) as peers:
        streams = []
        for peer in peers:
            for _ in range(4):
                with contextlib.suppress(*GONE), trio.move_on_after(2):
                    stream = await peer.mux.open(doors.EXIT)
                    await stream.send((60_000).to_bytes(4, "big"))
                    streams.append(stream)
        for _ in range(4):
            for stream in streams:
                with contextlib.suppress(*GONE):
                    await stream.send(b"\x81")
            await s.submit(10)
        await s.until_stored()
    assert s.swarm("requests_refused") > 0


async def fill(peer: Peer, addr: str, said: list[str]) -> None:
    """Hand in reports, and boxes that do not open, until the relay takes no more."""
    junk = doors.encode_exit_request([bytes(inner.BOX_SIZE)] * doors.BOXES_MAX)
    with contextlib.suppress(*GONE):
        key = await world.exit_key(peer, addr)
        for _ in range(200):
            answers = await world.hand_in(peer, world.reports(5), addr, key)
            said += answers
            if "quota" in answers:
                return
            await peer.request(doors.EXIT, junk, doors.REPLY_MAX)


async def test_attack_filling_ones_own_share(tmp_path: Path) -> None:
    """Strangers hand in reports until they are refused. People are taken all the same, and no
    report leaves before its time because of the crowd."""
    victim = relay(tmp_path, *world.given(tmp_path), name="resting", rest="1h")
    async with started(victim):
        addr = await victim.address()
        before = victim.memory
        async with stranger(addr, source=HONEST) as person:
            assert set(await world.hand_in(person, world.reports(10), addr)) == {"ok"}
            said: list[str] = []
            async with strangers(addr, 8) as crowd, trio.open_nursery() as nursery:
                for peer in crowd:
                    nursery.start_soon(fill, peer, addr, said)
            assert set(said) == {"ok", "quota"}
            assert set(await world.hand_in(person, world.reports(10), addr)) == {"ok"}
        assert victim.memory - before < 96
        end = await victim.stop()
        assert (end["published"], end["answers"]["ok"]) == (0, said.count("ok") + 20)

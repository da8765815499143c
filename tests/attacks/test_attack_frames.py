"""Bytes that break the rules of a layer: garbage, oversize, slow, forged, nested, colliding."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cbor2
import trio
from tests.attacks import world
from tests.attacks.mux import AWAY, DATA, GONE, RST, SYN, WINDOW, header
from tests.attacks.peer import HONEST, message, rpc, stranger, strangers, tcp, until_dropped
from tests.attacks.scene import scene
from tests.attacks.secure import field_of, varint

from methrics.node.relay import doors
from methrics.schema.wire.envelope import Kind, seal

ABUSE = 2**26
"""Bytes that a length promises and that never come."""


async def try_to_send(victim: str, *frames: bytes) -> None:
    """Send frames over a new connection, and wait for its end for as long as a busy victim may
    need to read them."""
    with contextlib.suppress(*GONE):
        async with stranger(victim) as peer:
            await peer.send(*frames)
            with trio.move_on_after(3):
                await peer.mux.ended.wait()


async def test_attack_garbage_frames(tmp_path: Path) -> None:
    """Each sender of garbage on the gossip stream is dropped; nobody else notices."""
    garbage = [
        b"\x05\xff\xff\xff\xff\xff",
        b"\xff" * 12,
        varint(2**40),
        varint(4) + b"\x12\xff\xff\xff",
        varint(8) + b"\x0a\x06\x08\x01\x12\x02\xff\xfe",
        rpc(*[b""] * 400),
    ]
    async with scene(tmp_path) as s:
        for victim in (s.relay_addr, s.aggregator_addr):
            for frame in garbage:
                await try_to_send(victim, frame)
    assert s.swarm("malformed") >= 2 * 4


async def test_attack_garbage_in_the_layers_below(tmp_path: Path) -> None:
    """Before and after the handshake of Noise, and in frames of yamux."""
    hello = b"\x13/multistream/1.0.0\n"
    raw = (b"\xff" * 5000, b"GET / HTTP/1.1\r\n\r\n", hello + b"\x07/noise\n" + b"\xff" * 70_000)
    below = (
        b"\xff" * 12,
        header(DATA, SYN, 2, 0) * 3,
        header(WINDOW, SYN, 1, 2**32 - 1) * 3,
        header(DATA, 0, 99, ABUSE),
        header(AWAY, 0, 0, 7),
        b"".join(header(WINDOW, SYN, 2 * n + 1, 0) for n in range(2000)),
        b"".join(header(DATA, SYN | RST, 2 * n + 1, 0) for n in range(2000)),
    )
    async with scene(tmp_path) as s:
        for victim in (s.relay_addr, s.aggregator_addr):
            for garbage in raw:
                with contextlib.suppress(*GONE):
                    wire = await tcp(victim)
                    async with wire.stream:
                        await wire.send(garbage)
                        await trio.sleep(0.02)
            for garbage in below:
                with contextlib.suppress(*GONE):
                    async with stranger(victim) as peer:
                        await peer.mux.frame(garbage)
                        with trio.move_on_after(0.2):
                            await peer.mux.ended.wait()


async def test_attack_oversize_and_slow_frames(tmp_path: Path) -> None:
    """A frame over the limit drops its sender. Thirty peers begin a frame and send a byte a second;
    what they hold is a few bytes each."""
    async with scene(tmp_path) as s:
        for victim in (s.relay_addr, s.aggregator_addr):
            with contextlib.suppress(*GONE):
                async with stranger(victim) as peer:
                    await peer.send(varint(1_048_577) + bytes(70_000))
                    await until_dropped(peer)
            large = world.bundle([world.report()]) + bytes(140_000)
            await try_to_send(victim, rpc(field_of(2, large)))
        async with strangers(s.aggregator_addr, 15) as some, strangers(s.relay_addr, 15) as more:
            for peer in (*some, *more):
                await peer.send(varint(1_000_000))
            for _ in range(3):
                await s.submit(10)
                for peer in (*some, *more):
                    with contextlib.suppress(*GONE):
                        await peer.send(b"\x12")
            await s.until_stored()
    assert s.swarm("malformed") >= 2


async def test_attack_forged_signatures(tmp_path: Path) -> None:
    """Of messages: the true copy still arrives. Of reports: the bundle is rejected, and its sender
    loses its score until nothing of it is read."""
    async with (
        scene(tmp_path) as s,
        stranger(s.aggregator_addr, source=HONEST) as honest,
        stranger(s.aggregator_addr) as liar,
        stranger(s.relay_addr) as other,
    ):
        # A busy victim may read a true copy first; then the others are no news, and not looked at.
        contents = [world.bundle(world.reports(3)) for _ in range(30)]
        for data in contents:
            true = message(world.TOPIC, data, honest.identity)
            forged = true[:-64] + bytes(64)
            unsigned = message(world.TOPIC, data, liar.identity)[:-66]
            with contextlib.suppress(*GONE):
                await liar.send(rpc(forged), rpc(unsigned))
            await trio.sleep(0.02)
            await honest.send(rpc(true))
            s.sent += world.unpacked(data)
        await s.until_stored()
        for number in range(60):
            items = world.reports(1)
            items[0] = items[0][:-1] + bytes([items[0][-1] ^ 1])
            with contextlib.suppress(*GONE):
                await other.publish(world.TOPIC, world.bundle(items))
                await trio.sleep(0.02 if number % 10 else 0.2)
    assert s.swarm("malformed") >= 10
    assert s.swarm("rejected") >= 3
    assert s.swarm("limited") > 0 or s.swarm("rejected") < 60, "the score of a forger falls"


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


async def test_attack_nesting_bombs(tmp_path: Path) -> None:
    """Depth is refused before any stack grows: in bundles, payloads, requests and protobuf."""
    groups = b""
    for _ in range(3000):
        groups = field_of(2, groups)[:100_000]
    async with scene(tmp_path) as s:
        for victim in (s.relay_addr, s.aggregator_addr):
            async with stranger(victim) as peer:
                bombs = [nested(100_000), b"\x82\x40" + nested(100_000), b"\xa1\x00" * 50_000]
                for depth in (20, 900):
                    bombs.append(world.bundle([seal(Kind.REPORT, nested(depth), bytes(32))]))
                    bombs.append(world.notice(seal(Kind.CATALOG, nested(depth), bytes(32))))
                for bomb in bombs:
                    with contextlib.suppress(*GONE):
                        await peer.publish(world.TOPIC, bomb)
            await try_to_send(victim, varint(len(groups)) + groups)
        for body in (nested(50_000), b"\xa1\x00" * 20_000):
            async with stranger(s.relay_addr) as peer:
                with contextlib.suppress(*GONE):
                    await peer.request(doors.EXIT, body)
    assert s.swarm("rejected") + s.swarm("limited") >= 8


def colliding(count: int) -> bytes:
    """A map whose integer keys all have one hash in Python."""
    return cbor2.dumps({n * (2**61 - 1): 0 for n in range(1, count + 1)})


async def test_attack_hash_flood(tmp_path: Path) -> None:
    """Twenty thousand keys with one hash would cost seconds; such keys are refused."""
    async with scene(tmp_path) as s:
        before = [one.cpu for one in s.services]
        flood = colliding(8000)
        for victim in (s.relay_addr, s.aggregator_addr):
            async with stranger(victim) as peer:
                for number in range(5):
                    raw = seal(Kind.CATALOG, flood[:60_000], bytes([number] * 32))
                    with contextlib.suppress(*GONE):
                        await peer.publish(world.TOPIC, world.notice(raw), b"\x82\x40" + flood)
        async with stranger(s.relay_addr) as peer:
            with contextlib.suppress(*GONE):
                await peer.request(doors.EXIT, flood[:80_000])
        spent = [one.cpu - was for one, was in zip(s.services, before, strict=True)]
        assert max(spent) < 10, "the floods cost a fraction of what one would cost by its hashes"
    assert s.swarm("rejected") + s.swarm("limited") >= 4

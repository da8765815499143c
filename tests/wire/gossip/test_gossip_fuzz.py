"""A fuzzing peer on the gossip port: the host lives, and honest messages still arrive."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from attacker import MESHSUB, Attacker, attack, rpc, uvarint

from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics.node.network.libp2p import open_swarm
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/fuzz-aaaaaaaaaaaaaaaa/cbor"
GONE = (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)

Attack = Callable[[Attacker, random.Random], Awaitable[None]]


async def random_frames(peer: Attacker, rng: random.Random) -> None:
    for _ in range(rng.randrange(1, 5)):
        body = rng.randbytes(rng.choice((0, 1, 7, 200, 5000)))
        await peer.send(uvarint(len(body)) + body)


async def random_bytes(peer: Attacker, rng: random.Random) -> None:
    await peer.send(rng.randbytes(rng.choice((1, 50, 70_000))))


async def mutated_message(peer: Attacker, rng: random.Random) -> None:
    frame = bytearray(rpc(publish=[peer.message(TOPIC, rng.randbytes(300), rng.getrandbits(60))]))
    for _ in range(rng.randrange(1, 6)):
        frame[rng.randrange(2, len(frame))] = rng.getrandbits(8)
    await peer.send(bytes(frame))


async def bad_keys(peer: Attacker, rng: random.Random) -> None:
    message = peer.message(TOPIC, rng.randbytes(20))
    message.from_id = rng.choice((b"", b"\x12\x20" + rng.randbytes(32), rng.randbytes(40)))
    message.key = rng.randbytes(rng.randrange(50))
    message.signature = rng.randbytes(rng.choice((0, 63, 64, 65)))
    await peer.send(rpc(publish=[message]))


async def control(peer: Attacker, rng: random.Random) -> None:
    topics = [TOPIC, str(rng.getrandbits(60)), "", "x" * 5000]
    message = rpc_pb2.ControlMessage(
        graft=[rpc_pb2.ControlGraft(topicID=t) for t in topics],
        prune=[rpc_pb2.ControlPrune(topicID=t, backoff=rng.getrandbits(63)) for t in topics],
        ihave=[rpc_pb2.ControlIHave(topicID=t, messageIDs=[rng.randbytes(20)]) for t in topics],
        iwant=[rpc_pb2.ControlIWant(messageIDs=[rng.randbytes(20), b""])],
        idontwant=[rpc_pb2.ControlIDontWant(messageIDs=[rng.randbytes(20)] * 50)],
    )
    subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=rng.random() < 0.7, topicid=t) for t in topics]
    await peer.send(rpc(control=message, subscriptions=subscriptions))


async def other_protocols(peer: Attacker, rng: random.Random) -> None:
    for protocol in (MESHSUB, "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/no/1"):
        with contextlib.suppress(*GONE):
            stream = await peer.stream(protocol)
            await stream.write(rng.randbytes(rng.randrange(1, 100)))
            await rng.choice((stream.close, stream.reset))()


async def raw_stream(peer: Attacker, rng: random.Random) -> None:
    stream = await peer.muxer.open_stream()
    await stream.write(rng.randbytes(rng.randrange(1, 2000)))
    await stream.write(b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n")


async def muxer_garbage(peer: Attacker, rng: random.Random) -> None:
    header = bytes([0, rng.randrange(5), 0, rng.randrange(16)]) + rng.randbytes(8)
    await peer.muxer.secured_conn.write(rng.choice((rng.randbytes(64), header)))


async def noise_garbage(peer: Attacker, rng: random.Random) -> None:
    raw = peer.muxer.secured_conn.conn.read_writer.read_write_closer
    await raw.write(rng.randbytes(rng.randrange(1, 500)))


async def tcp_garbage(peer: Attacker, rng: random.Random) -> None:
    host, port = peer.muxer.get_remote_address()
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        start = rng.choice(
            (b"", b"\x13/multistream/1.0.0\n", b"\x13/multistream/1.0.0\n\x07/noise\n")
        )
        await stream.send_all(start + rng.randbytes(rng.randrange(3000)))


ATTACKS: list[Attack] = [
    random_frames,
    random_bytes,
    mutated_message,
    bad_keys,
    control,
    other_protocols,
    raw_stream,
    muxer_garbage,
    noise_garbage,
    tcp_garbage,
]


async def fuzz(addr: str, rng: random.Random, rounds: int) -> int:
    """Attack `rounds` times, over as many connections as it takes; returns the rounds done."""
    done = 0
    while done < rounds:
        with contextlib.suppress(*GONE), trio.move_on_after(20):
            async with attack(addr) as peer:
                for _ in range(12):
                    if done >= rounds or not peer.connected:
                        break
                    done += 1
                    with trio.move_on_after(0.5), contextlib.suppress(*GONE, IndexError):
                        await rng.choice(ATTACKS)(peer, rng)
    return done


@pytest.mark.parametrize(
    ("seconds", "rounds"), [(0.0, 25), pytest.param(15.0, 60, marks=pytest.mark.slow)]
)
async def test_fuzzing_peer_neither_ends_the_host_nor_holds_up_honest_peers(
    seconds: float, rounds: int
) -> None:
    rng = random.Random(20)
    got: set[bytes] = set()
    sent: set[bytes] = set()

    async def validate(_: str, data: bytes) -> Decision:
        got.add(data)
        return Decision.ACCEPT if data.startswith(b"honest") else Decision.REJECT

    async def publish(honest) -> None:  # type: ignore[no-untyped-def]
        while True:
            data = b"honest %d" % len(sent)
            with trio.fail_after(60):
                await honest.wait_for_peers(TOPIC, 1)
            await honest.publish(TOPIC, data)
            sent.add(data)
            await trio.sleep(0.05)

    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"]) as victim, open_swarm() as honest:
        await victim.join(TOPIC, validate)
        honest.keep(victim.addrs[0])
        end = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, honest)
            while True:
                assert await fuzz(victim.addrs[0], rng, rounds) == rounds
                if trio.current_time() >= end:
                    break
            nursery.cancel_scope.cancel()
        with trio.fail_after(60):
            while not sent <= got:
                await trio.sleep(0.01)
        assert len(sent) > 10
        assert victim.statistics().malformed > 0

"""How much a gossip message costs: two processes on loopback, one publishes, one receives.

    python benchmarks/bench_gossip.py [--quick] [--messages 2000] [--bytes 57344]

The receiver joins with a validator that accepts at once, so that all CPU time is the network's.
Prints what it does, and on the last line a JSON object: `messages_per_s`, `mb_per_s` (of 10^6
bytes), `receiver_cpu_ms` and `sender_cpu_ms` per message, `lost`, `bytes`, `messages`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import trio

from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.schema.wire.verdict import Decision

_TOPIC = "/methrics/1/bench-aaaaaaaaaaaaaaaa/cbor"
_SETTINGS = GossipSettings(message_rate=100_000, byte_rate=1e9)


async def _receive(messages: int) -> None:
    """Say the address, receive, say the CPU time and the time it took."""
    done = trio.Event()
    began = used = 0.0
    count = 0

    async def validate(_: str, data: bytes) -> Decision:
        nonlocal count, began, used
        if count == 0:
            began, used = time.perf_counter(), time.process_time()
        count += 1
        if count == messages:
            done.set()
        return Decision.ACCEPT

    async with open_swarm(listen=["/ip4/127.0.0.1/tcp/0"], settings=_SETTINGS) as swarm:
        await swarm.join(_TOPIC, validate)
        print(swarm.addrs[0], flush=True)
        with trio.move_on_after(120):
            await done.wait()
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        print(json.dumps({"count": count, "wall": wall, "cpu": cpu}), flush=True)


async def _send(addr: str, messages: int, size: int) -> float:
    """Publish and return the CPU seconds it took."""
    async with open_swarm(settings=_SETTINGS) as swarm:
        await swarm.dial(addr)
        await swarm.wait_for_peers(_TOPIC, 1)
        body = os.urandom(size - 8)
        used = time.process_time()
        for n in range(messages):
            await swarm.publish(_TOPIC, n.to_bytes(8, "big") + body)
        while swarm.statistics().connections:
            await trio.sleep(0.05)
        return time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 messages")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--bytes", type=int, default=57_344)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        trio.run(_receive, args.messages)
        return
    if args.quick:
        args.messages = min(args.messages, 500)
    command = [sys.executable, __file__, "--receive", "--messages", str(args.messages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        addr = receiver.stdout.readline().strip()
        print(f"publishing {args.messages} messages of {args.bytes} bytes", flush=True)
        sender_cpu = trio.run(_send, addr, args.messages, args.bytes)
        got = json.loads(receiver.stdout.readline())
    count = got["count"]
    result = {
        "messages": args.messages,
        "bytes": args.bytes,
        "lost": args.messages - count,
        "messages_per_s": round(count / got["wall"], 1),
        "mb_per_s": round(count * args.bytes / got["wall"] / 1e6, 1),
        "receiver_cpu_ms": round(got["cpu"] / max(count, 1) * 1e3, 3),
        "sender_cpu_ms": round(sender_cpu / args.messages * 1e3, 3),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

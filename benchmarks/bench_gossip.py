"""How much a gossip message costs: two processes on loopback, one publishes, one receives.

    python benchmarks/bench_gossip.py [--quick | --smoke] [--messages 2000] [--bytes 57344]

The receiver's validator accepts every message at once, so all CPU time is that of the network code.

messages_per_s    messages received per second
mb_per_s          megabytes (10^6 bytes) received per second
receiver_cpu_ms   CPU milliseconds of the receiver per message
sender_cpu_ms     CPU milliseconds of the sender per message
lost              messages that did not arrive (aim 0)
messages, bytes   number and size of the messages
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
from sizes import choose, parser_of

_TOPIC = "/methrics/1/bench-aaaaaaaaaaaaaaaa/cbor"
_SETTINGS = GossipSettings(message_rate=100_000, byte_rate=1e9)


async def _receive(messages: int) -> None:
    """Print the address, receive all messages, print the CPU time and the wall time."""
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
    """Publish all messages; returns the CPU seconds that it took."""
    async with open_swarm(settings=_SETTINGS) as swarm:
        await swarm.dial(addr)
        await swarm.wait_for_peers(_TOPIC, 1)
        body = os.urandom(size - 8)
        used = time.process_time()
        for n in range(messages):
            await swarm.wait_for_room(_TOPIC)
            await swarm.publish(_TOPIC, n.to_bytes(8, "big") + body)
        while swarm.statistics().connections:
            await trio.sleep(0.05)
        return time.process_time() - used


def main() -> None:
    parser = parser_of(__doc__, "500 messages")
    parser.add_argument("--messages", type=int)
    parser.add_argument("--bytes", type=int, default=57_344)
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.receive:
        trio.run(_receive, args.messages)
        return
    args.messages = args.messages or choose(args, full=2000, quick=500, smoke=50)
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

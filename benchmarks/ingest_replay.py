"""A publisher for `bench_ingest.py` whose gossip frames were made before: it only sends them.

    python benchmarks/ingest_replay.py ADDRESS FRAMES

It opens a gossip stream to one peer, prints `start`, writes every frame as fast as the peer reads,
prints `published`, and stays connected until its standard input ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import trio
from multiaddr import Multiaddr

from methrics._vendor.libp2p.abc import INetStream
from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peerinfo import info_from_p2p_addr
from methrics.node.mesh.rpc import Rpc
from methrics.node.mesh.wire import encode
from methrics.node.network.libp2p.counters import Counters
from methrics.node.network.libp2p.gossip import PROTOCOLS
from methrics.node.network.libp2p.network import build_host, close_host
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.node.network.libp2p.signing import sign

SEED = bytes(range(32))
"""The publisher's key: frames are signed by it before the publisher starts."""

HEAD = 4
"""Bytes of the length before each frame in a file of frames."""


def frames_of(topic: str, bundles: Iterable[bytes]) -> Iterator[bytes]:
    """The gossip frame of each bundle, signed as the publisher's message."""
    pair = create_new_key_pair(SEED)
    sender = ID.from_pubkey(pair.public_key).to_bytes()
    for seqno, bundle in enumerate(bundles, 1):
        yield encode(Rpc(messages=(sign(topic, bundle, sender, seqno, pair.private_key),)))


def write_frames(file: BinaryIO, frames: Iterable[bytes]) -> None:
    """Append frames to a file of frames."""
    for frame in frames:
        file.write(len(frame).to_bytes(HEAD, "big") + frame)


def read_frames(file: BinaryIO) -> Iterator[bytes]:
    """The frames in a file, one at a time, so that a long file needs no memory."""
    while head := file.read(HEAD):
        yield file.read(int.from_bytes(head, "big"))


async def discard(stream: INetStream) -> None:
    """Take the gossip of the peer, and read nothing into it."""
    try:
        while await stream.read(65_536):
            pass
    except BaseLibp2pError:
        pass  # the end of the connection


async def replay(addr: str, frames: Path) -> None:
    """Send all frames in the file to the peer at `addr`."""
    host = build_host(SEED, GossipSettings(), Counters())
    info = info_from_p2p_addr(Multiaddr(addr))
    for protocol in PROTOCOLS:
        host.set_stream_handler(protocol, discard)
    async with host.run(listen_addrs=[]):
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, PROTOCOLS)
        print("start", flush=True)
        with frames.open("rb") as file:
            for frame in read_frames(file):
                await stream.write(frame)
        print("published", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        await close_host(host)


if __name__ == "__main__":
    trio.run(replay, sys.argv[1], Path(sys.argv[2]))

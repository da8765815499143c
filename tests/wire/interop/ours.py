"""Our node as the interoperability tests run it, and the bundles that are sent."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import trio

from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, seal
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.record import decode_record, sign_record
from methrics.schema.wire.verdict import Decision

LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
ECHO = "/interop/echo/1"
CATALOG = example_catalog()
TOPIC = CATALOG.topic
NOW = 1_800_000_000 // 86_400 * 86_400
MEGABYTES = 5 * 1024 * 1024
SMALL, LARGE = 1000, 60_000
PATIENCE = 60


def bundles(n: int, rng: random.Random) -> list[bytes]:
    """`n` bundles of real reports, 1 to 60 KB, every size of it equally likely."""
    made = []
    for i in range(n):
        aim = SMALL + (LARGE - SMALL) * i // (n - 1)
        items: list[bytes] = []
        while sum(map(len, items)) < aim:
            body = Report(CATALOG.id, "heartbeat", NOW, {"os": "linux"})
            items.append(seal(Kind.REPORT, encode_report(body), rng.randbytes(32)))
        made.append(pack(CATALOG.id, items))
    return made


class Ours:
    """A swarm whose validator is the gate that every relay and aggregator has."""

    def __init__(self, swarm: Any) -> None:
        self.swarm = swarm
        self.accepted: list[bytes] = []
        self._book = CatalogBook()
        self._book.add(CATALOG, given=True)
        record = sign_record([CATALOG.id], example_seed(), time=NOW - 60, expires=NOW + 10**7)
        self._book.records.add(record, decode_record(record.payload))
        self._seen = Seen(100_000)

    @property
    def addr(self) -> str:
        return str(self.swarm.addrs[0])

    async def validate(self, _: str, data: bytes) -> Decision:
        verdict = await trio.to_thread.run_sync(
            judge_bundle, data, self._book, NOW, self._seen, abandon_on_cancel=True
        )
        if verdict.decision is Decision.ACCEPT:
            self.accepted.append(data)
        return verdict.decision

    def meshed(self) -> frozenset[str]:
        """The peers in our mesh."""
        mesh: frozenset[str] = self.swarm._gossip.mesh.mesh_peers(TOPIC)
        return mesh

    async def until_meshed(self, peer_id: str) -> None:
        with trio.fail_after(PATIENCE):
            while peer_id not in self.meshed():
                await trio.sleep(0.05)

    async def until_accepted(self, messages: list[bytes]) -> None:
        with trio.fail_after(PATIENCE):
            while not set(messages) <= set(self.accepted):
                await trio.sleep(0.01)


@contextlib.asynccontextmanager
async def ours(**settings: Any) -> AsyncIterator[Ours]:
    async def reverse(_: str, body: bytes) -> bytes:
        return body[::-1]

    chosen = GossipSettings(keepalive=0.5, **settings)  # many pings each way
    async with open_swarm(listen=LOOPBACK, settings=chosen) as swarm:
        it = Ours(swarm)
        await swarm.join(TOPIC, it.validate)
        swarm.serve(ECHO, reverse, request_max=MEGABYTES)
        yield it

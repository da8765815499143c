"""Answers other aggregators' requests for manifests, within a budget for each network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import trio

from methrics.aggregate.closing.budget import Allowance, Budget
from methrics.aggregate.closing.exchange import (
    PROTOCOL,
    REQUEST_MAX,
    decode_ask,
    encode_page,
    page_of,
)
from methrics.aggregate.store.store import Store
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay.asking import network_of
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

ROWS_EACH = 2_000
"""Rows that a request counts for: a query looks through the manifests of all signers."""

ROWS = Allowance(8_000.0, 4_000_000.0)
"""Rows that are read for one network: 2,000 requests at once, then four a second. An aggregator
asks about each app every ten minutes, and at first sixteen times for eleven years."""

BYTES = Allowance(262_144.0, 67_108_864.0)
"""Bytes that are sent to one network: 250,000 manifests at once, then a page a second."""


class ManifestServing:
    """Answers requests one at a time, in a worker thread, with the manifests that `signer` has
    made. A peer of `topics` that the operator named gets more."""

    def __init__(self, swarm: Swarm, store: Store, signer: bytes, topics: Iterable[str]) -> None:
        self.refused: Counter[str] = Counter()
        """reason -> number of requests without a reply"""
        self._swarm = swarm
        self._store = store
        self._signer = signer
        self._topics = tuple(topics)
        self._budget = Budget(ROWS, BYTES)
        self._one = trio.CapacityLimiter(1)

    def serve(self) -> None:
        """Answer requests from now on."""
        self._swarm.serve(PROTOCOL, self._answer, request_max=REQUEST_MAX)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        listed = any(peer in self._swarm.direct_peers(topic) for topic in self._topics)
        network = peer.encode() if listed else network_of(self._swarm, peer)
        now = trio.current_time()
        if self._budget.wait(network, now, listed=listed):
            return await self._refuse(Reason.QUOTA.value)
        # It counts before it waits for its turn: many that come at once do not get in.
        self._budget.spend(network, ROWS_EACH, 0, now, listed=listed)
        try:
            ask = decode_ask(body)
        except RefusedError as error:
            return await self._refuse(error.code)
        page = await trio.to_thread.run_sync(
            page_of, self._store, self._signer, ask, limiter=self._one
        )
        reply = encode_page(page)
        self._budget.spend(network, len(page), len(reply), trio.current_time(), listed=listed)
        return reply

    async def _refuse(self, reason: str) -> bytes:
        await trio.lowlevel.checkpoint()
        self.refused[reason] += 1
        return b""

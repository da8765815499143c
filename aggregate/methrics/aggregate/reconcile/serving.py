"""Answers other aggregators' requests (`/methrics/reconcile/1`), within a budget for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import trio

from methrics.aggregate.reconcile.answer import BUSY, Answerer, Asker, OpenSet
from methrics.aggregate.reconcile.budget import session_budget
from methrics.aggregate.reconcile.wire import (
    PROTOCOL,
    REQUEST_MAX,
    Fetch,
    Ids,
    Open,
    Request,
    Split,
    decode_request,
    encode_busy,
)
from methrics.node.clock import Clock, system_entropy
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.relay.asking import network_of
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.shard import WHOLE, Shard

LOOK_EVERY = 15.0
"""Seconds between two looks for sessions that are idle."""

ROWS_EACH, ROWS_PER_NODE = 2_000, 50
"""Rows that a request and each of its nodes count for, besides those that are read for it."""


def nodes_of(request: Request) -> int:
    """Return the number of nodes or ids that a request names."""
    if isinstance(request, Split | Ids):
        return len(request.nodes)
    return sum(len(ids) for _, ids in request.wanted) if isinstance(request, Fetch) else 1


class Serving:
    """Answers requests one at a time, in a worker thread. `opened(peer, request)` is called when a
    peer asks for a session. `shard`: the ids that this side has. Start `run` in a nursery; when it
    has ended, no session has the file open."""

    def __init__(
        self,
        swarm: Swarm,
        topics: Iterable[str],
        open_set: OpenSet,
        clock: Clock,
        opened: Callable[[PeerId, Open], None] = lambda *_: None,
        shard: Shard = WHOLE,
    ) -> None:
        self._shard = shard
        self._opened = opened
        self._swarm = swarm
        self._topics = tuple(topics)
        self._answerer = Answerer(open_set, lambda: clock.now() // DAY, system_entropy, shard)
        self._budget = session_budget()
        self._one = trio.CapacityLimiter(1)
        self._lock = threading.Lock()
        self._closed = False

    def serve(self) -> None:
        """Answer requests from now on."""
        self._swarm.serve(PROTOCOL, self._answer, request_max=REQUEST_MAX)

    async def run(self) -> None:
        """End idle sessions until cancelled, then all."""
        try:
            while True:
                await trio.sleep(LOOK_EVERY)
                now = trio.current_time()
                await trio.to_thread.run_sync(self._expire, now, limiter=self._one)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._close)

    async def _answer(self, peer: PeerId, body: bytes) -> bytes:
        request = decode_request(body)
        listed = self._listed(peer)
        network = peer.encode() if listed else network_of(self._swarm, peer)
        if isinstance(request, Open) and self._shard.covers(request.shard):
            self._opened(peer, request)
        wait = self._budget.wait(network, trio.current_time(), listed=listed)
        if wait:
            await trio.lowlevel.checkpoint()
            return encode_busy(wait)
        asker = Asker(peer, network, listed)
        now = trio.current_time()
        reply, rows = await trio.to_thread.run_sync(
            self._reply, asker, request, now, limiter=self._one
        )
        rows += ROWS_EACH + ROWS_PER_NODE * nodes_of(request)
        self._budget.spend(network, rows, len(reply), trio.current_time(), listed=listed)
        return reply

    def _listed(self, peer: PeerId) -> bool:
        return any(peer in self._swarm.direct_peers(topic) for topic in self._topics)

    def _reply(self, asker: Asker, request: Request, now: float) -> tuple[bytes, int]:
        with self._lock:
            if self._closed:
                return encode_busy(BUSY), 0
            return self._answerer.answer(asker, request, now)

    def _expire(self, now: float) -> None:
        with self._lock:
            self._answerer.expire(now)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._answerer.close()

"""What a peer's sessions cost is counted, whoever asks, and ends when it is too much."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from reconcile_making import KEY, TODAY, MemorySet, reports

from methrics.aggregate.reconcile import budget, serving
from methrics.aggregate.reconcile.answer import OpenedSet
from methrics.aggregate.reconcile.serving import ROWS_EACH, ROWS_PER_NODE, Serving
from methrics.aggregate.reconcile.wire import (
    Ids,
    Node,
    Open,
    SessionEnded,
    Which,
    encode_request,
    read_ids,
    read_opened,
)
from methrics.node.clock import ManualClock
from methrics.schema.wire.limits import DAY

OPEN = Open(KEY, TODAY, b"", bytes(32), bytes(32))
NODES = tuple(Node(TODAY - 2, digit) for digit in "0123")


class Asked:
    """A swarm whose peers `a` and `b` are of one network, and `named` of the same; the operator has
    named the last."""

    def __init__(self) -> None:
        self.answer: Callable[[str, bytes], Awaitable[bytes]]

    def serve(
        self, _protocol: str, answer: Callable[[str, bytes], Awaitable[bytes]], **_: object
    ) -> None:
        self.answer = answer

    def origin(self, _peer: str) -> bytes:
        return b"one network"

    def direct_peers(self, _topic: str) -> set[str]:
        return {"named"}


@pytest.fixture
def swarm() -> Asked:
    made, items = Asked(), MemorySet(reports(60))
    opened = OpenedSet(items, b"", lambda: None)
    clock = ManualClock(TODAY * DAY)
    Serving(made, ["topic"], lambda *_: opened, clock).serve()  # type: ignore[arg-type]
    return made


async def wait_of(swarm: Asked, peer: str) -> int:
    """For how long a peer has to wait; 0 if it gets a session."""
    try:
        read_opened(await swarm.answer(peer, encode_request(OPEN)))
    except SessionEnded as ended:
        return ended.seconds
    return 0


async def test_rows_bytes_and_nodes_of_each_reply_are_counted(
    swarm: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[tuple[bytes, int, int, bool]] = []

    def spend(_: object, network: bytes, rows: int, size: int, now: float, *, listed: bool) -> None:
        spent.append((network, rows, size, listed))

    monkeypatch.setattr(budget.Budget, "spend", spend)
    reply = await swarm.answer("a", encode_request(OPEN))
    found = read_opened(reply)
    assert found is not None
    assert spent.pop() == (b"one network", 60 + ROWS_EACH + ROWS_PER_NODE, len(reply), False)
    ids = Ids(found.session, Which.REPORTS, NODES)
    listed = await swarm.answer("a", encode_request(ids))
    assert len(read_ids(listed, 4)) == 4
    assert spent.pop() == (b"one network", ROWS_EACH + 4 * ROWS_PER_NODE, len(listed), False)
    reply = await swarm.answer("named", encode_request(OPEN))
    assert spent == [(b"named", 60 + ROWS_EACH + ROWS_PER_NODE, len(reply), True)]


async def test_attack_a_network_that_asks_without_end_has_to_wait(
    swarm: Asked, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """Another peer of the same network waits with it; one that the operator named does not."""
    monkeypatch.setattr(serving, "ROWS_EACH", int(budget.ROWS.burst + 5 * budget.ROWS.rate))
    assert await wait_of(swarm, "a") == 0
    waits = [await wait_of(swarm, peer) for peer in ("a", "b")]
    assert all(0 < wait <= 6 for wait in waits)
    assert await wait_of(swarm, "named") == 0
    await trio.sleep(6)
    assert await wait_of(swarm, "a") == 0

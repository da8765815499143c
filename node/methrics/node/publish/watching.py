"""Delivers over a route for as long as consent lasts."""

from __future__ import annotations

from collections.abc import Callable

import trio

from methrics.node.process.worker import Worker
from methrics.node.publish.routes import Outcome, Outgoing, Route

WATCH_EVERY = 1.0
"""Seconds between two questions for consent while bytes are being sent. A relay may read slowly or
not at all; when consent goes, the connection to it is cut."""


async def deliver_while(
    route: Route, outgoing: Outgoing, allowed: Callable[[], bool], worker: Worker
) -> dict[bytes, Outcome] | None:
    """Deliver until `allowed`, which is asked all the time, returns False. Then cut the connections
    and return None."""
    outcomes: dict[bytes, Outcome] | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, allowed, nursery.cancel_scope, worker)
        outcomes = await route.deliver(outgoing)
        nursery.cancel_scope.cancel()
    return outcomes


async def _watch(allowed: Callable[[], bool], sending: trio.CancelScope, worker: Worker) -> None:
    while True:
        await trio.sleep(WATCH_EVERY)
        if not await worker(allowed):
            sending.cancel()

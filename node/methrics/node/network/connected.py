"""Tells whether anybody is connected: what those who redial for ever say of it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from methrics.node.network.swarm import Swarm

LOOK_EVERY = 5.0
"""Seconds between looks: the first leaves time for the first dial."""


async def tell_company(swarm: Swarm, tell: Callable[[int], None]) -> None:
    """Calls `tell` with the number of connected peers at the first look, and whenever it has
    become zero or is no longer zero. Runs until it is cancelled."""
    before: bool | None = None
    while True:
        await trio.sleep(LOOK_EVERY)
        connected = swarm.statistics().connections
        if before is not bool(connected):
            before = bool(connected)
            tell(connected)


def company_words(connected: int) -> str:
    """The line for people."""
    if connected:
        return f"connected to {connected} {'peer' if connected == 1 else 'peers'}"
    return "no peer is connected (is the address right, and its owner up?); dialling on"

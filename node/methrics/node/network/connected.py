"""Reports when the first peer connects or the last one leaves."""

from __future__ import annotations

from collections.abc import Callable

import trio

from methrics.node.network.swarm import Swarm

LOOK_EVERY = 5.0
"""Seconds between two checks. The first check also waits so long, so that the first dial can
end."""


async def report_connectivity(swarm: Swarm, report: Callable[[int], None]) -> None:
    """Calls `report` with the number of connected peers: once after `LOOK_EVERY` seconds, and then
    whenever the number changes from zero or to zero. Runs until it is cancelled."""
    before: bool | None = None
    while True:
        await trio.sleep(LOOK_EVERY)
        connected = swarm.statistics().connections
        if before is not bool(connected):
            before = bool(connected)
            report(connected)


def connectivity_line(connected: int) -> str:
    """Returns a line of text with the number of connected peers."""
    if connected:
        return f"connected to {connected} {'peer' if connected == 1 else 'peers'}"
    return "no peer is connected (is the address right, and the peer running?); dialling on"

"""Contains errors of tasks that work on strangers' bytes (C2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec

from methrics.node.network.libp2p.counters import Counters

P = ParamSpec("P")


async def contained(
    counters: Counters, task: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Run `task`. Count an error that it raises instead of raising it, because it would end the
    host with all its other peers."""
    try:
        await task(*args, **kwargs)
    except Exception:  # noqa: BLE001 - the edge towards strangers
        counters.contained += 1

"""Asks for each item, immediately before its bytes leave, whether it may leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import trio

Leave = Callable[[Collection[bytes]], Awaitable[Collection[bytes]]]
"""`leave(ids)` returns the ids of the items that may leave now."""


class HeldError(Exception):
    """None of the items of a request or bundle may leave."""


async def leave_all(ids: Collection[bytes]) -> Collection[bytes]:
    """Let all items leave: for items that need no consent."""
    await trio.lowlevel.checkpoint()
    return ids


async def leaving(items: Mapping[bytes, bytes], leave: Leave) -> list[bytes]:
    """Return the ids of the items that may leave now, in their order. Raises HeldError if there is
    none."""
    allowed = await leave(list(items))
    going = [item_id for item_id in items if item_id in allowed]
    if not going:
        raise HeldError
    return going

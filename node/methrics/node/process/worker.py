"""Runs blocking calls for trio code: in threads, or without a thread under a simulated clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Worker(Protocol):
    """Runs a blocking call to its end and returns its result."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


class Threads:
    """Runs calls in at most `most` threads at once. Calls run in parallel only while libsodium
    has released the GIL.

    A cancelled caller waits until its call returns, because calls are short and may hold a lock.
    """

    def __init__(self, most: int) -> None:
        self._limiter = trio.CapacityLimiter(most)

    async def __call__(self, call: Callable[[], T], /) -> T:
        return await trio.to_thread.run_sync(call, limiter=self._limiter)


async def inline(call: Callable[[], T], /) -> T:
    """Runs the call without a thread, because a simulated clock does not wait for threads."""
    await trio.lowlevel.checkpoint()
    return call()

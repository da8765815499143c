"""Where slow synchronous work runs: in threads, or in line where a test owns the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Worker(Protocol):
    """Runs a blocking call to its end and returns what it returns."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


class Threads:
    """At most `most` threads at once; libsodium releases the interpreter's lock in them.

    A cancelled caller waits for its thread: the work is short and its result may hold a lock.
    """

    def __init__(self, most: int) -> None:
        self._limiter = trio.CapacityLimiter(most)

    async def __call__(self, call: Callable[[], T], /) -> T:
        return await trio.to_thread.run_sync(call, limiter=self._limiter)


async def inline(call: Callable[[], T], /) -> T:
    """No thread at all: a simulated clock does not wait for threads."""
    await trio.lowlevel.checkpoint()
    return call()

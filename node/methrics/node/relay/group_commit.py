"""Commits the changes of many requests together.

A commit waits for the disk, which takes milliseconds; so all requests that come meanwhile share the
next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from methrics.schema.errors import StoreError

C = TypeVar("C")


class _Batch(Generic[C]):
    def __init__(self) -> None:
        self.asked: list[C] = []
        self.led = False
        self.done = trio.Event()
        self.error: StoreError | None = StoreError("rest-unusable", "a write has not ended")


class GroupCommit(Generic[C]):
    """Calls `write` with the changes of all who wait. It makes all of them or none, and raises
    StoreError if none. One write runs at a time, and only while `using` is held."""

    def __init__(self, write: Callable[[Sequence[C]], Awaitable[None]]) -> None:
        self.using = trio.Lock()
        self._write = write
        self._batch = _Batch[C]()

    async def commit(self, changes: C) -> None:
        """Make the changes, together with those of all who call this while another commit runs.
        Returns once `write` has; raises what it raises. Cannot be cancelled."""
        batch = self._batch
        batch.asked.append(changes)
        with trio.CancelScope(shield=True):
            if batch.led:
                await batch.done.wait()
            else:
                batch.led = True
                await self._lead(batch)
        if batch.error is not None:
            raise batch.error

    async def _lead(self, batch: _Batch[C]) -> None:
        try:
            async with self.using:
                self._batch = _Batch()
                try:
                    await self._write(batch.asked)
                except StoreError as error:
                    batch.error = error
                else:
                    batch.error = None
        finally:
            batch.done.set()

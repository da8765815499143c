"""Lets readers of live data ask for an export between two regular ones, within a share of time.

An export asked for begins at once if the last one ended long enough ago: at least `LEAST` seconds,
and long enough that exports take at most `SHARE` of the time, however slow they are.
"""

from __future__ import annotations

import trio

LEAST = 1.0
"""Minimum seconds between the end of an export and the next one that a reader asked for."""

SHARE = 0.1
"""Maximum share of the time that exports may take because readers ask."""


class Freshness:
    """Shared by the exporter and those who ask. All methods are for the trio thread."""

    def __init__(self) -> None:
        self._asked = trio.Event()
        self._done = trio.Event()
        self._not_before = 0.0
        self._running = False

    async def ask(self, patience: float) -> bool:
        """Wait until an export that began after this call has ended, at most `patience` seconds.

        Returns whether one has ended. If the last export ended a moment ago, it counts: then the
        call returns at once.
        """
        if trio.current_time() < self._not_before:
            return True
        with trio.move_on_after(patience):
            for _ in range(2 if self._running else 1):  # the running one began before this call
                self._asked.set()
                await self._done.wait()
            return True
        return False

    async def wait(self, every: float) -> None:
        """Wait until the next export is due: after `every` seconds, or earlier if asked for."""
        with trio.move_on_after(every):
            await self._asked.wait()
            await trio.sleep(max(0.0, self._not_before - trio.current_time()))

    def begin(self) -> float:
        """Note that an export begins; returns the time for `end`."""
        self._asked = trio.Event()
        self._running = True
        return trio.current_time()

    def end(self, began: float) -> float:
        """Note that the export that began at `began` has ended; returns the seconds it took."""
        now = trio.current_time()
        self._running = False
        self._not_before = now + max(LEAST, (now - began) / SHARE)
        self._done.set()
        self._done = trio.Event()
        return now - began

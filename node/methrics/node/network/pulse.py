"""Tells when a swarm in memory beats: often while something happens, then rarely, then not."""

from __future__ import annotations

import trio

_BEAT = 1.0
"""Seconds between two beats while something happens. All swarms beat at the same moments, so that a
virtual clock stops once for all of them."""

_QUICK_BEATS = 4
_PAUSE_MAX = 64.0
"""After so many beats in which nothing happened, the pause between two beats doubles each time, up
to so many seconds. Then the swarm beats no more until something happens. By then every window,
promise and backoff of its mesh has ended, and a quiet day costs nothing."""


class Pulse:
    """The beats of one swarm."""

    def __init__(self) -> None:
        self._still = 0
        self._stirred = trio.Event()

    def stir(self) -> None:
        """Note that something has happened."""
        self._still = 0
        self._stirred.set()

    async def wait_for_beat(self) -> None:
        """Return when the next beat is due. A pause ends early when something happens."""
        pause = _BEAT * 2.0 ** max(0, self._still - _QUICK_BEATS)
        self._stirred = trio.Event()
        if pause > _PAUSE_MAX:
            await self._stirred.wait()
        elif pause > _BEAT:
            with trio.move_on_after(pause - _BEAT):
                await self._stirred.wait()
        await trio.sleep_until((trio.current_time() // _BEAT + 1) * _BEAT)
        self._still += 1

"""Keeps a store of a relay tidy, and warns if its disk fails."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from methrics.schema.errors import StoreError

TIDY_EVERY = 60.0
"""Seconds between two times that traces of dropped rows and of the order of arrival are removed, at
least."""

TIDY_SHARE = 100
"""A time of tidying that takes a second is followed by this many seconds without one, because no
commit can be made meanwhile."""

SAY_EVERY = 60.0
"""Seconds between two warnings that the disk fails."""

_log = logging.getLogger(__name__)


class Upkeep:
    """`remove` removes the traces; it may raise StoreError. `says`: the warning if the disk fails,
    such as "what rests cannot be written"."""

    def __init__(self, remove: Callable[[], Awaitable[object]], says: str) -> None:
        self.untidy = True
        """Whether there may be traces."""
        self._remove = remove
        self._says = says
        self._silent = -math.inf

    async def run(self) -> None:
        """Tidy at times until cancelled."""
        wait = TIDY_EVERY
        while True:
            await trio.sleep(wait)
            began = trio.current_time()
            if self.untidy:
                await self.tidy()
            wait = max(TIDY_EVERY, TIDY_SHARE * (trio.current_time() - began))

    async def tidy(self) -> None:
        """Remove the traces now. Cannot be cancelled; a failure is logged."""
        try:
            with trio.CancelScope(shield=True):
                await self._remove()
                self.untidy = False
        except StoreError as error:
            self.say(error)

    def say(self, error: StoreError) -> None:
        """Log that the disk fails, once in a while."""
        now = trio.current_time()
        if now >= self._silent:
            self._silent = now + SAY_EVERY
            _log.warning("%s: %s", self._says, error)
